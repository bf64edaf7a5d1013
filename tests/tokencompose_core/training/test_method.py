"""Capture and losses against an independent implementation, on UNets of three kinds."""

import pytest
import torch

from tests.tokencompose_core.training.method_reference import (
    KINDS,
    SIDE,
    build_unet,
    loop_losses,
    make_inputs,
    measured_losses,
    reference_losses,
)
from tokencompose_core.attention.columns import attention_columns
from tokencompose_core.attention.layers import cross_attention_layers
from tokencompose_core.objectives.phrase_tokens import index_phrase_tokens
from tokencompose_core.objectives.tokencompose import paper_losses, released_losses


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    with torch._dynamo.config.patch(recompile_limit=64):
        yield


def assert_close(measured, expected, tolerance):
    for name, value in expected[0].items():
        assert measured[0][name] == pytest.approx(value, rel=tolerance), name
        difference = (measured[1][name] - expected[1][name]).norm()
        assert float(difference / expected[1][name].norm()) < tolerance, name


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_equal_the_reference(kind, batch, checkpointing):
    unet = build_unet(kind)
    expected = reference_losses(unet, kind, batch)
    if checkpointing:
        unet.enable_gradient_checkpointing()
    assert_close(measured_losses(unet, kind, batch), expected, 1e-5)


# Whole networks do not compile with checkpointing, with or without capture.
@pytest.mark.parametrize(
    ("checkpointing", "compiled"), [(False, "blocks"), (True, "blocks"), (False, "whole")]
)
@pytest.mark.parametrize(("kind", "batch"), [("sd1", 3), ("sd2", 1), ("sdxl", 3)])
def test_compiled_networks_equal_the_reference(kind, batch, checkpointing, compiled):
    unet = build_unet(kind)
    expected = reference_losses(unet, kind, batch)
    if checkpointing:
        unet.enable_gradient_checkpointing()
    assert_close(measured_losses(unet, kind, batch, compiled=compiled), expected, 1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_costs_no_more_than_the_rest_of_the_network_does(kind, batch, checkpointing):
    """Losses to a hundredth; gradients about as far from float64 as the reference's in bfloat16.

    The rounding of the network itself moves gradients by two or three hundredths. What capture adds
    to it is tested in `test_capture.py`.
    """
    unet = build_unet(kind)
    exact = reference_losses(unet, kind, batch)
    rounded = reference_losses(unet, kind, batch, dtype=torch.bfloat16)
    if checkpointing:
        unet.enable_gradient_checkpointing()
    measured = measured_losses(unet, kind, batch, dtype=torch.bfloat16)
    for name, value in exact[0].items():
        assert measured[0][name] == pytest.approx(value, rel=1e-2), name
        ours = (measured[1][name] - exact[1][name]).norm()
        reference = (rounded[1][name] - exact[1][name]).norm()
        assert ours < 2 * reference, name


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_capture_and_losses_are_exact_on_bfloat16_queries_and_keys(kind, batch):
    """Values and gradients of all that this project adds to a network that runs in bfloat16."""
    unet = build_unet(kind)
    inputs, positions, grids = make_inputs(kind, batch)
    layers = cross_attention_layers(unet, ("mid", "up"), SIDE)
    modules = dict(unet.named_modules())
    projected, leaves = {}, {}
    hooks = [
        getattr(modules[name], part).register_forward_hook(
            lambda module, given, output, at=(name, part): projected.update({at: output.detach()})
        )
        for name in layers
        for part in ("to_q", "to_k")
    ]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        unet(**inputs)
    for hook in hooks:
        hook.remove()
    assert {value.dtype for value in projected.values()} == {torch.bfloat16}
    for at, value in projected.items():
        split = value.unflatten(-1, (modules[at[0]].heads, -1)).transpose(1, 2)
        leaves[at] = split.clone().requires_grad_()
    tokens = index_phrase_tokens(positions)
    maps, slow = {}, []
    exact = {at: leaf.detach().double().requires_grad_() for at, leaf in leaves.items()}
    for name in layers:
        query, key = leaves[name, "to_q"], leaves[name, "to_k"]
        side = round(query.shape[2] ** 0.5)
        columns = attention_columns(query, key, query.shape[-1] ** -0.5, tokens=tokens.columns)
        maps[name] = columns.unflatten(2, (side, side))
        query, key = exact[name, "to_q"], exact[name, "to_k"]
        logits = torch.einsum("bhpc,bhtc->bhpt", query, key) / query.shape[-1] ** 0.5
        exponents = logits.exp()
        probabilities = exponents / exponents.sum(dim=-1, keepdim=True)
        slow.append((name.split("_")[0], probabilities.unflatten(2, (side, side))))
    expected = loop_losses(slow, positions, grids)
    for variant, objective in (("paper", paper_losses), ("released", released_losses)):
        for term, loss in objective(maps, tokens, grids).items():
            reference = expected[f"{variant} {term}"]
            assert float(loss.detach()) == pytest.approx(float(reference.detach()), rel=1e-5)
            ours = torch.autograd.grad(loss, list(leaves.values()), retain_graph=True)
            theirs = torch.autograd.grad(reference, list(exact.values()), retain_graph=True)
            difference = flat([a.double() - b for a, b in zip(ours, theirs, strict=True)]).norm()
            assert float(difference / flat(theirs).norm()) < 1e-2, (variant, term)


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])
