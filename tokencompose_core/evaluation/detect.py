"""Find categories in images, and what else of a vocabulary they might be."""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torchvision.ops import box_convert

from data_schemas.evaluation_records import LOWEST_SCORE
from tokencompose_core.evaluation.detectors import OwlDetector
from tokencompose_core.evaluation.query_lengths import check_query_lengths
from tokencompose_core.masking.precision import Precision, compute_in
from tokencompose_core.store.read_ahead import loaders_beside, read_ahead

# Categories to look for, and images.
_Batch = tuple[Sequence[Sequence[str]], list[Image.Image]]
# More batches at once would take more memory than they save time.
_MOST_THREADS = 4


class Detection(NamedTuple):
    """A box, with what fits it best.

    Attributes:
        category: The best of the categories that were looked for in the image.
        score: Its score, in [0, 1]. It is below `LOWEST_SCORE` if only the rival's is not.
        rival: The best of the whole vocabulary: the same category, or what is there instead.
        rival_score: Its score, at least `score`.
        box_xyxy: Left, top, right, bottom in pixels.
    """

    category: str
    score: float
    rival: str
    rival_score: float
    box_xyxy: tuple[float, float, float, float]


def detect_categories(
    detector: OwlDetector,
    images: Iterable[Image.Image],
    categories: Sequence[Sequence[str]],
    *,
    vocabulary: Sequence[str],
    query: str,
    batch_size: int,
    precision: Precision = "float32",
) -> Generator[list[Detection]]:
    """Boxes that fit any of the vocabulary with a score above `LOWEST_SCORE`, best first.

    As in MultiGen's and VISOR's releases every category is a text query, and a box belongs to its
    best query alone, of those of its image. The vision tower sees an image once, the text tower a
    category once. While a GPU works on a batch, the next few are decoded and resized. A CPU works
    on up to four batches at once, which share its cores: many small operations in one core each
    take less time than one after the other in all of them.

    Args:
        detector: A loaded detector.
        images: Pictures in RGB, taken one by one. Those that Pillow opened but did not decode yet
            are decoded in other threads.
        categories: For every picture the categories to look for, at least one.
        vocabulary: All categories, each once.
        query: Text query of a category, with `{name}` in its place.
        batch_size: Pictures at once.
        precision: In what the vision tower multiplies matrices; the heads behind it always compute
            in float32.

    Returns:
        A generator of the boxes of every picture, in order; its threads end when it is closed.

    Raises:
        ValueError: If a picture has no categories, one of them is not in the vocabulary or has too
            many tokens; while iterating, if there are more or fewer pictures than `categories`.
    """
    known = set(vocabulary)
    for number, names in enumerate(categories):
        if not names or not known.issuperset(names):
            raise ValueError(
                f"image {number}: its categories are {list(names)}; at least one is needed, and all"
                f" of them in the vocabulary of {len(known)}"
            )
    texts = encode_queries(detector, tuple(query.format(name=name) for name in vocabulary))
    return _detect(detector, images, categories, list(vocabulary), texts, batch_size, precision)


@torch.inference_mode()
def encode_queries(
    detector: OwlDetector, queries: tuple[str, ...]
) -> Float[Tensor, "queries features"]:
    """The text tower's features of some queries, kept with the detector.

    Raises:
        ValueError: If a query has more tokens than the model reads.
    """
    if queries not in detector.encoded:
        longest = detector.model.config.text_config.max_position_embeddings
        check_query_lengths(detector.processor.tokenizer, longest, queries)
        tokens = detector.processor(text=list(queries), return_tensors="pt").to(detector.device)
        features = detector.model.base_model.get_text_features(**tokens)
        # Twice normalised as in the published forward pass; the class head does the second.
        detector.encoded[queries] = features / torch.linalg.norm(features, dim=-1, keepdim=True)
    return detector.encoded[queries]


