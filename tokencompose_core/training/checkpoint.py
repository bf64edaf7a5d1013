"""Checkpoints: written whole or not at all, the last few kept, a damaged one passed over."""

import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

_LOG = logging.getLogger(__name__)
_KEPT = 2


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write the state of a step, and remove all but the newest two.

    Args:
        folder: Folder of the run's checkpoints.
        step: Steps done.
        state: Tensors and plain values.

    Returns:
        The file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"checkpoint-{step:08d}.pt"
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    for old in _newest_first(folder)[_KEPT:]:
        old.unlink()
    return path


def load_newest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The state of the newest checkpoint that can be read, or None.

    One that cannot be read is named in the log and passed over.
    """
    for path in _newest_first(folder):
        try:
            _check_sums(path)
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a byte that changed may be taken for anything
            _LOG.warning("%s cannot be read and is passed over: %s", path, str(error)[:200])
    return None


def _check_sums(path: Path) -> None:
    """Compare every part of the file with its checksum, which `torch.load` does not look at."""
    with zipfile.ZipFile(path) as parts:
        damaged = parts.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} differs from its checksum")


def newest_step(folder: Path) -> int:
    """Steps done when the newest checkpoint was written; 0 without any."""
    return max((int(path.stem.split("-")[1]) for path in _newest_first(folder)), default=0)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)
