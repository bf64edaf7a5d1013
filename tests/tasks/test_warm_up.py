"""A warm-up that takes the whole training is told to who asked for it."""

import pytest
import torch
from diffusers.optimization import get_scheduler

from data_schemas.configs.finetune_config import FinetuneConfig
from tasks.finetune_unet import never_at_full_rate


@pytest.mark.parametrize(
    ("warmup_steps", "expected"), [(0, False), (7, False), (8, True), (9, True)]
)
def test_a_warm_up_of_the_whole_training_is_told(warmup_steps, expected):
    scheduler = "constant_with_warmup" if warmup_steps else "constant"
    config = FinetuneConfig.load(num_steps=8, lr_scheduler=scheduler, lr_warmup_steps=warmup_steps)
    schedule = get_scheduler(
        scheduler,
        torch.optim.SGD([torch.zeros(1)], lr=1.0),
        num_warmup_steps=warmup_steps,
        num_training_steps=8,
    )
    rates = []
    for _ in range(8):
        rates += schedule.get_last_lr()
        schedule.optimizer.step()
        schedule.step()

    assert never_at_full_rate(config) == expected == (max(rates) < 1.0)
