"""Turn the model names of a config into paths, hub names and identities."""

import re
from functools import cache
from importlib import resources
from pathlib import Path

from data_schemas.manifest import check_file_name
from tokencompose_core.store.keys import file_digest, folder_digest, visible_files

_WHERE_TO_GET = {
    "groundingdino_swint_ogc.pth": (
        "https://github.com/IDEA-Research/GroundingDINO/releases/download/v0.1.0-alpha/"
        "groundingdino_swint_ogc.pth"
    ),
    "sam_hq_vit_h.pth": "https://huggingface.co/lkeab/hq-sam/resolve/main/sam_hq_vit_h.pth",
    "weights-inception-2015-12-05-6726825d.pth": (
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth"
    ),
}

# `name` or `owner/name`, of a revision or not.
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(@[\w./-]+)?")
_WEIGHTS = (".pt", ".pth", ".bin", ".safetensors")


def locate(name: str) -> Path | None:
    """The local path that a model name of a config means, or None if it is a hub name.

    Args:
        name: `pocket:<folder>[/<file>]` for a model that comes with the project, `pocket:` for the
            folder of all of them, `groundingdino:<file>` for a config that groundingdino-py ships,
            a path, or a hub name.

    Raises:
        FileNotFoundError: If the name is a `pocket:` or `groundingdino:` one and not there.
        ValueError: If it is one of these and leaves their folder.
    """
    scheme, colon, rest = name.partition(":")
    if colon and scheme in ("pocket", "groundingdino") and name != "pocket:":
        try:
            check_file_name(rest)
        except ValueError as error:
            raise ValueError(f"model {name!r}: {error}; give a model by its path") from error
    if colon and scheme == "pocket":
        return _existing(_package("tokencompose_core") / "pocket/models" / rest, name)
    if colon and scheme == "groundingdino":
        return _existing(_package("groundingdino") / "config" / rest, name)
    path = Path(name)
    return path if path.exists() else None


def require(name: str) -> Path:
    """The local path of a model that must be on this machine.

    Raises:
        FileNotFoundError: Saying which file, where it was looked for and where to get it.
    """
    path = locate(name)
    return path if path is not None else _existing(Path(name), name)


def require_unless_hub(name: str, file_name: str = "") -> Path | None:
    """The local path of a model, or None if the name may be one of a hub, which alone can say.

    Args:
        name: As for `locate`.
        file_name: A file that the model must have if it is a folder.

    Raises:
        FileNotFoundError: If the name is a path, and the model or its file is not there.
    """
    path = locate(name)
    if path is None and _HUB_NAME.fullmatch(name) and not name.endswith(_WEIGHTS):
        return None
    path = path or require(name)
    return _existing(path / file_name, name).parent if file_name and path.is_dir() else path


def local_or_hub(name: str) -> str:
    """What a `from_pretrained` takes: the local path if there is one, else the hub name."""
    path = locate(name)
    return name if path is None else str(path)


def identity(name: str, revision: str = "") -> str:
    """What stands for a model in keys: a digest of its content, or hub name and revision.

    Hidden files of a folder are no part of a model, see `visible_files`.

    The content of a model on this machine is read once a process, and again when a file's size or
    time of change is another.
    """
    path = locate(name)
    if path is None:
        return f"{name}@{revision or 'main'}"
    return _content_digest(path)


def clip_identity(model: str, pretrained: str) -> str:
    """The same for a model of open_clip, whose weights a tag names, or a file holds.

    Args:
        model: Folder, or name of open_clip's.
        pretrained: Tag of the weights, or their file.
    """
    weights = Path(pretrained)
    if locate(model) is None and weights.is_file():
        return f"{model}@{_content_digest(weights)}"
    return identity(model, pretrained)


@cache
def _package(name: str) -> Path:
    return Path(str(resources.files(name)))


def _content_digest(path: Path) -> str:
    return _digest_in_state(path.resolve(), _states(path))


def _states(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of change of each file of a model."""
    files = visible_files(path) if path.is_dir() else [path]
    found = ((str(file), file.stat()) for file in files)
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)


@cache
def _digest_in_state(path: Path, states: tuple[tuple[str, int, int], ...]) -> str:
    return f"sha256:{folder_digest(path) if path.is_dir() else file_digest(path)}"


def _existing(path: Path, name: str) -> Path:
    if path.exists():
        return path
    remedy = _WHERE_TO_GET.get(path.name)
    raise FileNotFoundError(
        f"model {name!r}: there is no {path.name} at {path.absolute()}"
        + (f"; get it from {remedy}" if remedy else "; check the name in the config")
    )
