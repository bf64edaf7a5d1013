"""Take entries out of a store, so that none is ever half there and believed."""

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from tokencompose_core.store.content_store import MANIFEST_NAME, Store
from tokencompose_core.store.scratch import scratch_dir

REMOVING = ".removing-"
# So few are gone before a run that has just noted a use can have made anything anew.
_ASKED_AT_ONCE = 8


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
        in_use: Keys that are to stay, asked for once the entries are invisible; on an object store,
            where removing takes a while, again before every few of them.

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
    paths = {key: f"{store.root}/{key}/{MANIFEST_NAME}" for key in keys}
    hidden: dict[str, bytes] = {}
    removed = []

    def put_back(spared: Collection[str]) -> None:
        for key in reversed(keys):
            if key in hidden and key in spared:
                manifest = hidden.pop(key)
                if not filesystem.exists(paths[key]):  # or somebody has made it anew meanwhile
                    filesystem.pipe_file(paths[key], manifest)

    try:
        for key in keys:
            with suppress(FileNotFoundError):
                hidden[key] = filesystem.cat_file(paths[key])
                filesystem.rm_file(paths[key])
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            spared = set(in_use())
            put_back(spared)
            for key in keys[start : start + _ASKED_AT_ONCE]:
                if key in spared or filesystem.exists(paths[key]):
                    continue
                hidden.pop(key, None)  # it can be whole no more
                with suppress(FileNotFoundError):
                    filesystem.rm(f"{store.root}/{key}", recursive=True)
                    removed.append(key)
    finally:
        put_back(set(hidden))  # all, if it cannot be known what is in use
    return removed
