"""The method written without the code that is tested, and the same by that code.

Attention is three explicit products in float64, every map of every layer is kept, and the losses of
the paper and of the released code are loops over layers, samples, phrases, tokens and heads.
"""

import copy

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock

from tokencompose_core.attention.capture import capture_attention
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
