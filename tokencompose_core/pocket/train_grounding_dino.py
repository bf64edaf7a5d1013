"""Train a small Grounding DINO in groundingdino-py's architecture."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from groundingdino.models.GroundingDINO.groundingdino import GroundingDINO
from groundingdino.models.GroundingDINO.utils import gen_encoder_output_proposals
from jaxtyping import Bool, Float
from safetensors.torch import save_file
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import (
    box_convert,
    generalized_box_iou,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)
from transformers import BertConfig, BertModel, BertTokenizerFast

from tokencompose_core.masking.grounding_dino import (
    build_grounding_dino,
    build_prompt,
    load_grounding_dino_config,
    phrase_token_masks,
)
from tokencompose_core.pocket.categories import CATEGORIES
from tokencompose_core.pocket.fitting import FitSettings, OnProgress, fit
from tokencompose_core.pocket.pools import Pool, draw_pool
from tokencompose_core.pocket.scenes import SURFACES, Scene
from tokencompose_core.pocket.sentences import plural

CONFIG = {
    "modelname": "groundingdino",
    "swin": {
        "pretrain_img_size": 112,
        "embed_dim": 24,
        "depths": [2, 2, 2, 2],
        "num_heads": [2, 2, 4, 8],
        "window_size": 4,
        "drop_path_rate": 0.0,
    },
    "position_embedding": "sine",
    "pe_temperatureH": 20,
    "pe_temperatureW": 20,
    "return_interm_indices": [1, 2, 3],
    "enc_layers": 2,
    "dec_layers": 2,
    "pre_norm": False,
    "dim_feedforward": 128,
    "hidden_dim": 256,
    "dropout": 0.0,
    "nheads": 8,
    "num_queries": 30,
    "query_dim": 4,
    "num_patterns": 0,
    "num_feature_levels": 3,
    "enc_n_points": 4,
    "dec_n_points": 4,
    "two_stage_type": "standard",
    "two_stage_bbox_embed_share": False,
    "two_stage_class_embed_share": False,
    "transformer_activation": "relu",
    "dec_pred_bbox_embed_share": True,
    "embed_init_tgt": True,
    "max_text_len": 256,
    "use_text_enhancer": True,
    "use_fusion_layer": True,
    "use_checkpoint": False,
    "use_transformer_ckpt": False,
    "use_text_cross_attention": True,
    "text_dropout": 0.0,
    "fusion_dropout": 0.0,
    "fusion_droppath": 0.0,
    "sub_sentence_present": True,
}
# Sizes that pictures of the pocket world have after the resizing of detection.
_SIZES = ((112, 112), (144, 108), (108, 144), (128, 112), (112, 128))
_UNSEEN = (
    *SURFACES,
    "photo",
    "picture",
    "image",
    "view",
    "scene",
    "left",
    "right",
    "front",
    "back",
    "someone",
    "something",
    "nothing",
    "things",
    "objects",
    "London",
    "Paris",
    "Oslo",
    "Lima",
    "Kyoto",
)
_STRIDES = (8, 16, 32)


def write_text_encoder(folder: Path) -> None:
    """A BERT of two layers over the words of the pocket world, with letters for the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [category.name for category in CATEGORIES]
    words = {w.lower() for n in [*names, *map(plural, names), *_UNSEEN] for w in n.split()}
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,?!-'\"&", *letters]
    vocabulary += [f"##{letter}" for letter in letters] + sorted(words - set(letters))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", "utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True).save_pretrained(folder)
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
        )
    ).save_pretrained(folder)


def train_grounding_dino(
    folder: Path,
    settings: FitSettings,
    *,
    seed: int,
    batch_size: int,
    num_scenes: int,
    on_progress: OnProgress = lambda *_: None,
    checkpoint_path: Path | None = None,
) -> list[dict[str, float]]:
    """Fit a Grounding DINO on scenes with phrases that are and are not in the picture.

    The losses are those of DINO (arXiv:2203.03605) with Grounding DINO's token classes: focal,
    L1 and GIoU, by Hungarian matching in every decoder layer. The encoder's proposals are trained
    one-to-many, with the token at an object's centre on every level, which starts a small model
    much sooner than matching does.
    """
    torch.manual_seed(seed)
    text_folder = folder / "bert"
    write_text_encoder(text_folder)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    model = build_grounding_dino(
        load_grounding_dino_config(folder / "config.json", str(text_folder))
    )
    _calm_logits(model)
    pools = [
        draw_pool(
            "varied",
            num_scenes // len(_SIZES),
            size=size,
            seed=seed * 10 + number,
            aspect=size[0] / size[1],
            twin_share=0.12,
        )
        for number, size in enumerate(_SIZES)
    ]
    capture = _Capture(model)

    def losses_of_step(step: int) -> dict[str, Tensor]:
        rng = random.Random(f"grounding-{seed}-{step}")
        pool = pools[step % len(pools)]
        batch = [rng.randrange(len(pool.scenes)) for _ in range(batch_size)]
        phrases = [sample_phrases(rng, pool.scenes[i]) for i in batch]
        prompts = [build_prompt(words) for words in phrases]
        model(_normalised(pool, batch), captions=[prompt for prompt, _ in prompts])
        targets = []
        for i, words, (prompt, spans) in zip(batch, phrases, prompts, strict=True):
            masks = phrase_token_masks(model.tokenizer, prompt, spans, capture.num_tokens)
            targets.append(_scene_targets(pool.scenes[i], words, masks))
        return detection_losses(capture, targets)

    history = fit(
        model, losses_of_step, settings, on_progress=on_progress, checkpoint_path=checkpoint_path
    )
    text_encoder = BertModel.from_pretrained(text_folder)
    text_encoder.load_state_dict(model.bert.state_dict(), strict=False)
    text_encoder.save_pretrained(text_folder)
    state = {k: v.contiguous() for k, v in model.state_dict().items() if not k.startswith("bert.")}
    save_file(_without_shared(state), folder / "model.safetensors")
    return history


