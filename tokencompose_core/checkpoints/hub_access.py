"""Models of a hub, where none may be asked: what is not in its cache is refused at once, in a line.

huggingface_hub reads `HF_HUB_OFFLINE` when it is imported. The command line sets it with the
profile `pocket`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tokencompose_core.checkpoints.locate import require_unless_hub


def is_offline() -> bool:
    """Whether no hub may be asked."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def require_in_reach(field: str, name: str, file_name: str, revision: str = "") -> None:
    """Look for a model that a library loads by its name; a hub is not asked.

    Args:
        field: Where the name stands in the config.
        name: As for `locate`.
        file_name: A file that such a model has.
        revision: Of the hub's repository.

    Raises:
        FileNotFoundError: If the name is a path and the model or its file is not there, or if it is
            one of a hub that may not be asked and is not in its cache either.
    """
    from huggingface_hub import try_to_load_from_cache

    with naming_field(field, name):
        if require_unless_hub(name, file_name) is None and is_offline():
            cached = try_to_load_from_cache(name, file_name, revision=revision or None)
            if not isinstance(cached, str):
                raise FileNotFoundError(name)


@contextmanager
def naming_field(field: str, name: str) -> Iterator[None]:
    """Name the field whose model is not there, and the remedy if its hub may not be asked.

    Args:
        field: Where the name stands in the config.
        name: As for `locate`.

    Raises:
        FileNotFoundError: In place of any `OSError`: libraries give many of them many names.
    """
    try:
        yield
    except OSError as error:
        why = str(error)
        if is_offline() and _may_be_of_a_hub(name):
            why = (
                f"{name!r} is not on this machine, and no hub is asked with the profile pocket or"
                " HF_HUB_OFFLINE=1. Use --profile paper, or HF_HUB_OFFLINE=0"
            )
        raise FileNotFoundError(f"{field}: {why}") from error


def _may_be_of_a_hub(name: str) -> bool:
    try:
        return require_unless_hub(name.removeprefix("hf-hub:")) is None
    except (FileNotFoundError, ValueError):
        return False
