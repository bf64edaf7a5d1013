"""Capture and losses against an independent implementation, on UNets of three kinds.

The reference is written without the code that it checks: attention as three explicit products in
float64, every map of every layer kept, the losses of the paper and of the released code as loops
over layers, samples, phrases, tokens and heads.
"""

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock

from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.columns import attention_columns
from tokencompose_core.attention.layers import cross_attention_layers
from tokencompose_core.objectives.phrase_tokens import index_phrase_tokens
from tokencompose_core.objectives.tokencompose import paper_losses, released_losses

SIDE, NUM_TOKENS, WIDTH = 8, 9, 12
POSITIONS = [[[1], [2, 3]], [], [[4, 5, 7], [1]]]
LEVELS = {
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}
KINDS = {
    "sd1": {**LEVELS, "attention_head_dim": 2},
    "sd2": {
        **LEVELS,
        "attention_head_dim": [2, 4, 4],
        "use_linear_projection": True,
        "upcast_attention": True,
    },
    "sdxl": {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": [2, 4, 4],
        "transformer_layers_per_block": [1, 2, 3],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 6 * 4 + 10,
    },
}


def build_unet(kind):
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=SIDE,
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        norm_num_groups=4,
        **KINDS[kind],
    ).train()


def make_inputs(kind, batch):
    generator = torch.Generator().manual_seed(1)
    inputs = {
        "sample": torch.randn((batch, 4, SIDE, SIDE), generator=generator),
        "timestep": torch.tensor(500),
        "encoder_hidden_states": 2 * torch.randn((batch, NUM_TOKENS, WIDTH), generator=generator),
    }
    if kind == "sdxl":
        inputs["added_cond_kwargs"] = {
            "text_embeds": torch.randn((batch, 10), generator=generator),
            "time_ids": torch.rand((batch, 6), generator=generator) * 64,
        }
    positions = POSITIONS[:batch]
    count = sum(map(len, positions))
    grids = {side: torch.rand((count, side, side), generator=generator) > 0.5 for side in (8, 4, 2)}
    for grid in grids.values():
        grid[:, 0, 0] = True
    return inputs, positions, grids


class ReferenceAttention:
    """Softmax(QK^T)V spelled out, head by head; keeps the probabilities."""

    def __init__(self):
        self.probabilities = None

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(source), attn.to_v(source)
        width = query.shape[-1] // attn.heads
        heads, results = [], []
        for head in range(attn.heads):
            own = slice(head * width, (head + 1) * width)
            logits = torch.einsum("bpc,btc->bpt", query[..., own], key[..., own]) / width**0.5
            exponents = (logits - logits.max(dim=-1, keepdim=True).values).exp()
            heads.append(exponents / exponents.sum(dim=-1, keepdim=True))
            results.append(torch.einsum("bpt,btc->bpc", heads[-1], value[..., own]))
        self.probabilities = torch.stack(heads, dim=1)
        return attn.to_out[1](attn.to_out[0](torch.cat(results, dim=-1)))


def reference_losses(unet, kind, batch, dtype=torch.float64):
    """Both variants of both losses in float64, or bfloat16 under autocast, and their gradients."""
    unet = copy.deepcopy(unet)
    inputs, positions, grids = make_inputs(kind, batch)
    if dtype is torch.float64:
        unet, inputs = unet.double(), to_dtype(inputs, dtype)
    processors = {name: ReferenceAttention() for name in unet.attn_processors}
    unet.set_attn_processor(dict(processors))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        unet(**inputs)
    layers = []
    for name, processor in processors.items():
        if name.split("_")[0] in ("mid", "up") and ".attn2." in name:
            maps = processor.probabilities.double()
            side = round(maps.shape[2] ** 0.5)
            place = name.split("_")[0]
            layers.append((place, maps.unflatten(2, (side, side))))
    losses = loop_losses(layers, positions, grids)
    gradients = {name: gradients_of(unet, loss) for name, loss in losses.items()}
    return {name: float(loss.detach()) for name, loss in losses.items()}, gradients


