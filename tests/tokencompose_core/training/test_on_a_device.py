"""A whole training on a GPU, where there is one, is that on a CPU, and goes on after a stop."""

from dataclasses import replace

import pytest
import torch

from tests.tokencompose_core.training.small_run import SETTINGS, train

_ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.mark.parametrize(
    ("device", "precision", "tolerance"),
    [
        ("cpu", "bf16", 0.02),
        pytest.param("cuda", "no", 1e-4, marks=_ON_GPU),
        pytest.param("cuda", "bf16", 0.02, marks=_ON_GPU),
        pytest.param("cuda", "fp16", 0.02, marks=_ON_GPU),
    ],
)
@pytest.mark.parametrize("trainable", ["unet", "lora"])
def test_training_that_was_stopped_ends_as_one_that_was_not(
    tmp_path, encoded, device, precision, tolerance, trainable
):
    settings = replace(SETTINGS, ema_decay=0.9, trainable=trainable)
    _, precise = train(encoded, tmp_path / "cpu", settings)
    settings = replace(settings, mixed_precision=precision)

    def stop(number, *_):
        if number == 5:
            raise KeyboardInterrupt

    whole, history = train(encoded, tmp_path / "whole", settings, device=device)
    with pytest.raises(KeyboardInterrupt):
        train(encoded, tmp_path / "stopped", settings, device=device, on_step=stop)
    resumed, again = train(encoded, tmp_path / "stopped", settings, device=device)

    # fp16 may skip steps whose gradients overflow, so weights are not those of the CPU.
    assert history[0]["total"] == pytest.approx(precise[0]["total"], rel=tolerance)
    assert [row["total"] for row in again] == pytest.approx(
        [row["total"] for row in history], rel=1e-4
    )
    for name, value in whole.state_dict().items():
        assert value.dtype == torch.float32, name
        assert torch.allclose(value, resumed.state_dict()[name], atol=1e-5), name
