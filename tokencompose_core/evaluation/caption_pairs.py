"""Draw images of a caption set, and one caption of each as a prompt."""

from collections.abc import Sequence

from data_schemas.evaluation_records import CaptionPair
from data_schemas.records import SelectedImage
from tokencompose_core.store.keys import text_digest


def draw_pairs(images: Sequence[SelectedImage], num_pairs: int, *, seed: int) -> list[CaptionPair]:
    """Draw images without replacement, and of each one of its captions.

    Both depend on seed and key alone, so a set that grows keeps most of what was drawn.

    Args:
        images: Images with captions.
        num_pairs: How many to draw.
        seed: Seed of the draw.

    Returns:
        Pairs in the order in which they were drawn, which numbers them.

    Raises:
        ValueError: If there are fewer images.
    """
    if len(images) < num_pairs:
        raise ValueError(f"{num_pairs} pairs are asked for, but {len(images)} images can be used")
    drawn = sorted(images, key=lambda image: text_digest(f"pair-{seed}-{image.key}"))[:num_pairs]
    return [
        CaptionPair(
            prompt_id=number,
            caption=image.captions[_draw(f"caption-{seed}-{image.key}", len(image.captions))],
            key=image.key,
            image_path=image.image_path,
            image_sha256=image.image_sha256,
        )
        for number, image in enumerate(drawn)
    ]


def _draw(name: str, count: int) -> int:
    return int(text_digest(name)[:15], 16) % count
