"""A command of this project as it is printed for people: it works where it is pasted."""

import sys
from pathlib import Path
from shlex import join


def from_here(path: str) -> str:
    """A path as one would type it, if it lies below the working directory."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def shown_command(*words: str) -> str:
    """A command line for the shell that this process was started from.

    The virtual environment need not be active there, so it names the interpreter that runs now.

    Args:
        words: Command and arguments, as `curate`; they are quoted where need be.
    """
    return join([from_here(sys.executable), "-m", "flows", *words])
