import math

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from tokencompose_core.objectives.denoising_loss import denoising_loss, denoising_target
from tokencompose_core.objectives.phrase_tokens import index_phrase_tokens, token_maps
from tokencompose_core.objectives.pixel_loss import pixel_loss
from tokencompose_core.objectives.token_loss import released_token_loss, token_loss
from tokencompose_core.objectives.tokencompose import paper_losses, released_losses

LAYERS = ("mid_block.a", "up_blocks.1.a", "up_blocks.1.b")


def random_case(seed):
    """All columns of a layer's attention, token positions, and masks of the phrases."""
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


def slow_released_token_loss(attention, positions, masks):
    """`loss_utils.py` of the released code: ratio a head, mean over heads, then squared."""
    total, number = 0.0, 0
    for sample, phrases in enumerate(positions):
        own = 0.0
        for phrase in phrases:
            terms = []
            for token in phrase:
                ratio = 0.0
                for head in range(2):
                    chosen = attention[sample, head, :, :, token]
                    inside = sum(
                        float(chosen[y, x])
                        for y in range(4)
                        for x in range(4)
                        if masks[number, y, x]
                    )
                    ratio += inside / float(chosen.sum()) / 2
                terms.append((1 - ratio) ** 2)
            own += sum(terms) / len(terms)
            number += 1
        total += own / len(phrases) if phrases else 0.0
    return total / len(positions)


def slow_released_pixel_loss(layers, positions, masks):
    """The same for the pixel loss of the layers of one resolution."""
    total, number = 0.0, 0
    for sample, phrases in enumerate(positions):
        own = 0.0
        for phrase in phrases:
            entropy = 0.0
            for y in range(4):
                for x in range(4):
                    value = sum(
                        float(attention[sample, head, y, x, token])
                        for attention in layers
                        for head in range(2)
                        for token in phrase
                    ) / (2 * len(layers))
                    entropy -= math.log(value if masks[number, y, x] else 1 - value)
            own += entropy / 16
            number += 1
        total += own / len(phrases) if phrases else 0.0
    return total / len(positions)


def columns_of(attention, tokens):
    """The columns that are captured for these tokens."""
    return torch.stack([own[..., c] for own, c in zip(attention, tokens.columns, strict=True)])


def maps_of(attention, tokens):
    return token_maps(columns_of(attention, tokens), tokens)


@pytest.mark.parametrize("seed", range(3))
def test_losses_equal_the_slow_loops(seed):
    attention, positions, masks = random_case(seed)
    tokens = index_phrase_tokens(positions)
    maps = maps_of(attention, tokens)
    own = masks[tokens.phrase]
    assert float(token_loss(maps, own, tokens)) == pytest.approx(
        slow_token_loss(attention, positions, masks), rel=1e-5
    )
    assert float(pixel_loss(maps, own, tokens)) == pytest.approx(
        slow_pixel_loss(attention, positions, masks), rel=1e-5
    )
    assert float(released_token_loss(maps, own, tokens)) == pytest.approx(
        slow_released_token_loss(attention, positions, masks), rel=1e-5
    )


def test_objectives_sum_over_layers_and_the_released_pixel_loss_over_resolutions():
    cases = [random_case(seed) for seed in range(3)]
    positions, masks = cases[0][1:]
    tokens = index_phrase_tokens(positions)
    attention = {name: case[0] for name, case in zip(LAYERS, cases, strict=True)}
    captured = {name: columns_of(maps, tokens) for name, maps in attention.items()}
    paper = paper_losses(captured, tokens, {4: masks})
    released = released_losses(captured, tokens, {4: masks})
    mid, *up = attention.values()
    expected = {
        "token": sum(slow_token_loss(maps, positions, masks) for maps in attention.values()),
        "pixel": sum(slow_pixel_loss(maps, positions, masks) for maps in attention.values()),
    }
    assert {k: float(v) for k, v in paper.items()} == pytest.approx(expected, rel=1e-5)
    expected = {
        "token": sum(
            slow_released_token_loss(maps, positions, masks) for maps in attention.values()
        ),
        "pixel": slow_released_pixel_loss([mid], positions, masks)
        + slow_released_pixel_loss(up, positions, masks),
    }
    assert {k: float(v) for k, v in released.items()} == pytest.approx(expected, rel=1e-5)


