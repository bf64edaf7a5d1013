"""CLIP (arXiv:2103.00020) through open_clip: how well captions fit an image."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import open_clip
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """A loaded CLIP with its preprocessing and tokenizer."""

    model: open_clip.CLIP
    preprocess: Callable[[Image.Image], Tensor]
    tokenizer: Callable[[list[str]], Tensor]
    device: str


def load_clip(model: str | Path, pretrained: str, *, device: str = "cpu") -> Clip:
    """Load a model of open_clip.

    Args:
        model: Folder with `open_clip_config.json` and weights, or a name of open_clip's.
        pretrained: Tag of the weights, for a name; left out for a folder.
        device: Where to put the model.
    """
    name = f"local-dir:{model}" if isinstance(model, Path) else model
    network, preprocess = open_clip.create_model_from_pretrained(
        name, pretrained=pretrained or None, device=device
    )
    return Clip(network.eval(), preprocess, open_clip.get_tokenizer(name), device)


def score_captions(
    clip: Clip,
    images: Iterable[Image.Image],
    captions: Sequence[Sequence[str]],
    *,
    batch_size: int,
) -> list[list[float]]:
    """Cosine similarity of each image with each of its captions.

    Args:
        clip: A loaded CLIP.
        images: Pictures in RGB.
        captions: For every picture its candidates, at least one.
        batch_size: Images, and captions, that go through the model at once.

    Returns:
        For every picture the scores of its captions, in [-1, 1], in their order.
    """
    features = embed_images(clip, images, batch_size=batch_size)
    return score_embedded(clip, features, captions, batch_size=batch_size)


@torch.inference_mode()
def embed_images(
    clip: Clip, images: Iterable[Image.Image], *, batch_size: int
) -> list[Float[Tensor, " features"]]:
    """Normalised features of images, of which no more than a batch is in memory.

    Args:
        clip: A loaded CLIP.
        images: Pictures in RGB; each is taken when its batch is filled.
        batch_size: Images that go through the model at once.
    """
    features: list[Tensor] = []
    remaining = iter(images)
    while batch := [clip.preprocess(image) for image in islice(remaining, batch_size)]:
        features += clip.model.encode_image(torch.stack(batch).to(clip.device), normalize=True)
    return features


@torch.inference_mode()
def score_embedded(
    clip: Clip,
    image_features: Sequence[Float[Tensor, " features"]],
    captions: Sequence[Sequence[str]],
    *,
    batch_size: int,
) -> list[list[float]]:
    """As `score_captions`, of images that `embed_images` has seen."""
    if not image_features:
        return []
    texts = [caption for candidates in captions for caption in candidates]
    text_features = torch.cat(
        [
            clip.model.encode_text(
                clip.tokenizer(texts[start : start + batch_size]).to(clip.device), normalize=True
            )
            for start in range(0, len(texts), batch_size)
        ]
    )
    scores, start = [], 0
    for feature, candidates in zip(image_features, captions, strict=True):
        own = text_features[start : start + len(candidates)]
        scores.append((own @ feature).float().tolist())
        start += len(candidates)
    return scores


def best_caption(captions: Sequence[str], scores: Sequence[float]) -> str:
    """The caption with the highest score; of equals the first."""
    return captions[max(range(len(captions)), key=lambda i: (scores[i], -i))]
