"""The order in which samples are seen."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from tokencompose_core.store.keys import text_digest


def batch_order(keys: Sequence[str], batch_size: int, seed: int) -> Callable[[int], list[str]]:
    """A function from the number of a step, from 0, to the keys of its samples.

    It depends on seed and the set of keys alone: neither the order of the shards nor the place
    where a run was resumed plays a part. Every epoch sees every sample once, in an order of its
    own; a batch may span two epochs.

    Args:
        keys: Keys of all samples.
        batch_size: Samples a step.
        seed: Seed of the order.
    """

    @lru_cache(maxsize=2)  # sorted once an epoch
    def order(epoch: int) -> list[str]:
        return sorted(keys, key=lambda key: text_digest(f"{seed}-{epoch}-{key}"))

    def batch_keys(step: int) -> list[str]:
        numbers = range(step * batch_size, (step + 1) * batch_size)
        return [order(number // len(keys))[number % len(keys)] for number in numbers]

    return batch_keys


def held_out_keys(keys: Sequence[str], fraction: float) -> set[str]:
    """Keys that are not trained on but validated with.

    Whether a key is among them depends on the key alone, so samples that join the set later move
    none from one side to the other.

    Args:
        keys: Keys of all samples.
        fraction: Expected share of them.

    Raises:
        ValueError: If no key would be left to train on.
    """
    chosen = {key for key in keys if int(text_digest(f"held-out-{key}")[:8], 16) < fraction * 16**8}
    if len(chosen) == len(keys):
        raise ValueError(
            f"validation_fraction {fraction} holds all {len(keys)} samples out; lower it, or set 0"
        )
    return chosen