def _calm_logits(model: GroundingDINO) -> None:
    """Start with class logits near 0.

    They are products of two normalised vectors of 256 numbers without any scale; from random
    weights they come out near 16, and the first thousands of steps would go into shrinking them.
    """
    with torch.no_grad():
        model.transformer.encoder.text_layers[-1].norm2.weight.fill_(0.1)


def sample_phrases(rng: random.Random, scene: Scene) -> list[str]:
    """Phrases as a caption of the scene may hold: what is there, and some of what is not."""
    present = [
        plural(name) if sum(i.category.name == name for i in scene.objects) > 1 else name
        for name in scene.names
    ]
    present = [name for name in present if rng.random() < 0.9]
    absent = [c.name for c in CATEGORIES if c.name not in scene.names]
    absent = [
        plural(n) if rng.random() < 0.15 else n for n in rng.sample(absent, rng.randint(0, 3))
    ]
    phrases = present + absent + rng.sample(_UNSEEN, rng.randint(0, 2))
    rng.shuffle(phrases)
    return phrases or [rng.choice(_UNSEEN)]


class _Capture:
    """What the losses need of a forward pass and the library does not return."""

    def __init__(self, model: GroundingDINO) -> None:
        self.model = model
        self.num_tokens = 0
        model.transformer.register_forward_hook(self._transformer)
        model.transformer.enc_out_class_embed.register_forward_hook(self._encoder_classes)
        model.transformer.enc_out_bbox_embed.register_forward_hook(self._encoder_boxes)

    def _transformer(self, module, inputs, output) -> None:
        text = inputs[6]
        states, references = output[0], output[1]
        self.num_tokens = text["encoded_text"].shape[1]
        self.token_mask: Bool[Tensor, "batch tokens"] = text["text_token_mask"]
        self.levels = torch.tensor([source.shape[-2:] for source in inputs[0]])
        self.masks = torch.cat([mask.flatten(1) for mask in inputs[1]], dim=1)
        self.classes, self.boxes = [], []
        for layer, state in enumerate(states):
            self.classes.append(self.model.class_embed[layer](state, text)[..., : self.num_tokens])
            reference = torch.special.logit(references[layer], eps=1e-5)
            self.boxes.append((self.model.bbox_embed[layer](state) + reference).sigmoid())

    def _encoder_classes(self, module, inputs, output) -> None:
        self.encoder_classes = output
        self.encoder_memory = inputs[0]

    def _encoder_boxes(self, module, inputs, output) -> None:
        self.encoder_deltas = output

    def encoder_boxes(self) -> Float[Tensor, "batch positions 4"]:
        _, proposals = gen_encoder_output_proposals(self.encoder_memory, self.masks, self.levels)
        return (self.encoder_deltas + proposals.masked_fill(proposals.isinf(), 0.0)).sigmoid()


Target = tuple[Float[Tensor, "objects 4"], Bool[Tensor, "objects tokens"]]


def detection_losses(capture: _Capture, targets: Sequence[Target]) -> dict[str, Tensor]:
    """Focal, L1 and GIoU losses of the encoder's proposals and of every decoder layer."""
    losses: dict[str, Tensor] = {}
    assigned = [_centre_positions(boxes, capture.levels) for boxes, _ in targets]
    classes = capture.encoder_classes[..., : capture.num_tokens]
    _add(
        losses,
        "encoder",
        _losses(classes, capture.encoder_boxes(), capture.token_mask, targets, assigned),
    )
    for classes, boxes in zip(capture.classes, capture.boxes, strict=True):
        assigned = [
            _match(classes[i].detach(), boxes[i].detach(), capture.token_mask[i], target)
            for i, target in enumerate(targets)
        ]
        _add(losses, "decoder", _losses(classes, boxes, capture.token_mask, targets, assigned))
    return losses


