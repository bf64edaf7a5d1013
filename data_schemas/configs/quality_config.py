"""How real generated images look, and how well they fit their prompts."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_schemas.configs.curate_config import (
    CaptionSetName,
    OwnSource,
    PocketSource,
    SelectConfig,
    VsrCocoSource,
)
from data_schemas.configs.flow_config import Count, Settings, Share

INCEPTION_DIMENSION = 2048


class InceptionExtractor(Settings):
    """Inception of 2015, on whose features FID and KID were defined."""

    kind: Literal["inception"]
    weights: Annotated[
        str, Field(description="File of torch-fidelity's weights; nothing is downloaded.")
    ]

    @property
    def title(self) -> str:
        """What stands beside a figure: FID (Inception)."""
        return "Inception"


class ClipModel(Settings):
    """A CLIP of open_clip."""

    model: Annotated[str, Field(description="open_clip model name, or pocket:clip, or a folder.")]
    pretrained: Annotated[
        str,
        Field(
            description="open_clip tag of the weights, or their file, of OpenAI's with a model name"
            " that ends in -quickgelu; empty for a folder."
        ),
    ]

    @property
    def title(self) -> str:
        """What stands beside a figure: FID (pocket CLIP)."""
        if self.model == "pocket:clip":
            return "pocket CLIP"
        return f"CLIP {self.model} {self.pretrained}".rstrip()


class ClipExtractor(ClipModel):
    """Image features of a CLIP, in place of Inception's."""

    kind: Literal["clip"]


class QualityConfig(Settings):
    """Images to compare with, whose captions are the prompts."""

    caption_set: CaptionSetName
    source: Annotated[PocketSource | VsrCocoSource | OwnSource, Field(discriminator="kind")]
    select: SelectConfig
    max_rejected_fraction: Annotated[
        Share, Field(description="A stage fails if more of its samples than this are left out.")
    ]
    num_pairs: Annotated[Count, Field(description="Images drawn, each with one of its captions.")]
    seed: Annotated[int, Field(description="Draws images and captions.")]
    extractor: Annotated[InceptionExtractor | ClipExtractor, Field(discriminator="kind")]
    resolution: Annotated[
        int,
        Field(
            ge=8,
            description="Real and generated images are both brought to it: short side resized,"
            " centre cropped.",
        ),
    ]
    num_kid_subsets: Annotated[Count, Field(description="Draws of KID, whose mean it is.")]
    kid_subset_size: Annotated[int, Field(ge=2, description="Images of each draw.")]
    allow_few_images: Annotated[
        bool,
        Field(
            description="Compute FID of fewer images than features, whose covariance they cannot"
            " determine: 2048 of Inception."
        ),
    ]
    batch_size: Annotated[Count, Field(description="Images that the extractor sees at once.")]

    @model_validator(mode="after")
    def _pairs_are_enough(self) -> Self:
        if self.kid_subset_size > self.num_pairs:
            raise ValueError(
                f"kid_subset_size is {self.kid_subset_size}, more than num_pairs = {self.num_pairs}"
            )
        few = self.num_pairs < INCEPTION_DIMENSION and not self.allow_few_images
        if few and isinstance(self.extractor, InceptionExtractor):
            raise ValueError(
                f"num_pairs is {self.num_pairs}, but FID on Inception's features needs at least"
                f" {INCEPTION_DIMENSION}: draw more, or set allow_few_images"
            )
        return self


class ClipScoreConfig(ClipModel):
    """CLIPScore (arXiv:2104.08718) of prompt and image: a multiple of the cosine of their features.

    Its authors take ViT-B-32, the prefix "A photo depicts", 2.5, and 0 for negative cosines;
    torchmetrics takes ViT-L-14, no prefix, and 100.
    """

    prefix: Annotated[str, Field(description="Stands before every prompt, and a space after it.")]
    scale: Annotated[float, Field(gt=0.0, description="Factor of the cosine.")]
    negative_as_zero: Annotated[bool, Field(description="Count a negative cosine as 0.")]
    batch_size: Annotated[Count, Field(description="Images that go through CLIP at once.")]

    @property
    def convention(self) -> str:
        """The definition in a few words, to stand beside a figure."""
        cosine = "max(cos, 0)" if self.negative_as_zero else "cos"
        prefix = f", prefix {self.prefix!r}" if self.prefix else ""
        return f"{self.scale:g} {cosine}{prefix}"
