"""What the paper reports, and how it was measured: Table 1 of TokenCompose (CVPR 2024).

The figures are as its repository repeats them.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

Figure = tuple[float, float]
"""A value and its standard deviation."""


class PublishedModel(BaseModel):
    """A model of the paper's Table 1.

    Attributes:
        label: The model.
        object_accuracy: VISOR's OA in percent.
        multigen: By set of prompts and k, MGk in percent.
        fid: By set of real images, on Inception's features.
        latency: Seconds an image of 512 pixels, on a machine of theirs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    object_accuracy: float
    multigen: dict[str, dict[int, Figure]]
    fid: dict[str, float]
    latency: Figure


NUM_OBJECTS = 5
"""Categories of each of the paper's MultiGen prompts."""

NUM_PROMPTS = {"multigen": 1000, "visor": 25_280}
"""Prompts of each set of a benchmark."""

NUM_PAIRS = {"coco": 10_000, "flickr30k": 1000}
"""Real images, and as many generated ones, behind each FID. It depends on their number."""

_DETECTOR = {"query": "a photo of a {name}", "threshold": 0.1, "precision": "float32"}
DETECTORS: Mapping[str, Mapping[str, object]] = {
    "multigen": {
        "architecture": "owlv2",
        "model": "google/owlv2-large-patch14-ensemble",
        **_DETECTOR,
    },
    "visor": {"architecture": "owlvit", "model": "google/owlvit-base-patch32", **_DETECTOR},
}
"""Who looked for the categories of each benchmark, and the score above which one counted."""

SAMPLER: Mapping[str, object] = {
    "scheduler": "pndm",
    "num_inference_steps": 50,
    "guidance_scale": 7.5,
    "height": 512,
    "width": 512,
    "precision": "float32",
}
"""How all of its images were made; the noise is not known."""

PUBLISHED = (
    PublishedModel(
        label="Stable Diffusion 1.4",
        object_accuracy=29.86,
        multigen={
            "coco": {2: (90.72, 1.33), 3: (50.74, 0.89), 4: (11.68, 0.45), 5: (0.88, 0.21)},
            "ade20k": {2: (89.81, 0.40), 3: (53.96, 1.14), 4: (16.52, 1.13), 5: (1.89, 0.34)},
        },
        fid={"coco": 20.88, "flickr30k": 71.46},
        latency=(7.54, 0.17),
    ),
    PublishedModel(
        label="TokenCompose",
        object_accuracy=52.15,
        multigen={
            "coco": {2: (98.08, 0.40), 3: (76.16, 1.04), 4: (28.81, 0.95), 5: (3.28, 0.48)},
            "ade20k": {2: (97.75, 0.34), 3: (76.93, 1.09), 4: (33.92, 1.47), 5: (6.21, 0.62)},
        },
        fid={"coco": 20.19, "flickr30k": 71.13},
        latency=(7.56, 0.14),
    ),
)
