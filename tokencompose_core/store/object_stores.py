"""What object stores lack: folders."""

from collections.abc import Mapping
from typing import Any

from fsspec import AbstractFileSystem

_OBJECT_STORES = {"s3", "gs", "abfs"}


def has_folders(filesystem: AbstractFileSystem) -> bool:
    """Whether a file needs a folder to be in.

    What makes folders elsewhere makes a bucket of a misspelt name on an object store.
    """
    protocols = filesystem.protocol
    names = {protocols} if isinstance(protocols, str) else {*protocols}
    return not names & _OBJECT_STORES


def list_files(filesystem: AbstractFileSystem, folder: str) -> dict[str, Mapping[str, Any]]:
    """What fsspec knows of all files below a folder, by path; nothing if there is no such folder.

    fsspec's own `find` passes over folders that it cannot list, wherever there are folders.

    Raises:
        OSError: If a folder cannot be listed.
    """
    if not has_folders(filesystem):
        return dict(filesystem.find(folder, detail=True))
    found: dict[str, Mapping[str, Any]] = {}
    waiting = [folder]
    while waiting:
        try:
            listing = filesystem.ls(waiting.pop(), detail=True)
        except FileNotFoundError:  # somebody has just removed it
            continue
        for info in listing:
            if info["type"] == "directory":
                waiting.append(info["name"])
            else:
                found[info["name"]] = info
    return found
