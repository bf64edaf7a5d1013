"""Where a task computes."""

import pytest
import torch

from tasks.devices import resolve_device


def test_a_gpu_is_taken_if_there_is_one_and_float32_means_all_digits(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert resolve_device("cpu") == "cpu"
    assert torch.backends.cudnn.allow_tf32
    assert resolve_device("auto") == resolve_device("cuda") == "cuda"
    assert not torch.backends.cudnn.allow_tf32


def test_a_gpu_that_is_not_there_is_not_computed_on(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(ValueError, match="torch sees no GPU; set device to 'auto' or 'cpu'"):
        resolve_device("cuda")
