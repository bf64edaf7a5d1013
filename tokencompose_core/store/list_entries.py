"""The entries of one stage in a store."""

from concurrent.futures import ThreadPoolExecutor

from data_schemas.manifest import Manifest
from tokencompose_core.store.content_store import Store


def entries_of_stage(store: Store, stage: str) -> list[Manifest]:
    """The manifests of a stage's outputs, the newest last; entries of other stages are not read.

    Files are looked for by their sizes. What is damaged is left out.
    """
    try:
        folders = store.filesystem.ls(store.root, detail=False)
    except FileNotFoundError:
        return []
    names = [folder.rstrip("/").rpartition("/")[2] for folder in folders]
    keys = [name for name in names if name.startswith(f"{stage}-v")]
    with ThreadPoolExecutor() as executor:
        found = [m for m in executor.map(lambda key: store.find(key, "size"), keys) if m]
    return sorted(found, key=lambda m: (m.provenance.get("created", ""), m.key))
