"""Train a small Grounding DINO in groundingdino-py's architecture."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from groundingdino.models.GroundingDINO.groundingdino import GroundingDINO
from jaxtyping import Bool, Float
from safetensors.torch import save_file
from torch import Tensor
from transformers import BertConfig, BertModel, BertTokenizerFast

from tokencompose_core.masking.grounding_dino import (
    build_grounding_dino,
    load_grounding_dino_config,
)
from tokencompose_core.masking.prompts import build_prompt, phrase_token_masks
from tokencompose_core.pocket.categories import CATEGORIES
from tokencompose_core.pocket.detection_losses import DetectionCapture, Target, detection_losses
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
    capture = DetectionCapture(model)

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