def test_variants_differ_by_hand():
    # One phrase of two tokens and one of one, two heads, two pixels of which the first is inside.
    # Shares inside: heads 1/2 and 1 for the first token, 1/4 and 1/4, 1 and 1 for the others.
    attention = torch.tensor(
        [
            [[[0.2, 0.2]], [[0.2, 0.0]]],
            [[[0.1, 0.3]], [[0.1, 0.3]]],
            [[[0.5, 0.0]], [[0.5, 0.0]]],
        ]
    )
    tokens = index_phrase_tokens([[[1, 2], [3]]])
    masks = torch.tensor([[[True, False]]]).expand(3, -1, -1)
    # Head means (0.2, 0.1), (0.1, 0.3), (0.5, 0): shares 2/3, 1/4, 1.
    assert float(token_loss(attention, masks, tokens)) == pytest.approx((1 / 9 + 9 / 16) / 3)
    assert float(released_token_loss(attention, masks, tokens)) == pytest.approx(
        ((1 / 16 + 9 / 16) / 2 + 0) / 2
    )


def test_denoising_loss_equals_the_slow_loop():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn((2, 2, 3, 4, 5), generator=generator)
    slow = (
        sum((float(x) - float(y)) ** 2 for x, y in zip(a.flatten(), b.flatten(), strict=True))
        / a.numel()
    )
    assert float(denoising_loss(a, b)) == pytest.approx(slow, rel=1e-6)


ONE = index_phrase_tokens([[[1]]])


def test_token_loss_by_hand():
    # Three quarters of the attention lie inside: (1 - 3/4)^2.
    attention = torch.tensor([[[[0.3, 0.1], [0.0, 0.0]]]])
    mask = torch.tensor([[[True, False], [False, False]]])
    assert float(token_loss(attention, mask, ONE)) == pytest.approx(0.0625)


def test_pixel_loss_by_hand():
    attention = torch.tensor([[[[1.0, 0.5]]]])
    mask = torch.tensor([[[True, False]]])
    assert float(pixel_loss(attention, mask, ONE)) == pytest.approx(-math.log(0.5) / 2)


def test_perfect_attention_costs_nothing():
    mask = torch.tensor([[[True, False], [True, True]]])
    for objective in (paper_losses, released_losses):
        attention = {"mid_block.a": mask.float()[:, None, :, :, None]}
        losses = objective(attention, ONE, {2: mask})
        assert {name: float(value) for name, value in losses.items()} == {"token": 0, "pixel": 0}


def test_probability_rounded_above_one_is_taken():
    attention = torch.tensor([[[[1.0000001]]]])
    assert float(pixel_loss(attention, torch.tensor([[[True]]]), ONE)) == 0.0


@given(st.integers(0, 10**6))
def test_token_losses_lie_between_zero_and_one(seed):
    attention, positions, masks = random_case(seed)
    tokens = index_phrase_tokens(positions)
    maps, own = maps_of(attention, tokens), masks[tokens.phrase]
    assert 0.0 <= float(token_loss(maps, own, tokens)) <= 1.0
    assert 0.0 <= float(released_token_loss(maps, own, tokens)) <= 1.0


@pytest.mark.parametrize("objective", [paper_losses, released_losses])
def test_samples_without_phrases_cost_nothing(objective):
    tokens = index_phrase_tokens([[], []])
    attention = torch.rand((2, 2, 4, 4, 1), requires_grad=True)
    losses = objective({"mid_block.a": attention}, tokens, {4: torch.zeros(0, 4, 4).bool()})
    assert {name: value.item() for name, value in losses.items()} == {"token": 0, "pixel": 0}
    sum(losses.values()).backward()
    assert not attention.grad.any()


@pytest.mark.parametrize("objective", [paper_losses, released_losses])
def test_micro_batch_has_the_loss_of_single_samples_averaged(objective):
    attention, positions, masks = random_case(5)
    together = index_phrase_tokens(positions)
    whole = objective({"mid_block.a": columns_of(attention, together)}, together, {4: masks})
    sums, first = {"token": 0.0, "pixel": 0.0}, 0
    for row, phrases in enumerate(positions):
        tokens = index_phrase_tokens([phrases])
        own = masks[first : first + len(phrases)]
        first += len(phrases)
        columns = columns_of(attention[row : row + 1], tokens)
        for name, value in objective({"mid_block.a": columns}, tokens, {4: own}).items():
            sums[name] += float(value) / 3
    assert {name: float(value) for name, value in whole.items()} == pytest.approx(sums, rel=1e-6)


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
