"""Checkpoints: written whole or not at all, a few of them kept, a damaged one set aside."""

import errno
import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from tokencompose_core.store.open_image import is_fault_of_machine

_LOG = logging.getLogger(__name__)
_KEPT = 2
_DOS_FOLDER = 0x10  # of a file's attributes in a zip
_DAMAGED = ".damaged"


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
    path = _path(folder, step)
    _write(path, state)
    paths = _newest_first(folder)
    old = [one for one in paths if _step(one) <= step - noticed_after]
    between = [one for one in paths if _step(one) > step - noticed_after]
    kept = {path, *paths[:_KEPT], *old[:1], *between[-1:]}
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
    """Remove the checkpoints of later steps, which are known to be bad, damaged ones too."""
    for path in folder.glob("checkpoint-*"):
        if _step(path) > step:
            path.unlink(missing_ok=True)  # another process may have been faster


def agree_on_start(folder: Path, accelerator: Accelerator) -> int:
    """Step of the newest checkpoint that is whole, the same in every process.

    The main process looks, and tells the others: what one of them cannot read, another may.

    Returns:
        The step; 0 if there is no checkpoint.

    Raises:
        ValueError: If there are checkpoints, and all are damaged.
        OSError: If the machine cannot read one.
    """
    steps = [set_damaged_aside(folder) if accelerator.is_main_process else 0]
    return broadcast_object_list(steps)[0]


def set_damaged_aside(folder: Path) -> int:
    """Find the newest checkpoint that is whole.

    Newer ones are damaged. They are named in the log and renamed, so that they count no longer as
    checkpoints; of several processes only one may do this.

    Returns:
        Its step; 0 if there is no checkpoint.

    Raises:
        ValueError: If there are checkpoints, and all are damaged.
        OSError: If the machine cannot read one.
    """
    for path in _newest_first(folder):
        damage = _find_damage(path)
        if not damage:
            return _step(path)
        aside = path.rename(path.with_name(f"{path.name}{_DAMAGED}"))
        _LOG.warning("%s is damaged and passed over; it is now %s: %s", path, aside.name, damage)
    if any(folder.glob(f"checkpoint-*{_DAMAGED}")):
        raise ValueError(
            f"every checkpoint in {folder} is damaged; remove them, and the run begins anew"
        )
    return 0


def load_checkpoint(folder: Path, step: int) -> dict[str, Any]:
    """The state that was saved at a step, in a file that is whole.

    Raises:
        OSError: If the machine cannot read it.
    """
    return _load(_path(folder, step))


def _load(path: Path) -> dict[str, Any]:
    try:
        # Mapped, so that what is copied to its place is in memory once.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        # torch's word for a file that was not opened or mapped, whatever its content.
        if "unable to " in str(error):
            raise OSError(errno.ENOMEM, str(error), str(path)) from error
        raise


def _find_damage(path: Path) -> str:
    """What is wrong with a file's content; "" if nothing is.

    `torch.load` alone compares no checksums, and zipfile overlooks what is damaged for torch.

    Raises:
        OSError: If the machine cannot read it.
    """
    try:
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()
            # torch compresses nothing and has no folders. Of a part that claims to be longer than
            # it is, or a folder, zipfile reads what is there, and torch what its memory held.
            odd = [
                part.filename
                for part in parts.infolist()
                if part.file_size != part.compress_size or part.external_attr & _DOS_FOLDER
            ]
        if damaged is not None:
            return f"{damaged} differs from its checksum"
        if odd:
            return f"{odd[0]} is not as torch writes it"
        _load(path)
    except Exception as error:  # a byte that changed may be taken for anything
        if isinstance(error, MemoryError) or is_fault_of_machine(error):
            raise
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def newest_step(folder: Path) -> int:
    """Steps done when the newest checkpoint that is whole was written; 0 without any.

    Raises:
        OSError: If the machine cannot read one.
    """
    return next((_step(path) for path in _newest_first(folder) if not _find_damage(path)), 0)


def _path(folder: Path, step: int) -> Path:
    return folder / f"checkpoint-{step:08d}.pt"


def _step(path: Path) -> int:
    return int(path.name.split(".")[0].split("-")[1])


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)