def _detect(
    detector: OwlDetector,
    images: Iterable[Image.Image],
    categories: Sequence[Sequence[str]],
    vocabulary: list[str],
    texts: Float[Tensor, "queries features"],
    batch_size: int,
    precision: Precision,
) -> Generator[list[Detection]]:
    stream = iter(images)

    def read() -> Iterator[_Batch]:
        for start in range(0, len(categories), batch_size):
            names = categories[start : start + batch_size]
            pictures = list(islice(stream, len(names)))
            if len(pictures) < len(names):
                raise ValueError(f"there are fewer images than the {len(categories)} to look at")
            yield names, pictures
        if next(stream, None) is not None:
            raise ValueError(f"there are more images than the {len(categories)} to look at")

    def prepare(batch: _Batch) -> tuple[_Batch, Tensor]:
        pixels = [
            detector.prepare(list(own)) for _, own in groupby(batch[1], key=lambda own: own.size)
        ]
        return batch, torch.cat(pixels)

    @torch.inference_mode()
    def detect(prepared: tuple[_Batch, Tensor]) -> list[list[Detection]]:
        (names, pictures), pixels = prepared
        sizes = [picture.size for picture in pictures]
        asked = torch.tensor([[name in own for name in vocabulary] for own in names])
        return _detect_batch(detector, pixels, sizes, asked, vocabulary, texts, precision)

    found: Iterator[list[list[Detection]]]
    if detector.device.type == "cpu":
        cores, num_batches = torch.get_num_threads(), math.ceil(len(categories) / batch_size)
        num_threads = max(1, min(cores, num_batches, _MOST_THREADS))
        found = read_ahead(
            lambda batch: detect(prepare(batch)),
            read(),
            num_threads=num_threads,
            cores=cores // num_threads,
        )
    else:
        num_threads = loaders_beside(detector.device)
        found = map(detect, read_ahead(prepare, read(), num_threads=num_threads))
    for batch in found:
        yield from batch


def _detect_batch(
    detector: OwlDetector,
    pixels: Float[Tensor, "images 3 height width"],
    sizes: Sequence[tuple[int, int]],
    asked: Bool[Tensor, "images queries"],
    vocabulary: Sequence[str],
    texts: Float[Tensor, "queries features"],
    precision: Precision,
) -> list[list[Detection]]:
    model = detector.model
    with compute_in(detector.device, precision):
        feature_map = model.image_embedder(pixels)[0]
    feature_map = feature_map.float()
    patches = feature_map.flatten(1, 2)
    logits = model.class_predictor(patches, texts[None].expand(len(patches), -1, -1))[0]
    # transformers fills shorter lists up with the query " ", which may then win boxes. Here queries
    # of other images take no part.
    others = ~asked.to(logits.device)[:, None]
    best = logits.masked_fill(others, float("-inf")).max(dim=-1)
    rival = logits.max(dim=-1)
    # Of left, top, right and bottom.
    units = torch.tensor([detector.box_unit(size) * 2 for size in sizes], device=logits.device)
    boxes = box_convert(model.box_predictor(patches, feature_map), "cxcywh", "xyxy")
    columns = (
        best.values.sigmoid(),
        best.indices,
        rival.values.sigmoid(),
        rival.indices,
        boxes * units[:, None],
    )
    scores, labels, rival_scores, rivals, boxes = (column.cpu() for column in columns)
    order = scores.argsort(dim=1, descending=True, stable=True)
    kept = rival_scores.gather(1, order) > LOWEST_SCORE
    image, place = torch.arange(len(order))[:, None].expand_as(order)[kept], order[kept]
    found = [
        Detection(vocabulary[label], score, vocabulary[other], other_score, tuple(box))
        for score, label, other_score, other, box in zip(
            *(c[image, place].tolist() for c in (scores, labels, rival_scores, rivals, boxes)),
            strict=True,
        )
    ]
    remaining = iter(found)
    return [list(islice(remaining, count)) for count in kept.sum(dim=1).tolist()]
