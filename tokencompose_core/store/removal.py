"""Take entries out of a store, so that none is ever half there and believed."""

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from tokencompose_core.store.content_store import MANIFEST_NAME, Store
from tokencompose_core.store.scratch import scratch_dir

REMOVING = ".removing-"


def remove_entries(
    store: Store,
    keys: Sequence[str],
    in_use: Callable[[], Collection[str]] = lambda: (),
) -> list[str]:
    """Remove entries for good, but for those that turn out to be in use.

    They are made invisible first, in the order given. Whoever looks for one from then on does not
    find it; whoever has found one has said so before, if he notes uses first. So what `in_use`
    names now is put back, and the rest is removed. A process that dies in between leaves entries
    that are invisible and whole, or gone; the next removal, or `gc`, clears up.

    Args:
        store: The store.
        keys: The entries; what is not there is passed over.
        in_use: Keys that are to stay, asked for once the entries are invisible.

    Returns:
        The keys of what was removed.
    """
    if not keys:
        return []
    return (
        _remove_folders(store, keys, in_use)
        if store.is_local
        else _remove_objects(store, keys, in_use)
    )


def _remove_folders(
    store: Store, keys: Sequence[str], in_use: Callable[[], Collection[str]]
) -> list[str]:
    root = Path(store.root)
    with scratch_dir(root, REMOVING) as hidden:
        for key in keys:
            with suppress(FileNotFoundError):
                os.rename(root / key, hidden / key)
        spared = set(keys)  # all, if it cannot be known what is in use
        try:
            spared = set(in_use())
        finally:
            for key in reversed(keys):
                if key in spared:
                    with suppress(OSError):  # somebody has made it anew meanwhile
                        os.rename(hidden / key, root / key)
        return [key for key in keys if (hidden / key).exists()]


def _remove_objects(
    store: Store, keys: Sequence[str], in_use: Callable[[], Collection[str]]
) -> list[str]:
    filesystem = store.filesystem
    manifests = {}
    for key in keys:
        path = f"{store.root}/{key}/{MANIFEST_NAME}"
        with suppress(FileNotFoundError):
            manifests[key] = filesystem.cat_file(path)
            filesystem.rm_file(path)
    spared = set(keys)  # all, if it cannot be known what is in use
    try:
        spared = set(in_use())
    finally:
        for key in reversed(keys):
            if key in spared and key in manifests:
                filesystem.pipe_file(f"{store.root}/{key}/{MANIFEST_NAME}", manifests[key])
    removed = []
    for key in keys:
        if key not in spared:
            with suppress(FileNotFoundError):
                filesystem.rm(f"{store.root}/{key}", recursive=True)
                removed.append(key)
    return removed
