"""CLIP (arXiv:2103.00020) through open_clip: how well captions fit an image."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import open_clip
import torch
from PIL import Image
from torch import Tensor

from tokencompose_core.checkpoints.check_file import check_file
from tokencompose_core.checkpoints.check_folder import check_folder
from tokencompose_core.checkpoints.hub_access import is_offline
from tokencompose_core.store.read_ahead import loaders_beside, read_ahead


@dataclass(frozen=True)
class Clip:
    """A loaded CLIP with its preprocessing and tokenizer."""

    model: open_clip.CLIP
    preprocess: Callable[[Image.Image], Tensor]
    tokenizer: Callable[[list[str]], Tensor]
    device: str


@dataclass(frozen=True)
class ScoredImage:
    """What came of an image.

    Attributes:
        size: Width and height in pixels.
        scores: Cosine similarity of each of its captions, in [-1, 1], in their order.
    """

    size: tuple[int, int]
    scores: list[float]


def check_clip_name(model: str, pretrained: str) -> None:
    """Look into open_clip's lists of models and weights; of one on the hub, ask for its config.

    Where no hub may be asked, its weights have to be on this machine already.

    Args:
        model: A name of open_clip's, or `hf-hub:` and one of the hub.
        pretrained: Tag or file of the weights, for a name of open_clip's.

    Raises:
        FileNotFoundError: If the hub does not give the config, or may not be asked for weights.
        ValueError: If open_clip has no such model, or no such weights of it, or their file holds
            something else.
    """
    kind, name = open_clip.factory.parse_model_name(model)
    if kind is not None:
        open_clip.get_model_config(model)
        return
    name = name.replace("/", "-")  # ViT-B/32, as open_clip reads it
    if open_clip.get_model_config(name) is None:
        alike = get_close_matches(name, open_clip.list_models())
        raise ValueError(
            f"{model!r} is neither on this machine nor a model of open_clip"
            + (f", which has {', '.join(alike)}" if alike else "")
        )
    if not open_clip.is_pretrained_cfg(name, pretrained):
        if not Path(pretrained).is_file():
            raise ValueError(
                f"pretrained is {pretrained!r}, which is neither a file nor a tag of {model};"
                f" open_clip has {open_clip.list_pretrained_tags_by_model(name)}"
            )
        check_file(Path(pretrained))
    weights = open_clip.get_pretrained_cfg(name, pretrained)
    if is_offline() and weights.get("hf_hub"):
        open_clip.download_pretrained(weights)  # from the hub's cache


def load_clip(model: str | Path, pretrained: str, *, device: str = "cpu") -> Clip:
    """Load a model of open_clip.

    Args:
        model: Folder with `open_clip_config.json` and weights, or a name of open_clip's.
        pretrained: Tag of the weights or their file, for a name; left out for a folder. Weights of
            a tag that were trained with QuickGELU, OpenAI's, get it whatever the name says;
            open_clip itself would only warn.
        device: Where to put the model.

    Raises:
        ValueError: If the folder holds code, links out of it, or more than weights.
    """
    check_folder(model)
    name = f"local-dir:{model}" if isinstance(model, Path) else model
    tagged = open_clip.get_pretrained_cfg(name.replace("/", "-"), pretrained) if pretrained else {}
    network, preprocess = open_clip.create_model_from_pretrained(
        name,
        pretrained=pretrained or None,
        device=device,
        force_quick_gelu=bool(tagged.get("quick_gelu")),
    )
    # Their configs may name a tokenizer of transformers, and options for it.
    described = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    options = {"trust_remote_code": False} if described.get("hf_tokenizer_name") else {}
    tokenizer = open_clip.get_tokenizer(name, **options)
    return Clip(network.eval(), preprocess, tokenizer, device)


@torch.inference_mode()
def score_captions(
    clip: Clip,
    load_image: Callable[[int], Image.Image | None],
    captions: Sequence[Sequence[str]],
    *,
    batch_size: int,
) -> Iterator[ScoredImage | None]:
    """Cosine similarity of each image with each of its captions.

    While the model works on a batch, the next one is loaded and resized, beside a GPU the next few;
    no more than these are in memory.

    Args:
        clip: A loaded CLIP.
        load_image: Gives the image of an index in RGB, or None if it has none, and is called in
            other threads.
        captions: For every image its candidates, at least one.
        batch_size: Images, and captions, that go through the model at once.

    Yields:
        For every image in order its size and scores, or None if it could not be loaded.
    """

    def prepare(batch: Sequence[int]) -> list[tuple[tuple[int, int], Tensor] | None]:
        images = map(load_image, batch)
        return [(image.size, clip.preprocess(image)) if image else None for image in images]

    batches = [
        range(start, min(start + batch_size, len(captions)))
        for start in range(0, len(captions), batch_size)
    ]
    ahead = read_ahead(prepare, batches, num_threads=loaders_beside(clip.device))
    for batch, prepared in zip(batches, ahead, strict=True):
        kept = [index for index, own in zip(batch, prepared, strict=True) if own]
        pixels = [own[1] for own in prepared if own]
        scores = iter(_score(clip, pixels, [captions[index] for index in kept], batch_size))
        for own in prepared:
            yield own and ScoredImage(own[0], next(scores))


def _score(
    clip: Clip, pixels: Sequence[Tensor], captions: Sequence[Sequence[str]], batch_size: int
) -> list[list[float]]:
    if not pixels:
        return []
    images = clip.model.encode_image(torch.stack(list(pixels)).to(clip.device), normalize=True)
    tokens = clip.tokenizer([caption for candidates in captions for caption in candidates])
    texts = torch.cat(
        [
            clip.model.encode_text(some.to(clip.device), normalize=True)
            for some in tokens.split(batch_size)
        ]
    ).split([len(candidates) for candidates in captions])
    return [(own @ image).float().tolist() for own, image in zip(texts, images, strict=True)]


def best_caption(captions: Sequence[str], scores: Sequence[float]) -> str:
    """The caption with the highest score; of equals the first."""
    return captions[max(range(len(captions)), key=lambda i: (scores[i], -i))]
