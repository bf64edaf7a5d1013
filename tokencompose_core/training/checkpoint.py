"""Checkpoints: written whole or not at all, a few of them kept, a damaged one passed over."""

import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from tokencompose_core.store.open_image import is_fault_of_machine

_LOG = logging.getLogger(__name__)
_KEPT = 2


def save_checkpoint(
    folder: Path, step: int, state: dict[str, Any], *, noticed_after: int = 0
) -> Path:
    """Write the state of a step, and remove most of the earlier ones.

    The newest two stay, and one from before `noticed_after` steps, in case the run turns out to
    have gone wrong since. The oldest of those in between stays too: it is the next to be so old.

    Args:
        folder: Folder of the run's checkpoints.
        step: Steps done.
        state: Tensors and plain values.
        noticed_after: How many steps later it is known at the latest that a checkpoint is bad.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be written, as on a full disk; nothing of it is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"checkpoint-{step:08d}.pt"
    _write(path, state)
    paths = _newest_first(folder)
    old = [one for one in paths if _step(one) <= step - noticed_after]
    between = [one for one in paths if _step(one) > step - noticed_after]
    kept = {*paths[:_KEPT], *old[:1], *between[-1:]}
    for one in paths:
        if one not in kept:
            one.unlink()
    return path


def _write(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    try:
        # Opened here: of a path torch says that something went wrong, but not what.
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except RuntimeError as error:
        reason = error.__cause__ or error.__context__
        if isinstance(reason, OSError):
            raise OSError(reason.errno, reason.strerror, str(partial)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def remove_checkpoints_after(folder: Path, step: int) -> None:
    """Remove the checkpoints of later steps, which are known to be bad."""
    for path in _newest_first(folder):
        if _step(path) > step:
            path.unlink(missing_ok=True)  # another process may have been faster


def load_newest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The state of the newest checkpoint that can be read; None if there is no checkpoint.

    A damaged one is named in the log and passed over.

    Raises:
        ValueError: If there are checkpoints, and all are damaged.
        OSError: If the machine cannot read one.
    """
    paths = _newest_first(folder)
    for path in paths:
        damage = _find_damage(path)
        if not damage:
            try:
                # Mapped, so that what is copied to its place is in memory once.
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError as error:  # torch's word for a mapping that failed
                raise OSError(f"{path} is whole, but cannot be loaded: {error}") from error
        _LOG.warning("%s is damaged and is passed over: %s", path, damage)
    if paths:
        raise ValueError(
            f"every checkpoint in {folder} is damaged; remove them, and the run begins anew"
        )
    return None


def _find_damage(path: Path) -> str:
    """What is wrong with a file's content; "" if nothing is.

    `torch.load` alone compares no checksums, and does not tell a damaged file from a machine that
    cannot read it.

    Raises:
        OSError: If the machine cannot read it.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as parts:
            damaged = parts.testzip()
            if damaged is not None:
                return f"{damaged} differs from its checksum"
            file.seek(0)
            torch.load(file, map_location="meta", weights_only=True)  # without its tensors
    except Exception as error:  # a byte that changed may be taken for anything
        if isinstance(error, MemoryError) or is_fault_of_machine(error):
            raise
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def newest_step(folder: Path) -> int:
    """Steps done when the newest checkpoint was written; 0 without any."""
    return max(map(_step, _newest_first(folder)), default=0)


def _step(path: Path) -> int:
    return int(path.stem.split("-")[1])


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)
