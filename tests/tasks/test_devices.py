"""Where a task computes."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tasks.devices import resolve_device


@pytest.fixture
def switches() -> Iterator[tuple[Any, ...]]:
    """What says whether convolutions and products of matrices may be in TF32; all may."""
    switches = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = True
    yield switches
    for switch, value in zip(switches, before, strict=True):
        switch.allow_tf32 = value


def test_a_gpu_is_taken_if_there_is_one_and_float32_means_all_digits(monkeypatch, switches):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("cpu") == "cpu"
    assert all(switch.allow_tf32 for switch in switches)
    assert resolve_device("auto") == resolve_device("cuda") == "cuda"
    assert not any(switch.allow_tf32 for switch in switches)


def test_a_gpu_that_is_not_there_is_not_computed_on(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(ValueError, match="torch sees no GPU; set device to 'auto' or 'cpu'"):
        resolve_device("cuda")
