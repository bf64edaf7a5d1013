"""Grounding DINO (arXiv:2303.05499) through groundingdino-py: boxes for phrases."""

import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from groundingdino.models import build_model
from groundingdino.models.GroundingDINO.backbone import backbone as dino_backbone
from groundingdino.models.GroundingDINO.backbone.position_encoding import build_position_encoding
from groundingdino.models.GroundingDINO.backbone.swin_transformer import SwinTransformer
from groundingdino.models.GroundingDINO.groundingdino import GroundingDINO
from groundingdino.models.GroundingDINO.transformer import build_transformer
from groundingdino.util.misc import clean_state_dict
from groundingdino.util.slconfig import SLConfig
from jaxtyping import Bool, Float
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torchvision.ops import batched_nms, box_convert
from torchvision.transforms.v2 import functional as transforms

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class PhraseBox:
    """A box that a phrase got.

    Attributes:
        phrase_index: Which of the given phrases.
        score: Highest token probability of the phrase, in [0, 1].
        box_xyxy: Left, top, right, bottom in pixels of the image.
    """

    phrase_index: int
    score: float
    box_xyxy: tuple[float, float, float, float]


def build_grounding_dino(config: SLConfig) -> GroundingDINO:
    """Build the model, with a backbone of any size if the config has a `swin` entry.

    groundingdino-py builds its Swin backbones by name only; `swin` holds the arguments of its
    `SwinTransformer` instead.
    """
    if "swin" not in config:
        return build_model(config)
    swin = SwinTransformer(**config.swin, out_indices=tuple(config.return_interm_indices))
    backbone = dino_backbone.Joiner(swin, build_position_encoding(config))
    backbone.num_channels = swin.num_features[4 - len(config.return_interm_indices) :]
    return GroundingDINO(
        backbone,
        build_transformer(config),
        num_queries=config.num_queries,
        aux_loss=True,
        iter_update=True,
        query_dim=config.query_dim,
        num_feature_levels=config.num_feature_levels,
        nheads=config.nheads,
        dec_pred_bbox_embed_share=config.dec_pred_bbox_embed_share,
        two_stage_type=config.two_stage_type,
        two_stage_bbox_embed_share=config.two_stage_bbox_embed_share,
        two_stage_class_embed_share=config.two_stage_class_embed_share,
        dn_number=0,
        text_encoder_type=config.text_encoder_type,
        sub_sentence_present=config.sub_sentence_present,
        max_text_len=config.max_text_len,
    )


def load_grounding_dino(
    config_path: Path, checkpoint_path: Path, text_encoder: str, *, device: str = "cpu"
) -> GroundingDINO:
    """Load a checkpoint as groundingdino-py publishes it, or one in safetensors.

    Args:
        config_path: The model's config, `.py` as shipped by groundingdino-py or `.json`.
        checkpoint_path: Weights, `.pth` or `.safetensors`.
        text_encoder: Folder or hub name of the BERT.
        device: Where to put the model.

    Raises:
        ValueError: If the checkpoint lacks weights of the model, naming some of them.
    """
    config = load_grounding_dino_config(config_path, text_encoder)
    with redirect_stdout(None):  # groundingdino-py prints the name of its text encoder
        model = build_grounding_dino(config)
    if checkpoint_path.suffix == ".safetensors":
        state = load_file(checkpoint_path)
    else:
        state = clean_state_dict(
            torch.load(checkpoint_path, map_location="cpu", weights_only=True)["model"]
        )
    names = model.load_state_dict(state, strict=False).missing_keys
    tensors = model.state_dict()
    # Decoder layers share their box heads, which a checkpoint may hold under one name only.
    loaded = {tensors[name].data_ptr() for name in state if name in tensors}
    missing = [
        n for n in names if not n.startswith("bert.") and tensors[n].data_ptr() not in loaded
    ]
    if missing:
        raise ValueError(
            f"{checkpoint_path} lacks {len(missing)} weights of the model, for instance"
            f" {missing[0]}; it does not belong to {config_path}"
        )
    return model.to(device).eval()


def load_grounding_dino_config(config_path: Path, text_encoder: str) -> SLConfig:
    """Read a config and set its text encoder."""
    if config_path.suffix == ".json":
        config = SLConfig(json.loads(config_path.read_text()))
    else:
        config = SLConfig.fromfile(str(config_path))
    config.text_encoder_type = text_encoder
    return config