def _add(losses: dict[str, Tensor], part: str, more: dict[str, Tensor]) -> None:
    for name, value in more.items():
        key = f"{part}_{name}"
        losses[key] = losses[key] + value if key in losses else value


def _losses(
    classes: Float[Tensor, "batch queries tokens"],
    boxes: Float[Tensor, "batch queries 4"],
    token_mask: Bool[Tensor, "batch tokens"],
    targets: Sequence[Target],
    assigned: Sequence[tuple[Tensor, Tensor]],
) -> dict[str, Tensor]:
    positive = torch.zeros_like(classes)
    predicted, wanted = [], []
    for i, ((true_boxes, tokens), (queries, objects)) in enumerate(
        zip(targets, assigned, strict=True)
    ):
        positive[i, queries] = tokens[objects].float()
        predicted.append(boxes[i, queries])
        wanted.append(true_boxes[objects])
    predicted_boxes, wanted_boxes = torch.cat(predicted), torch.cat(wanted)
    count = max(1, len(wanted_boxes))
    real = token_mask[:, None, :].expand_as(classes)
    focal = sigmoid_focal_loss(classes[real], positive[real], alpha=0.25, gamma=2.0)
    giou = generalized_box_iou_loss(
        box_convert(predicted_boxes, "cxcywh", "xyxy"), box_convert(wanted_boxes, "cxcywh", "xyxy")
    )
    return {
        "class": 2.0 * focal.sum() / count,
        "l1": 5.0 * (predicted_boxes - wanted_boxes).abs().sum() / count,
        "giou": 2.0 * giou.sum() / count,
    }


def _match(
    classes: Tensor, boxes: Tensor, token_mask: Tensor, target: Target
) -> tuple[Tensor, Tensor]:
    """Queries and the objects they answer for, by DETR's bipartite matching."""
    true_boxes, tokens = target
    if not len(true_boxes):
        none = torch.zeros(0, dtype=torch.long)
        return none, none
    probabilities = classes.masked_fill(~token_mask, -50.0).sigmoid()
    share = tokens.float() / tokens.sum(dim=1, keepdim=True).clamp(min=1)
    cost = -2.0 * probabilities @ share.T + 5.0 * torch.cdist(boxes, true_boxes, p=1)
    cost -= 2.0 * generalized_box_iou(
        box_convert(boxes, "cxcywh", "xyxy"), box_convert(true_boxes, "cxcywh", "xyxy")
    )
    queries, objects = linear_sum_assignment(cost.numpy())
    return torch.as_tensor(queries), torch.as_tensor(objects)


def _centre_positions(boxes: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """The encoder positions at the centres of the objects, on every level."""
    positions, objects, start = [], [], 0
    for height, width in levels.tolist():
        column = (boxes[:, 0] * width).long().clamp(0, width - 1)
        row = (boxes[:, 1] * height).long().clamp(0, height - 1)
        positions.append(start + row * width + column)
        objects.append(torch.arange(len(boxes)))
        start += height * width
    return torch.cat(positions), torch.cat(objects)


def _scene_targets(
    scene: Scene, phrases: Sequence[str], masks: Bool[Tensor, "phrases tokens"]
) -> Target:
    boxes, tokens = [], []
    for item in scene.objects:
        names = (item.category.name, plural(item.category.name))
        index = next((i for i, phrase in enumerate(phrases) if phrase in names), None)
        if index is None:
            continue
        x0, y0, x1, y1 = item.box_xyxy
        x0, x1 = (min(max(x / scene.width, 0.0), 1.0) for x in (x0, x1))
        y0, y1 = (min(max(y / scene.height, 0.0), 1.0) for y in (y0, y1))
        boxes.append([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])
        tokens.append(masks[index])
    if not boxes:
        return torch.zeros(0, 4), torch.zeros(0, masks.shape[1], dtype=torch.bool)
    return torch.tensor(boxes), torch.stack(tokens)


def _normalised(pool: Pool, batch: Sequence[int]) -> Float[Tensor, "batch 3 height width"]:
    pixels = torch.from_numpy(np.ascontiguousarray(pool.images[list(batch)])).float() / 255
    mean, deviation = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    return ((pixels - mean) / deviation).permute(0, 3, 1, 2).contiguous()


def _without_shared(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One name for each tensor: the decoder's box heads are shared between layers."""
    seen: set[int] = set()
    kept = {}
    for name, value in state.items():
        if value.data_ptr() not in seen:
            kept[name] = value
            seen.add(value.data_ptr())
    return kept
