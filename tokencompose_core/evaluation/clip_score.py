"""How well images fit their prompts: CLIPScore (arXiv:2104.08718)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tokencompose_core.captions.clip import Clip, score_captions
from tokencompose_core.evaluation.bootstrap import mean_interval


@dataclass(frozen=True)
class ClipScoreSummary:
    """Scores of many images.

    Attributes:
        mean: Mean of all images.
        deviation: Their population standard deviation.
        interval: 95 % bootstrap interval of the mean over prompts; none of a single prompt.
        num_prompts: Prompts with a score.
    """

    mean: float
    deviation: float
    interval: tuple[float, float] | None
    num_prompts: int


def score_prompts(
    clip: Clip,
    load_image: Callable[[int], Image.Image | None],
    prompts: Sequence[str],
    *,
    prefix: str,
    scale: float,
    negative_as_zero: bool,
    batch_size: int,
) -> Iterator[float | None]:
    """Score every image with its prompt.

    Prompts that are longer than the text encoder reads, 77 tokens of most, are cut by open_clip.

    Args:
        clip: A loaded CLIP.
        load_image: Gives the image of an index in RGB, or None if it has none, and is called in
            other threads.
        prompts: The prompt of every image.
        prefix: Put before each prompt, with a space.
        scale: Factor of the cosine of image and text features.
        negative_as_zero: Whether a negative cosine counts as 0.
        batch_size: Images that go through the model at once.

    Yields:
        The score of every image in order, or None if it has none.
    """
    texts = [[f"{prefix} {prompt}" if prefix else prompt] for prompt in prompts]
    for scored in score_captions(clip, load_image, texts, batch_size=batch_size):
        if scored is None:
            yield None
        else:
            cosine = scored.scores[0]
            yield scale * (max(cosine, 0.0) if negative_as_zero else cosine)


def summarise_scores(scores: Mapping[int, Sequence[float]], *, seed: int) -> ClipScoreSummary:
    """Mean, deviation and interval of scores.

    Args:
        scores: Scores of the images of every prompt, by its id; prompts are what is drawn anew.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: If there is no score.
    """
    own = [list(values) for _, values in sorted(scores.items()) if values]
    if not own:
        raise ValueError("no image is left to be scored: all of them were blanked")
    every = np.concatenate(own)
    interval = None
    if len(own) > 1:
        # Sums and numbers of images are drawn together, as prompts may have lost some.
        sums = np.array([sum(values) for values in own])
        interval = mean_interval(sums, np.array([len(values) for values in own]), seed=seed)
    return ClipScoreSummary(
        mean=float(every.mean()),
        deviation=float(every.std()),
        interval=interval,
        num_prompts=len(own),
    )
