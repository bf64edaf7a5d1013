"""What is said of generated images as a whole: how real they look, and how well they fit."""

from pydantic import BaseModel, ConfigDict


class QualityResult(BaseModel):
    """How far the images of a model are from real ones.

    Attributes:
        label: The model.
        benchmark: The reference set, such as `quality-coco`.
        fid: Frechet distance of the features (arXiv:1706.08500).
        kid: Kernel distance of the features (arXiv:1801.01401), mean over subsets.
        kid_deviation: Population standard deviation over subsets.
        num_images: Images that were generated.
        num_blanked: How many of them a safety checker made black; these are not compared.
        num_reference: Real images compared with.
        extractor: Whose features; figures of different extractors cannot be compared.
        dimension: Features an image. With fewer images FID is too high, and more so the fewer.
        weights: Identity of the extractor's weights.
        resizing: What was done to all images before they were looked at.
        num_kid_subsets: Subsets drawn for KID.
        kid_subset_size: Images a subset.
        kid_seed: Draws the subsets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    benchmark: str
    fid: float
    kid: float
    kid_deviation: float
    num_images: int
    num_blanked: int
    num_reference: int
    extractor: str
    dimension: int
    weights: str
    resizing: str
    num_kid_subsets: int
    kid_subset_size: int
    kid_seed: int


class ClipScoreResult(BaseModel):
    """How well the images of a model fit their prompts.

    Attributes:
        label: The model.
        benchmark: Whose prompts.
        mean: Mean score of the images.
        deviation: Population standard deviation over images.
        interval: 95 % bootstrap interval of the mean over prompts; none of a single prompt.
        num_images: Images that were generated.
        num_blanked: How many of them a safety checker made black; these have no score.
        num_prompts: Prompts with an image that has a score.
        clip: The CLIP; figures of different ones cannot be compared.
        weights: Identity of its weights.
        convention: What was done with the cosine, and put before the prompt.
        scale: Factor of the cosine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    benchmark: str
    mean: float
    deviation: float
    interval: tuple[float, float] | None
    num_images: int
    num_blanked: int
    num_prompts: int
    clip: str
    weights: str
    convention: str
    scale: float
