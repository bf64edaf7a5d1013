import hashlib
from collections import Counter

import pytest

from tokencompose_core.training.order import batch_order, held_out_keys

KEYS = [f"{n:03d}" for n in range(10)]


def test_every_epoch_sees_every_sample_once_in_an_order_of_its_own():
    seen = [key for step in range(15) for key in batch_order(KEYS, 4, 0)(step)]
    epochs = [seen[start : start + 10] for start in range(0, 60, 10)]
    assert all(Counter(epoch) == Counter(KEYS) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_order_depends_on_seed_and_keys_alone():
    assert batch_order(KEYS, 4, 0)(3) == batch_order(list(reversed(KEYS)), 4, 0)(3)
    assert batch_order(KEYS, 10, 0)(0) != batch_order(KEYS, 10, 1)(0)


def test_order_is_that_of_earlier_releases():
    """A training that is taken up, and one that is repeated, see what was seen before."""
    steps = [batch_order(KEYS, 4, 7)(step) for step in (0, 2, 40)]
    assert steps == [
        ["004", "008", "007", "006"],
        ["000", "002", "009", "005"],
        ["005", "009", "007", "000"],
    ]


def test_keys_are_looked_through_once_an_epoch():
    class Counted(list):
        times = 0

        def __iter__(self):
            self.times += 1
            return super().__iter__()

    keys = Counted(KEYS)
    batch_keys = batch_order(keys, 4, 0)
    assert len({key for step in range(10) for key in batch_keys(step)}) == 10
    assert keys.times == 4


def test_batch_may_be_larger_than_the_set():
    assert Counter(batch_order(KEYS, 25, 0)(0)).most_common()[0][1] == 3


def test_held_out_samples_stay_when_others_join():
    many = [f"{n:05d}" for n in range(4000)]
    chosen = held_out_keys(many, 0.1)
    assert 320 < len(chosen) < 480
    assert held_out_keys(many[:1000], 0.1) == chosen & set(many[:1000])
    assert held_out_keys(many, 0.0) == set()


def test_held_out_is_whose_digest_is_a_small_share_of_the_largest():
    many = [f"{n:05d}" for n in range(500)]
    digests = {key: int(hashlib.sha256(f"held-out-{key}".encode()).hexdigest(), 16) for key in many}
    for fraction in (0.1, 0.5):
        small = {key for key, digest in digests.items() if digest / 2**256 < fraction}
        assert held_out_keys(many, fraction) == small


def test_something_is_left_to_train_on():
    one = next(iter(held_out_keys([f"{n}" for n in range(100)], 0.5)))
    with pytest.raises(ValueError, match=r"validation_fraction 0\.5 holds all 1 samples out"):
        held_out_keys([one], 0.5)
