"""What the command line prints of a store."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.collect_garbage import Garbage
    from tasks.retry_rejected import RetriedSet
    from tasks.trace_lineage import Ancestry
    from tasks.verify_store import Health


def print_garbage(found: "Garbage") -> None:
    """What nothing refers to, by stage, and the first keys of it."""
    from tasks.collect_garbage import COLUMNS, garbage_line, garbage_rows

    _print_table(COLUMNS, garbage_rows(found))
    print()
    print(fill(garbage_line(found), 96, break_long_words=False))


def print_health(health: "Health") -> None:
    """Entries by stage, and what is wrong."""
    from tasks.verify_store import COLUMNS, health_lines, health_rows

    _print_table(COLUMNS, health_rows(health))
    print()
    for line in health_lines(health):
        print(fill(line, 96, break_long_words=False))


def print_lineage(found: "Ancestry") -> None:
    """What an output was made from, with settings, and what was made from it."""
    from tasks.trace_lineage import lineage_lines

    print("", *lineage_lines(found), sep="\n")


def print_retries(result: "RetriedSet") -> None:
    """What became of what was left out, and the data set."""
    from tasks.retry_rejected import COLUMNS, retry_line, retry_rows

    _print_table(COLUMNS, retry_rows(result), last_left=True)
    print()
    print(fill(retry_line(result), 96, break_long_words=False))
    print(f"data set  {result.dataset}")


def _print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, last_left: bool = False
) -> None:
    """The first column to the left, perhaps the last too, and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    print()
    for row in [columns, *rows]:
        first, *cells = [
            f"{cell:<{width}}"
            if number == 0 or (last_left and number == len(columns) - 1)
            else f"{cell:>{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join([first, *cells]).rstrip())
