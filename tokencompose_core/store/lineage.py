"""What an output was made from."""

from data_schemas.manifest import Manifest
from tokencompose_core.store.content_store import Check, Store
from tokencompose_core.store.keys import is_key


def trace(store: Store, key: str, check: Check | None = None) -> list[Manifest]:
    """The manifests of an output and of all stored outputs that it was made from, nearest first.

    Args:
        store: Where they lie.
        key: The output.
        check: How each is checked; as the store does unless it is given.

    Raises:
        FileNotFoundError: If the output itself is not in the store.
    """
    manifests: dict[str, Manifest] = {}
    waiting = [key]
    while waiting:
        current = waiting.pop(0)
        if current in manifests:
            continue
        manifest = store.find(current, check)
        if manifest is None:
            if current == key:
                raise FileNotFoundError(f"{key} is not in the store {store.root}, or damaged")
            continue
        manifests[current] = manifest
        # Models of the hub and files from outside have names, too, some of them with a "/".
        waiting += [name for name in manifest.inputs if is_key(name)]
    return list(manifests.values())
