"""Cut a list of samples into partitions that stay the same when the list grows."""

from collections.abc import Sequence
from itertools import pairwise

from tokencompose_core.store.keys import text_digest


def partition_keys(keys: Sequence[str], mean_size: int) -> list[range]:
    """Boundaries that depend on the samples near them and on nothing else.

    A partition ends after a sample whose key's digest says so, as in content-defined chunking: a
    sample that is added, removed or changed moves no boundary but those beside it. Appended samples
    extend the last partition and leave all others as they are.

    Args:
        keys: Sample keys in order, each once.
        mean_size: Samples a partition on average; none has fewer than half of it, except the last,
            or more than twice it.

    Returns:
        Ranges of indices that cover `keys` in order.
    """
    smallest = max(1, mean_size // 2)
    starts = [0]
    for index, key in enumerate(keys):
        size = index + 1 - starts[-1]
        chosen = int(text_digest(key)[:8], 16) % max(1, mean_size - smallest) == 0
        if (size >= smallest and chosen) or size >= 2 * mean_size:
            starts.append(index + 1)
    if starts[-1] != len(keys):
        starts.append(len(keys))
    return [range(a, b) for a, b in pairwise(starts)]
