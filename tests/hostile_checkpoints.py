"""Checkpoints that run a program when they are opened carelessly, and ones that are damaged."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class Exploit:
    """What unpickles to a file that a test looks for."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


class ModuleExploit(Exploit):
    """The same by other means, for readers that refuse the system alone."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


def write_torch(path: Path, marker: Path) -> None:
    """A file of `torch.save`, weights among which there is a program."""
    torch.save({"model": {"weight": torch.zeros(2)}, "extra": Exploit(marker)}, path)


def write_torch_of_old(path: Path, marker: Path) -> None:
    """The same in the form before zip."""
    torch.save(
        {"model": {"weight": torch.zeros(2)}, "extra": ModuleExploit(marker)},
        path,
        _use_new_zipfile_serialization=False,
    )


def write_torch_like_flair(path: Path, marker: Path) -> None:
    """The same in the protocol that flair writes."""
    torch.save({"embeddings": ModuleExploit(marker)}, path, pickle_protocol=4)


def write_pickle(path: Path, marker: Path) -> None:
    """A pickle without any weights."""
    path.write_bytes(pickle.dumps(Exploit(marker)))


PICKLES: dict[str, Callable[[Path, Path], None]] = {
    "torch": write_torch,
    "torch-of-old": write_torch_of_old,
    "torch-like-flair": write_torch_like_flair,
    "pickle": write_pickle,
}


def fire(path: Path) -> None:
    """Open a file of `PICKLES` carelessly, to prove that it is dangerous."""
    try:
        torch.load(path, weights_only=False)
    except (RuntimeError, pickle.UnpicklingError):
        with path.open("rb") as stream:
            pickle.load(stream)


def safetensors_bytes(header: Any, content: bytes = b"") -> bytes:
    """A file in safetensors with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def _tensor(begin: int, end: int, shape: list[int], kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


SAFETENSORS: dict[str, bytes] = {
    "header-beyond-file": struct.pack("<Q", 2**40) + b"{}",
    "header-of-2-to-63": struct.pack("<Q", 2**63) + b"{}",
    "header-cut": struct.pack("<Q", 50) + b'{"a": ',
    "header-no-json": safetensors_bytes(b"import os"),
    "empty": b"",
    "overlap": safetensors_bytes({"a": _tensor(0, 8, [2]), "b": _tensor(4, 12, [2])}, bytes(12)),
    "hole": safetensors_bytes({"a": _tensor(4, 12, [2])}, bytes(12)),
    "beyond-file": safetensors_bytes({"a": _tensor(0, 4000, [1000])}, bytes(8)),
    "backwards": safetensors_bytes({"a": _tensor(8, 0, [2])}, bytes(8)),
    "shape-too-large": safetensors_bytes({"a": _tensor(0, 8, [2**40, 2**40])}, bytes(8)),
    "unknown-type": safetensors_bytes({"a": _tensor(0, 8, [2], "PICKLE")}, bytes(8)),
    "pickle-inside": pickle.dumps({"a": 1}),
}
