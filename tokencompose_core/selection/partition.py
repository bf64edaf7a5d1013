"""Cut a stream of samples into partitions that stay the same when the set grows."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tokencompose_core.store.keys import text_digest

Sample = TypeVar("Sample")


def cut_partitions(
    samples: Iterable[Sample], mean_size: int, key_of: Callable[[Sample], str]
) -> Iterator[list[Sample]]:
    """Partitions whose ends depend on the samples near them and on nothing else.

    A partition ends after a sample whose key's digest says so, as in content-defined chunking: a
    sample that is added, removed or changed moves no boundary but those beside it. Appended samples
    extend the last partition and leave all others as they are.

    Args:
        samples: Samples in order, each once.
        mean_size: Samples a partition on average; none has fewer than half of it, except the last,
            or more than twice it.
        key_of: The key of a sample.

    Returns:
        All samples in order, one partition at a time.
    """
    smallest = max(1, mean_size // 2)
    partition: list[Sample] = []
    for sample in samples:
        partition.append(sample)
        chosen = int(text_digest(key_of(sample))[:8], 16) % max(1, mean_size - smallest) == 0
        if (len(partition) >= smallest and chosen) or len(partition) >= 2 * mean_size:
            yield partition
            partition = []
    if partition:
        yield partition