def loop_losses(layers, positions, grids):
    """Both variants of both losses from the place and the maps of every layer."""
    batch, zero = len(positions), torch.zeros((), dtype=torch.float64)
    losses = dict.fromkeys(("paper token", "paper pixel"), zero)
    losses |= dict.fromkeys(("released token", "released pixel"), zero)
    for sample, phrases in enumerate(positions):
        first = sum(map(len, positions[:sample]))
        num_tokens = sum(map(len, phrases))
        for number, phrase in enumerate(phrases):
            for _, maps in layers:
                mask = grids[maps.shape[2]][first + number].double()
                of_phrase = zero
                for token in phrase:
                    of_heads = maps[sample, :, :, :, token]
                    mean = sum(of_heads) / len(of_heads)
                    losses["paper token"] = (
                        losses["paper token"]
                        + (1 - (mean * mask).sum() / mean.sum()) ** 2 / num_tokens / batch
                    )
                    losses["paper pixel"] = (
                        losses["paper pixel"] + cross_entropy(mean, mask) / num_tokens / batch
                    )
                    ratio = sum((one * mask).sum() / one.sum() for one in of_heads) / len(of_heads)
                    of_phrase = of_phrase + (1 - ratio) ** 2 / len(phrase)
                losses["released token"] = (
                    losses["released token"] + of_phrase / len(phrases) / batch
                )
            for place, side in {(place, maps.shape[2]) for place, maps in layers}:
                group = [m for p, m in layers if p == place and m.shape[2] == side]
                heads = [one[sample, h] for one in group for h in range(one.shape[1])]
                summed = sum(one[:, :, token] for one in heads for token in phrase) / len(heads)
                mask = grids[side][first + number].double()
                losses["released pixel"] = (
                    losses["released pixel"] + cross_entropy(summed, mask) / len(phrases) / batch
                )
    return losses


def cross_entropy(values, mask):
    return -(mask * values.log() + (1 - mask) * (1 - values).log()).mean()


def gradients_of(unet, loss):
    parameters = [p for _, p in sorted(unet.named_parameters())]
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).flatten().double()
            for p, g in zip(parameters, gradients, strict=True)
        ]
    )


def to_dtype(inputs, dtype):
    if isinstance(inputs, dict):
        return {name: to_dtype(value, dtype) for name, value in inputs.items()}
    return inputs.to(dtype) if inputs.is_floating_point() else inputs


def measured_losses(unet, kind, batch, *, compiled=None, dtype=torch.float32):
    """The same by the product's code."""
    inputs, positions, grids = make_inputs(kind, batch)
    tokens = index_phrase_tokens(positions)
    names = [name for name, _ in sorted(unet.named_parameters())]
    layers = cross_attention_layers(unet, ("mid", "up"), SIDE)
    values, gradients = {}, {}
    with capture_attention(unet, layers) as attention:
        attention.select(tokens.columns)
        network = compile_unet(unet, compiled)
        for variant, objective in (("paper", paper_losses), ("released", released_losses)):
            for term in ("token", "pixel"):
                with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
                    network(**inputs)
                loss = objective(attention.maps, tokens, grids)[term]
                # Checkpointed blocks run a second time here; .backward() is what training calls.
                unet.zero_grad(set_to_none=True)
                loss.backward()
                named = dict(unet.named_parameters())
                values[f"{variant} {term}"] = float(loss.detach())
                gradients[f"{variant} {term}"] = torch.cat(
                    [
                        (torch.zeros_like(p) if p.grad is None else p.grad).flatten().double()
                        for p in (named[name] for name in names)
                    ]
                )
    return values, gradients


def compile_unet(unet, compiled):
    match compiled:
        case None:
            return unet
        case "blocks":
            for module in unet.modules():
                if isinstance(module, BasicTransformerBlock):
                    module.compile(backend="aot_eager", dynamic=False)
            return unet
        case "whole":
            return torch.compile(unet, backend="aot_eager")


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
