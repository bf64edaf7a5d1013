"""See that a model's folder has the files that its library will open; no weights are read."""

import json
import re
from pathlib import Path

from tokencompose_core.checkpoints.check_file import check_file

_CONFIG = "config.json"
# In the order in which each library looks. diffusers looks for no shards that are pickles.
_WEIGHTS = {
    "diffusers": (
        "diffusion_pytorch_model.safetensors.index.json",
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.bin",
    ),
    "transformers": (
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ),
}
_SUFFIXES = (".safetensors", ".bin")
_VARIANT = re.compile(r"(?P<stem>(diffusion_pytorch_|pytorch_)?model)\.\w+\.\w+")


def check_weights(folder: str | Path, library: str) -> None:
    """Refuse the folder of a model that has no config, or not all of its weights.

    Those of a variant, such as `model.fp16.safetensors`, are not what is loaded.

    Args:
        folder: Of one model, or the name of a hub, of which nothing is said.
        library: `diffusers`, or any other for the files of transformers.

    Raises:
        FileNotFoundError: Naming folder and file, and what to do.
        ValueError: If the list of its shards is none, or a file holds no weights.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return
    _require(folder, _CONFIG)
    names = _WEIGHTS.get(library, _WEIGHTS["transformers"])
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise FileNotFoundError(_no_weights(folder, names))
    for name in _shards(found) if found.suffix == ".json" else [found.name]:
        _require(folder, name)
        check_file(folder / name)


def check_part(folder: Path, part: str, library: str) -> None:
    """The same of a part of a pipeline, of which some have no weights.

    Args:
        folder: Of the pipeline.
        part: Its name there.
        library: As `model_index.json` has it.

    Raises:
        FileNotFoundError: As `check_weights`.
        ValueError: Likewise.
    """
    own = folder / part
    match part:
        case "scheduler":
            _require(own, "scheduler_config.json")
        case "feature_extractor":
            _require(own, "preprocessor_config.json")
        case "tokenizer" | "tokenizer_2":
            if not (own / "tokenizer.json").is_file():
                _require(own, "vocab.json")
                _require(own, "merges.txt")
        case _:
            _require(own, _CONFIG)  # also where there is no folder
            check_weights(own, library)


def _require(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        raise FileNotFoundError(_missing(folder, name))


def _missing(folder: Path, name: str) -> str:
    return (
        f"{folder} has no {name}, without which the model cannot be loaded; see that its download"
        " came to its end"
    )


def _shards(index: Path) -> list[str]:
    try:
        return sorted({str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} does not list the files of weights; get it again") from error


def _no_weights(folder: Path, names: tuple[str, ...]) -> str:
    wanted = next(name for name in names if name.endswith(".safetensors"))
    others = [path.name for path in sorted(folder.iterdir()) if path.suffix in _SUFFIXES]
    for name in others:
        if variant := _VARIANT.fullmatch(name):
            return (
                f"{folder} has no {wanted}, but a variant, {name}; rename that to"
                f" {variant['stem']}{Path(name).suffix}, and likewise in the model's other parts"
            )
    if others:
        return (
            f"{folder} has no {wanted}, but {others[0]}, which is not looked for; get the model"
            f" with {wanted}"
        )
    return _missing(folder, wanted)
