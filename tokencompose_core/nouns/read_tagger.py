"""Read the file of a flair tagger without running anything that is in it."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from flair.data import Dictionary

from tokencompose_core.checkpoints.check_file import first_line
from tokencompose_core.checkpoints.read_weights import NOT_UNPICKLED

TRUSTED_VARIABLE = "TOKENCOMPOSE_TRUSTED_TAGGERS"
# torch's unpickler for weights alone does not know the kind of pickle that flair writes, so that
# flair's files are read with Python's, which may look up these names only. None of them opens a
# file, or calls what is none of them.
_ALLOWED = frozenset(
    {
        ("builtins", "int"),  # what the defaultdict of a dictionary of characters calls
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("flair.data", "Dictionary"),
        ("torch", "Size"),
        ("torch", "device"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch.torch_version", "TorchVersion"),
    }
)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it needs {module}.{name}")
        return super().find_class(module, name)


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


# What `torch.load` takes of the module pickle.
_PICKLE = SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__="restricted_pickle")


def read_tagger(path: Path, name: str) -> dict[str, Any]:
    """What a tagger's file holds, as `SequenceTagger.load` takes it.

    Args:
        path: The file.
        name: As the config names the model. If `TOKENCOMPOSE_TRUSTED_TAGGERS` names it too, one of
            its names between commas, the file is read by flair's own way, which runs what it holds.

    Raises:
        ValueError: If it needs more than weights, dictionaries and embeddings made of them.
    """
    if name in os.environ.get(TRUSTED_VARIABLE, "").split(","):
        return torch.load(path, map_location="cpu", weights_only=False)
    try:
        state = _read(path)
        _check_embeddings(state.get("embeddings"))
    except (*NOT_UNPICKLED, zipfile.BadZipFile) as error:
        raise ValueError(
            f"parse.model {name!r}: {path.name} is not opened, because it may run any program"
            f" while it is ({first_line(error)}); save the tagger with a recent flair, or, if you"
            f" trust whoever made it, set the environment variable {TRUSTED_VARIABLE}={name}"
        ) from error
    return state


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        # TorchScript, which `torch.load` would hand to another loader.
        if any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist()):
            raise ValueError("it is TorchScript")
    content = io.BytesIO(path.read_bytes())
    state = torch.load(content, map_location="cpu", weights_only=False, pickle_module=_PICKLE)
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}")
    return state


def _check_embeddings(embeddings: Any) -> None:
    match embeddings:
        case {"__cls__": "FlairEmbeddings" | "OneHotEmbeddings"}:
            pass
        case {"__cls__": "CharacterEmbeddings", "path_to_char_dict": Dictionary()}:
            pass  # anything else in the dictionary's place is a file that would be unpickled
        case {"__cls__": "StackedEmbeddings", "embeddings": [*parts]}:
            for part in parts:
                _check_embeddings(part)
        case _:
            kind = embeddings.get("__cls__") if isinstance(embeddings, dict) else type(embeddings)
            raise ValueError(f"its embeddings are {kind}, which may open files or ask servers")
