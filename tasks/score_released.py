"""Score detections that the code released with MultiGen wrote; needs no store and no server."""

from collections.abc import Sequence
from pathlib import Path

from data_schemas.results import MultiGenResult
from tokencompose_core.evaluation.judge_images import judge_images
from tokencompose_core.evaluation.prompts import read_prompts
from tokencompose_core.evaluation.released_detections import read_released_detections
from tokencompose_core.evaluation.score import score_multigen


def score_released(
    prompts_path: Path, detections: Sequence[Path], *, num_images_per_prompt: int, threshold: float
) -> MultiGenResult:
    """Score the images of a prompt file by what was detected in them.

    Args:
        prompts_path: A prompt file in MultiGen's form.
        detections: The files of all processes that looked at the images, or their folder.
        num_images_per_prompt: Rounds.
        threshold: A category counts if its score is above.

    Raises:
        ValueError: If a file is not as released, an image is missing or there twice, or one has a
            class that is no category of its prompt.
    """
    prompts = read_prompts(prompts_path)
    seen = read_released_detections(detections, prompts)
    images = judge_images(prompts, num_images_per_prompt, seen, threshold=threshold)
    return score_multigen(prompts, num_images_per_prompt, images)
