"""The key that a person means by its beginning."""

from data_schemas.stages import KEY_BEGINNING
from tokencompose_core.store.ancestry import find_key
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.history import History
from tokencompose_core.store.keys import is_key


def whole_key(store: Store, name: str) -> str:
    """The only key in a store that a name begins, as `dataset-v1-f1ab`.

    Args:
        store: The store.
        name: A key, its beginning from the stage on, or any other name.

    Returns:
        The name itself if it is whole, no beginning of a key, or that of none in the store.

    Raises:
        ValueError: If several keys begin with it, naming some.
    """
    if is_key(name) or not KEY_BEGINNING.fullmatch(name):
        return name
    history = History(store, lambda key: key.startswith(name))
    return find_key(history, name) if history.manifests else name
