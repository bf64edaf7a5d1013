"""What a fine-tuned model is made of, in the form that model hubs show."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

_GROUNDED = (
    "# Stable Diffusion, fine-tuned with grounded nouns",
    "",
    "The cross-attention of each noun was trained to fall on that noun's segmentation mask"
    " (TokenCompose, arXiv:2312.03626).",
)
_PLAIN = (
    "# Stable Diffusion, fine-tuned on the denoising loss alone",
    "",
    "A baseline for models that are trained on the same samples with grounded nouns as well"
    " (TokenCompose, arXiv:2312.03626).",
)
_HOW_TO = """```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("path/to/this/folder")
image = pipeline("a photo of a cat, a wine glass, and a kite.").images[0]
```"""


def write_model_card(
    folder: Path,
    *,
    base_model: str,
    terms: Collection[str],
    settings: Mapping[str, Any],
    data_digests: Sequence[str],
    measured: Mapping[str, float],
    versions: Mapping[str, str],
) -> None:
    """Write `README.md` into a model's folder.

    Args:
        folder: Folder of the model.
        base_model: What training started from.
        terms: Of the objective, those that were trained on beside the denoising.
        settings: The whole config of the training, seed included.
        data_digests: Digests of the encoded shards that it was trained on.
        measured: Figures of the training.
        versions: Versions of the packages that decide the outcome.
    """
    data = ModelCardData(
        base_model=base_model,
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=["tokencompose", "stable-diffusion"] if terms else ["stable-diffusion"],
    )
    lines = [
        "---",
        data.to_yaml(),
        "---",
        "",
        *_describe(terms),
        "",
        _HOW_TO,
        "",
        "## Training",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value:.4f} |" for name, value in measured.items()),
        "",
        "```json",
        json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False),
        "```",
        "",
        "## Data",
        "",
        *(f"- `sha256:{digest}`" for digest in data_digests),
        "",
        "## Versions",
        "",
        *(f"- {name} {version}" for name, version in versions.items()),
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), "utf-8")


def _describe(terms: Collection[str]) -> tuple[str, ...]:
    if not terms:
        return _PLAIN
    if {"token", "pixel"}.issuperset(terms):
        return _GROUNDED
    return (
        "# Stable Diffusion, fine-tuned with losses on the attention of nouns",
        "",
        f"Beside the denoising loss it was trained on: {', '.join(terms)}; the settings below say"
        " with which weights.",
    )
