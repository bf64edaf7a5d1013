"""See that a model's folder has the files that its library will open; no weights are read."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tokencompose_core.checkpoints.check_file import check_file
from tokencompose_core.checkpoints.hub_access import is_offline

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
_WITHOUT_WEIGHTS = frozenset({"scheduler", "feature_extractor", "tokenizer", "tokenizer_2"})
_SUFFIXES = (".safetensors", ".bin")
_VARIANT = re.compile(r"(?P<stem>(diffusion_pytorch_|pytorch_)?model)\.\w+\.\w+")


def check_weights(folder: str | Path, library: str, *, revision: str = "") -> None:
    """Refuse the folder of a model that has no config, or not all of its weights.

    Those of a variant, such as `model.fp16.safetensors`, are not what is loaded.

    Args:
        folder: Of one model, or the name of a hub.
        library: `diffusers`, or any other for the files of transformers.
        revision: Commit of a hub model.

    Raises:
        FileNotFoundError: Naming folder and file, and what to do.
        ValueError: If the list of its shards is none, a file holds no weights, or a hub has those
            of a variant alone.
    """
    if not Path(folder).is_dir():
        check_hub_weights(str(folder), library, revision=revision)
        return
    folder = Path(folder)
    _require(folder, _CONFIG)
    names = _WEIGHTS.get(library, _WEIGHTS["transformers"])
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise FileNotFoundError(_no_weights(folder, names))
    for name in _shards(found) if found.suffix == ".json" else [found.name]:
        _require(folder, name)
        check_file(folder / name)


def check_hub_weights(name: str, library: str, *, revision: str = "", part: str = "") -> None:
    """Refuse a model of a hub that has no weights which are looked for, by the names of its files.

    Of a hub that does not list them nothing is said; the library asks it again.

    Args:
        name: Of the hub.
        library: As for `check_weights`.
        revision: Commit of the model.
        part: Of a pipeline, its name there.

    Raises:
        FileNotFoundError: Naming the file that is missing.
        ValueError: Naming the variant that is there in its place.
    """
    prefix = f"{part}/" if part else ""
    names = [prefix + own for own in _WEIGHTS.get(library, _WEIGHTS["transformers"])]
    listed: set[str] | None = None
    for listed in _list_files(name, revision, prefix + _CONFIG):
        if not listed.isdisjoint(names):
            return
    if listed is None:
        return
    wanted = next(own for own in names if own.endswith(".safetensors"))
    for own in sorted(listed):
        if own.startswith(prefix) and _VARIANT.fullmatch(own.removeprefix(prefix)):
            raise ValueError(
                f"{name!r} has no {wanted}, but a variant, {own}, which is not loaded; take another"
                " revision or model, or download it, rename such files, and name the folder"
            )
    raise FileNotFoundError(f"{name!r} has no {wanted}; take another revision or model")


def _list_files(name: str, revision: str, config: str) -> Iterator[set[str]]:
    """Names of the files in the hub's cache, and then, if it may be asked, those that it has."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    cached = try_to_load_from_cache(name, config, revision=revision or None)
    if isinstance(cached, str):
        root = Path(cached.removesuffix(config))
        yield {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    if is_offline():
        return
    with suppress(OSError):
        yield set(HfApi().list_repo_files(name, revision=revision or None))


def check_part(folder: str | Path, part: str, library: str, *, revision: str = "") -> None:
    """The same of a part of a pipeline, of which some have no weights.

    Args:
        folder: Of the pipeline, or the name of a hub, of which its weights alone are looked for.
        part: Its name there.
        library: As `model_index.json` has it.
        revision: Commit of a hub model.

    Raises:
        FileNotFoundError: As `check_weights`.
        ValueError: Likewise.
    """
    if not Path(folder).is_dir():
        if part not in _WITHOUT_WEIGHTS:
            check_hub_weights(str(folder), library, revision=revision, part=part)
        return
    own = Path(folder) / part
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
