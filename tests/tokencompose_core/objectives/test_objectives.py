import math

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from tokencompose_core.objectives.denoising_loss import denoising_loss, denoising_target
from tokencompose_core.objectives.phrase_tokens import index_phrase_tokens, select_columns
from tokencompose_core.objectives.pixel_loss import pixel_loss
from tokencompose_core.objectives.token_loss import token_loss


def random_case(seed):
    """Attention of two layers' kind, token positions and masks, as nested lists and tensors."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((3, 2, 4, 4, 7), generator=generator, dtype=torch.float64)
    positions = [[[1], [2, 3]], [], [[4, 5, 6]]]
    masks = torch.rand((3, 4, 4), generator=generator) > 0.5
    masks[:, 0, 0] = True
    return logits.softmax(dim=-1), positions, masks


def slow_token_loss(attention, positions, masks):
    """Eq. 5, one number at a time: mean over tokens, then over samples."""
    total, number = 0.0, 0
    for sample, phrases in enumerate(positions):
        tokens, terms = sum(map(len, phrases)), []
        for phrase in phrases:
            for token in phrase:
                inside = everything = 0.0
                for y in range(4):
                    for x in range(4):
                        value = sum(float(attention[sample, h, y, x, token]) for h in range(2)) / 2
                        everything += value
                        inside += value if bool(masks[number, y, x]) else 0.0
                terms.append((1 - inside / everything) ** 2)
            number += 1
        total += sum(terms) / tokens if tokens else 0.0
    return total / len(positions)


def slow_pixel_loss(attention, positions, masks):
    """Eq. 6, one number at a time: mean over pixels and tokens, then over samples."""
    total, number = 0.0, 0
    for sample, phrases in enumerate(positions):
        tokens, terms = sum(map(len, phrases)), []
        for phrase in phrases:
            for token in phrase:
                entropy = 0.0
                for y in range(4):
                    for x in range(4):
                        value = sum(float(attention[sample, h, y, x, token]) for h in range(2)) / 2
                        wanted = bool(masks[number, y, x])
                        entropy -= math.log(value if wanted else 1 - value)
                terms.append(entropy / 16)
            number += 1
        total += sum(terms) / tokens if tokens else 0.0
    return total / len(positions)


@pytest.mark.parametrize("seed", range(3))
def test_losses_equal_the_slow_loops(seed):
    attention, positions, masks = random_case(seed)
    tokens = index_phrase_tokens(positions)
    columns = select_columns(attention, tokens)
    own = masks[tokens.phrase]
    assert float(token_loss(columns, own, tokens.weight)) == pytest.approx(
        slow_token_loss(attention, positions, masks), rel=1e-5
    )
    assert float(pixel_loss(columns, own, tokens.weight)) == pytest.approx(
        slow_pixel_loss(attention, positions, masks), rel=1e-5
    )


def test_denoising_loss_equals_the_slow_loop():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn((2, 2, 3, 4, 5), generator=generator)
    slow = (
        sum((float(x) - float(y)) ** 2 for x, y in zip(a.flatten(), b.flatten(), strict=True))
        / a.numel()
    )
    assert float(denoising_loss(a, b)) == pytest.approx(slow, rel=1e-6)


def test_token_loss_by_hand():
    # Three quarters of the attention lie inside: (1 - 3/4)^2.
    attention = torch.tensor([[[0.3, 0.1], [0.0, 0.0]]])
    mask = torch.tensor([[[True, False], [False, False]]])
    assert float(token_loss(attention, mask, torch.ones(1))) == pytest.approx(0.0625)


def test_pixel_loss_by_hand():
    attention = torch.tensor([[[1.0, 0.5]]])
    mask = torch.tensor([[[True, False]]])
    expected = (0 - math.log(0.5)) / 2
    assert float(pixel_loss(attention, mask, torch.ones(1))) == pytest.approx(expected)


def test_perfect_attention_costs_nothing():
    mask = torch.tensor([[[True, False], [True, True]]])
    assert float(token_loss(mask.float(), mask, torch.ones(1))) == 0.0
    assert float(pixel_loss(mask.float(), mask, torch.ones(1))) == 0.0


def test_probability_rounded_above_one_is_taken():
    attention = torch.tensor([[[1.0000001]]])
    assert float(pixel_loss(attention, torch.tensor([[[True]]]), torch.ones(1))) == 0.0


@given(st.integers(0, 10**6))
def test_token_loss_lies_between_zero_and_one(seed):
    attention, positions, masks = random_case(seed)
    tokens = index_phrase_tokens(positions)
    loss = float(token_loss(select_columns(attention, tokens), masks[tokens.phrase], tokens.weight))
    assert 0.0 <= loss <= 1.0


def test_samples_without_phrases_cost_nothing():
    tokens = index_phrase_tokens([[], []])
    empty, masks = torch.zeros((0, 4, 4)), torch.zeros((0, 4, 4), dtype=torch.bool)
    assert float(token_loss(empty, masks, tokens.weight)) == 0.0
    assert float(pixel_loss(empty, masks, tokens.weight)) == 0.0


def test_micro_batch_has_the_loss_of_single_samples_averaged():
    attention, positions, masks = random_case(5)
    together = index_phrase_tokens(positions)
    whole = token_loss(select_columns(attention, together), masks[together.phrase], together.weight)
    single, first = [], 0
    for row, phrases in enumerate(positions):
        tokens = index_phrase_tokens([phrases])
        own = masks[first : first + len(phrases)][tokens.phrase]
        first += len(phrases)
        columns = select_columns(attention[row : row + 1], tokens)
        single.append(token_loss(columns, own, tokens.weight))
    assert float(whole) == pytest.approx(float(sum(single)) / 3, rel=1e-6)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_target_undoes_the_noise(kind):
    scheduler = DDPMScheduler(prediction_type=kind)
    latents, noise = torch.randn((2, 2, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([10, 900])
    target = denoising_target(scheduler, latents, noise, timesteps)
    noisy = scheduler.add_noise(latents, noise, timesteps)
    alpha = scheduler.alphas_cumprod[timesteps].sqrt()[:, None, None, None]
    sigma = (1 - scheduler.alphas_cumprod[timesteps]).sqrt()[:, None, None, None]
    restored = (
        (noisy - sigma * target) / alpha if kind == "epsilon" else alpha * noisy - sigma * target
    )
    assert torch.allclose(restored, latents, atol=1e-4)


def test_other_predictions_are_refused():
    scheduler = DDPMScheduler(prediction_type="sample")
    tensor = torch.zeros(1, 1, 1, 1)
    with pytest.raises(ValueError, match="'sample'"):
        denoising_target(scheduler, tensor, tensor, torch.tensor([1]))
