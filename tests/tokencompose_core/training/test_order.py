from collections import Counter

from tokencompose_core.training.order import batch_keys

KEYS = [f"{n:03d}" for n in range(10)]


def test_every_epoch_sees_every_sample_once_in_an_order_of_its_own():
    seen = [key for step in range(15) for key in batch_keys(KEYS, 4, 0, step)]
    epochs = [seen[start : start + 10] for start in range(0, 60, 10)]
    assert all(Counter(epoch) == Counter(KEYS) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_order_depends_on_seed_and_keys_alone():
    assert batch_keys(KEYS, 4, 0, 3) == batch_keys(list(reversed(KEYS)), 4, 0, 3)
    assert batch_keys(KEYS, 10, 0, 0) != batch_keys(KEYS, 10, 1, 0)


def test_batch_may_be_larger_than_the_set():
    assert Counter(batch_keys(KEYS, 25, 0, 0)).most_common()[0][1] == 3
