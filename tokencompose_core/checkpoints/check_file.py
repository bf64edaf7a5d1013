"""Look at a file of weights before anything is computed, and say what is wrong with it."""

import re
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from safetensors import SafetensorError, safe_open

_GLOBAL = re.compile(r"GLOBAL (\S+) (?:was not an allowed global|whose module)")


def check_file(path: Path) -> None:
    """Refuse a file that is no checkpoint by its beginning and its end; no weights are read.

    Such as a download that was interrupted, a page in the place of a file, or the note that git
    keeps for a large one. Pickles of the form before zip have no end that can be told.

    Args:
        path: The file.

    Raises:
        ValueError: Saying what is wrong with it, and what to do.
    """
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="np"):
                return
        with path.open("rb") as file:
            beginning = file.read(16)
        if beginning.startswith(b"PK"):
            with ZipFile(path) as archive:
                names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                raise ValueError("it is TorchScript, which is a program")
        elif not beginning.startswith(b"\x80"):  # as any pickle does, and the form before zip
            raise ValueError(f"it begins with {beginning!r}")
    except BadZipFile as error:
        raise ValueError(refusal(path, ValueError("its end is missing"))) from error
    except (SafetensorError, ValueError) as error:
        raise ValueError(refusal(path, error)) from error


def refusal(path: Path, error: Exception) -> str:
    """What is said of a file that holds no weights.

    Args:
        path: The file.
        error: One of `NOT_WEIGHTS`.
    """
    found = _GLOBAL.search(str(error))
    reason = first_line(error) if found is None else f"it wants to call {found[1]}"
    return (
        f"{path} holds no weights, or more than weights ({reason}), and is not opened; get it"
        " again from whoever published it, as .safetensors if there is one"
    )


def first_line(error: Exception) -> str:
    """What an error says, without the advice of torch that follows; its name if it says nothing."""
    return str(error).partition("\n")[0] or type(error).__name__
