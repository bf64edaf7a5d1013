"""Settings of the stage `mask`: which models find the masks of the nouns, and how."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_schemas.configs.flow_config import Count, Settings, Share

DetectorBackend = Literal["groundingdino", "transformers"]
SegmenterBackend = Literal["segment_anything_hq", "transformers"]
_WEIGHTS = (".pth", ".pt", ".bin", ".safetensors")


class MaskConfig(Settings):
    """Grounding DINO and SAM-HQ, which find the masks of the nouns.

    Each comes from its authors' package, with a config file and weights, or from transformers, with
    a folder or hub name that holds everything.
    """

    detector_backend: Annotated[
        DetectorBackend,
        Field(description="Package of Grounding DINO: groundingdino-py or transformers."),
    ]
    detector_config: Annotated[
        str, Field(description="Config file of Grounding DINO; empty with transformers.")
    ]
    detector_checkpoint: Annotated[
        str,
        Field(description="Weights of Grounding DINO; with transformers a folder or hub name."),
    ]
    detector_revision: Annotated[
        str, Field(description="Of the hub's repository, with transformers; empty: the newest.")
    ]
    text_encoder: Annotated[
        str,
        Field(
            description="BERT of Grounding DINO: bert-base-uncased or a folder; empty with"
            " transformers, whose checkpoints hold it."
        ),
    ]
    prompting: Annotated[
        Literal["caption", "phrase"],
        Field(description="Nouns in one prompt of the detector: all of a caption, or one."),
    ]
    box_threshold: Annotated[Share, Field(description="Least score of a box.")]
    text_threshold: Annotated[
        Share, Field(description="Least score of the phrase that a box is given to.")
    ]
    nms_threshold: Annotated[
        Share, Field(description="IoU above which boxes of a phrase are reduced to the best.")
    ]
    short_side: Annotated[
        Count, Field(description="Pixels of an image's short side as Grounding DINO sees it.")
    ]
    long_side: Annotated[Count, Field(description="Most pixels of its long side there.")]
    segmenter_backend: Annotated[
        SegmenterBackend,
        Field(description="Package of SAM-HQ: segment-anything-hq or transformers."),
    ]
    segmenter_config: Annotated[
        str, Field(description="SAM-HQ model type, or a config file; empty with transformers.")
    ]
    segmenter_checkpoint: Annotated[
        str, Field(description="Weights of SAM-HQ; with transformers a folder or hub name.")
    ]
    segmenter_revision: Annotated[
        str, Field(description="Of the hub's repository, with transformers; empty: the newest.")
    ]
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Field(description="Of the models' matrix products; float16 needs a GPU."),
    ]
    min_precision_iou: Annotated[
        Share,
        Field(
            description="With less than float32: the stage fails if the first masks have a"
            " lower mean IoU with those in float32."
        ),
    ]
    batch_size: Annotated[Count, Field(description="Images that Grounding DINO sees together.")]
    boxes_at_once: Annotated[
        Count,
        Field(description="Boxes of an image that SAM-HQ decodes together; they bound memory."),
    ]

    @model_validator(mode="after")
    def _check_backends(self) -> Self:
        self._check_backend("detector", "groundingdino", ["detector_config", "text_encoder"])
        self._check_backend("segmenter", "segment_anything_hq", ["segmenter_config"])
        return self

    def _check_backend(self, part: str, authors: str, beside: list[str]) -> None:
        backend, checkpoint = getattr(self, f"{part}_backend"), getattr(self, f"{part}_checkpoint")
        if not checkpoint:
            raise ValueError(f"{part}_checkpoint is empty")
        if backend == authors:
            empty = [name for name in beside if not getattr(self, name)]
            if empty:
                raise ValueError(f"{part}_backend {backend!r} needs {' and '.join(empty)}")
            if getattr(self, f"{part}_revision"):
                raise ValueError(
                    f"{part}_revision is for {part}_backend 'transformers' alone; {backend!r} reads"
                    " a file, so leave it empty"
                )
        if backend != "transformers":
            return
        filled = [name for name in beside if getattr(self, name)]
        if filled:
            raise ValueError(
                f"{part}_backend 'transformers' finds everything in {part}_checkpoint; set"
                f' {" and ".join(filled)} to ""'
            )
        if checkpoint.endswith(_WEIGHTS):
            raise ValueError(
                f"{part}_backend 'transformers' needs a folder or hub name as {part}_checkpoint,"
                f" not the file {checkpoint!r}"
            )
