"""Models that stay loaded in a process for its next partition, until a training starts."""

import gc
from collections.abc import Callable
from functools import _lru_cache_wrapper, lru_cache
from typing import Any, TypeVar

T = TypeVar("T")
_KEPT: list["_lru_cache_wrapper[Any]"] = []


def keep_last(load: Callable[..., T]) -> "_lru_cache_wrapper[T]":
    """Have a loader keep what it loaded last, for whoever asks for the same again.

    A digest of the model's content among the arguments sees to it that one which has changed is
    loaded again.
    """
    kept = lru_cache(maxsize=1)(load)
    _KEPT.append(kept)
    return kept


def release_models() -> None:
    """Let go all models that this process keeps: beside a training they would stay on the GPU."""
    import torch

    for kept in _KEPT:
        kept.cache_clear()
    gc.collect()  # modules refer to each other in circles
    torch.cuda.empty_cache()
