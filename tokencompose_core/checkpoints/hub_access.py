"""Models of a hub: one that cannot be had is refused at once, in a line.

huggingface_hub reads `HF_HUB_OFFLINE` when it is imported. The command line sets it with the
profile `pocket`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokencompose_core.checkpoints.locate import require_unless_hub


def is_offline() -> bool:
    """Whether no hub may be asked."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def require_in_reach(
    field: str, name: str, file_name: str, revision: str = "", *, cache_dir: Path | None = None
) -> None:
    """Look for a model that a library loads by its name, and fetch nothing.

    A hub is asked whether it has the file, unless its cache has it.

    Args:
        field: Where the name stands in the config.
        name: As for `locate`.
        file_name: A file that such a model has.
        revision: Of the hub's repository.
        cache_dir: Where the library keeps what it fetched, if not where most do.

    Raises:
        FileNotFoundError: If the name is a path and the model or its file is not there, or if it is
            one of a hub, is not in its cache, and the hub has no such file, does not give it, does
            not answer, or may not be asked.
    """
    from huggingface_hub import try_to_load_from_cache

    with naming_field(field, name):
        if require_unless_hub(name, file_name) is not None:
            return
        cached = try_to_load_from_cache(name, file_name, cache_dir, revision or None)
        if isinstance(cached, str):
            return
        if is_offline():
            raise FileNotFoundError(name)
        _ask_hub(name, file_name, revision)


def _ask_hub(name: str, file_name: str, revision: str) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError

    hub = HfApi()
    here = f"{name!r} is not on this machine, and {hub.endpoint}"
    try:
        if hub.file_exists(name, file_name, revision=revision or None):
            return
        why = (
            f"{here} has no {file_name} of it{f' in revision {revision}' if revision else ''}; see"
            " that the name is right, or log in (hf auth login) if the model is private"
        )
    except GatedRepoError:
        why = (
            f"{here} gives it only to those who accepted its terms, on its page there; accept them,"
            " and log in (hf auth login)"
        )
    except OSError as error:
        if getattr(error, "response", None) is None:
            why = f"{here} cannot be reached: {_first_cause(error)}"
        else:
            why = (
                f"{here} does not say whether it has it ({type(error).__name__}:"
                f" {str(error).splitlines()[0][:200]})"
            )
    raise FileNotFoundError(why)


def _first_cause(error: BaseException) -> str:
    """What the system said, below the errors of the libraries in between, which repeat the URL."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    said = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return said.splitlines()[0][:200]


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
