"""The categories of MultiGen: 80 of COCO, 100 of ADE20K."""

from collections.abc import Sequence
from functools import cache
from importlib import resources


@cache
def read_vocabulary(name: str) -> tuple[str, ...]:
    """The categories of a vocabulary, in the order of its data set.

    Args:
        name: `coco`, all 80 categories of COCO, or `ade20k`, the 100 of ADE20K that can be counted.
    """
    file = resources.files("tokencompose_core.evaluation").joinpath(f"vocabulary_{name}.txt")
    return tuple(file.read_text("utf-8").splitlines())


def list_categories(categories: str | Sequence[str]) -> tuple[str, ...]:
    """Categories as a config gives them: the name of a vocabulary, or a list.

    Raises:
        ValueError: If a list names a category twice, naming it.
    """
    if isinstance(categories, str):
        return read_vocabulary(categories)
    twice = sorted({name for name in categories if categories.count(name) > 1})
    if twice:
        raise ValueError(f"each category may be listed once, but {twice} are listed again")
    return tuple(categories)