def build_prompt(phrases: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Join phrases as Grounding DINO reads them, and say where each one stands.

    Returns:
        The prompt ("cat . wine glass .") and for each phrase its character span in the prompt.
        Full stops and question marks inside a phrase become spaces, since they end a phrase for
        Grounding DINO. Equal phrases share one span.
    """
    prompt = ""
    spans: dict[str, tuple[int, int]] = {}
    result = []
    for phrase in phrases:
        text = " ".join(phrase.lower().replace(".", " ").replace("?", " ").split())
        if text not in spans:
            spans[text] = (len(prompt), len(prompt) + len(text))
            prompt += f"{text} . "
        result.append(spans[text])
    return prompt.strip(), result


def phrase_token_masks(
    tokenizer, prompt: str, spans: Sequence[tuple[int, int]], num_tokens: int
) -> Bool[Tensor, "phrases tokens"]:
    """Which tokens of the prompt belong to each phrase, from character offsets."""
    offsets = tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]
    masks = torch.zeros(len(spans), num_tokens, dtype=torch.bool)
    for index, (start, end) in enumerate(spans):
        for token, (left, right) in enumerate(offsets[:num_tokens]):
            masks[index, token] = right > left and left < end and right > start
    return masks


def prepare_image(
    image: Image.Image, short_side: int, long_side: int
) -> Float[Tensor, "3 height width"]:
    """Resize to `short_side` pixels on the short side, and at most `long_side` on the long one."""
    scale = min(short_side / min(image.size), long_side / max(image.size))
    size = [max(1, round(side * scale)) for side in (image.height, image.width)]
    pixels = transforms.to_image(image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR))
    pixels = transforms.to_dtype(pixels, torch.float32, scale=True)
    return transforms.normalize(pixels, list(_MEAN), list(_DEVIATION))


@torch.inference_mode()
def detect_phrases(
    model: GroundingDINO,
    images: Sequence[Image.Image],
    phrases: Sequence[Sequence[str]],
    *,
    box_threshold: float,
    text_threshold: float,
    nms_threshold: float,
    short_side: int,
    long_side: int,
) -> list[list[PhraseBox]]:
    """Find boxes of each image's phrases.

    All phrases of an image go in one prompt. A box belongs to the phrase whose tokens it answers
    to most strongly, by their positions in the prompt and not by their spelling.

    Args:
        model: A loaded Grounding DINO.
        images: Pictures of one batch.
        phrases: For each picture, at least one phrase.
        box_threshold: Least score of a box.
        text_threshold: Least score of the phrase that a box is given to.
        nms_threshold: IoU above which boxes of one phrase are reduced to the best.
        short_side: Pixels of the short side that the model sees.
        long_side: Most pixels of the long side.

    Raises:
        ValueError: If an image has no phrase.
    """
    for index, words in enumerate(phrases):
        if not words:
            raise ValueError(f"image {index} of the batch has no phrase to look for")
    device = next(model.parameters()).device
    pixels = [prepare_image(image, short_side, long_side) for image in images]
    result: list[list[PhraseBox]] = [[] for _ in images]
    for batch in _equal_shapes(pixels):
        prompts = [build_prompt(phrases[i]) for i in batch]
        output = model(
            torch.stack([pixels[i] for i in batch]).to(device), captions=[p for p, _ in prompts]
        )
        probabilities = output["pred_logits"].sigmoid().float().cpu()
        boxes = box_convert(output["pred_boxes"].float().cpu(), "cxcywh", "xyxy")
        for row, index in enumerate(batch):
            prompt, spans = prompts[row]
            masks = phrase_token_masks(model.tokenizer, prompt, spans, probabilities.shape[-1])
            scores = torch.stack([probabilities[row][:, m].amax(dim=1) for m in masks], dim=1)
            result[index] = _keep_boxes(
                boxes[row].clamp(0, 1) * torch.tensor(images[index].size).repeat(2),
                scores,
                threshold=max(box_threshold, text_threshold),
                nms_threshold=nms_threshold,
            )
    return result


def _keep_boxes(
    corners: Float[Tensor, "queries 4"],
    scores: Float[Tensor, "queries phrases"],
    *,
    threshold: float,
    nms_threshold: float,
) -> list[PhraseBox]:
    best, phrase = scores.max(dim=1)
    solid = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    order = ((best > threshold) & solid).nonzero()[:, 0]
    order = order[batched_nms(corners[order], best[order], phrase[order], nms_threshold)]
    return [PhraseBox(int(phrase[i]), float(best[i]), tuple(corners[i].tolist())) for i in order]


def _equal_shapes(pixels: Sequence[Float[Tensor, "3 height width"]]) -> list[list[int]]:
    """Indices grouped by shape: without padding a batch gives what single images give."""
    groups: dict[torch.Size, list[int]] = {}
    for index, image in enumerate(pixels):
        groups.setdefault(image.shape, []).append(index)
    return list(groups.values())
