"""What grounding adds to a step of fine-tuning: time, memory, bytes kept for the backward pass.

    python benchmarks/train_step.py [--shapes small sd14] [--rounds 2]

Three variants of one step, forward and backward, take turns in one process, each round in the other
order; compared between processes, timings mislead by a fifth. The peak is that of all memory that
PyTorch gives out in a step, weights and gradients left out; what is kept for the backward pass is
the part of it that has to stay in between.

(a) plain     the denoising loss alone
(b) ours      with token and pixel loss, columns captured by `capture_attention`
(c) released  the same losses, captured as the released code of TokenCompose does: softmax spelled
              out in every attention layer, a copy of every map kept. Its losses are computed by
              our vectorised code, so the ratio is in its favour.

Latents, text states and mask grids are random; weights are, too.
"""

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

# Read when PyTorch is imported: else its profiler reports that there is no GPU as an error.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers, layer_key
from tokencompose_core.objectives.phrase_tokens import index_phrase_tokens
from tokencompose_core.objectives.tokencompose import released_losses

SHAPES = {
    "small": {
        "block_out_channels": (64, 128, 128),
        "down_block_types": ("CrossAttnDownBlock2D",) * 3,
        "up_block_types": ("CrossAttnUpBlock2D",) * 3,
        "cross_attention_dim": 64,
        "attention_head_dim": 8,
        "latent_side": 32,
        "batch": 4,
    },
    # CompVis/stable-diffusion-v1-4 at 512 pixels.
    "sd14": {
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "latent_side": 64,
        "batch": 1,
    },
    # stabilityai/stable-diffusion-2-1 at 768 pixels.
    "sd21": {
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
        "upcast_attention": True,
        "latent_side": 96,
        "batch": 1,
    },
    # stabilityai/stable-diffusion-xl-base-1.0 at 1024 pixels.
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "latent_side": 128,
        "batch": 1,
    },
}
NUM_TOKENS = 77
POSITIONS = [[2], [5, 6], [9]]


class Case:
    """A network and one batch for it."""

    def __init__(self, shape: str, device: str = "cpu") -> None:
        torch.manual_seed(0)
        values = dict(SHAPES[shape])
        self.side, batch = values.pop("latent_side"), values.pop("batch")
        with torch.device(device):
            self.unet = UNet2DConditionModel(sample_size=self.side, **values).train()
        self.device = device
        self.is_bf16 = False
        self.layers = cross_attention_layers(self.unet, ("mid", "up"), self.side)
        self.resize(batch)

    def resize(self, batch: int) -> None:
        """Take another number of samples."""
        side, width = self.side, self.unet.config.cross_attention_dim
        with torch.device(self.device):
            self.latents = torch.randn(batch, 4, side, side)
            self.noise = torch.randn(batch, 4, side, side)
            self.states = torch.randn(batch, NUM_TOKENS, width)
            self.conditions = None
            if self.unet.config.addition_embed_type == "text_time":
                pooled = torch.randn(batch, 1280)
                self.conditions = {"text_embeds": pooled, "time_ids": torch.ones(batch, 6)}
            sides = {int(layer_key(self.unet, n, side).split("_")[1]) for n in self.layers}
            self.grids = {s: torch.rand(len(POSITIONS) * batch, s, s) > 0.5 for s in sides}
        self.tokens = index_phrase_tokens([POSITIONS] * batch, self.device)

    def denoise(self) -> Tensor:
        """Forward pass and denoising loss."""
        timestep = torch.tensor(500, device=self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.is_bf16):
            predicted = self.unet(
                self.latents, timestep, self.states, added_cond_kwargs=self.conditions
            ).sample
        return F.mse_loss(predicted.float(), self.noise)

    def loss(self, maps: dict[str, Tensor], denoising: Tensor) -> Tensor:
        """The whole objective, from captured columns."""
        terms = released_losses(maps, self.tokens, self.grids)
        return denoising + 1e-3 * terms["token"] + 5e-5 * terms["pixel"]


def plain(case: Case) -> Tensor:
    """Variant (a)."""
    return case.denoise()


def ours(case: Case) -> Tensor:
    """Variant (b)."""
    with capture_attention(case.unet, case.layers) as attention:
        attention.select(case.tokens.columns)
        denoising = case.denoise()
        return case.loss(attention.maps, denoising)


class StoringProcessor:
    """Attention with softmax spelled out and a copy of its map kept, for every layer."""

    def __init__(self, name: str, store: dict[str, Tensor]) -> None:
        self.name, self.store = name, store

    def __call__(
        self, attn: Attention, hidden_states, encoder_hidden_states=None, attention_mask=None
    ):
        """Attend."""
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(source))
        value = attn.head_to_batch_dim(attn.to_v(source))
        probabilities = attn.get_attention_scores(query, key)
        self.store[self.name] = probabilities.clone()
        attended = attn.batch_to_head_dim(torch.bmm(probabilities, value))
        return attn.to_out[1](attn.to_out[0](attended))


def released(case: Case) -> Tensor:
    """Variant (c)."""
    store: dict[str, Tensor] = {}
    previous = dict(case.unet.attn_processors)
    names = list(previous)
    case.unet.set_attn_processor({name: StoringProcessor(name, store) for name in names})
    try:
        denoising = case.denoise()
    finally:
        case.unet.set_attn_processor(previous)
    maps = {}
    for name in case.layers:
        kept = store[f"{name}.processor"]
        side = round(kept.shape[1] ** 0.5)
        kept = kept.float().unflatten(0, (len(case.latents), -1)).unflatten(2, (side, side))
        rows = zip(kept, case.tokens.columns, strict=True)
        maps[name] = torch.stack([row[..., columns] for row, columns in rows])
    loss = case.loss(maps, denoising)
    # The released code keeps all maps until the next step.
    loss.kept = store  # type: ignore[attr-defined]
    return loss


VARIANTS: dict[str, Callable[[Case], Tensor]] = {
    "(a) plain": plain,
    "(b) ours": ours,
    "(c) released": released,
}


def kept_bytes(case: Case, variant: Callable[[Case], Tensor]) -> int:
    """Bytes of all distinct storages kept between forward and backward, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in case.unet.parameters()}
    sizes: dict[int, int] = {}
    alive = []

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
            # Freed memory would be given out again, and counted once.
            alive.append(storage)
        # The tensor itself would hold the node that holds it, and never be freed.
        return tensor.detach()

    with ExitStack() as stack:
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor))
        loss = variant(case)
    for kept in getattr(loss, "kept", {}).values():
        count(kept)
    return sum(sizes.values())


def peak_bytes(case: Case, variant: Callable[[Case], Tensor]) -> int:
    """Most bytes that a step holds at once, beside weights and gradients, on the CPU."""
    case.unet.zero_grad(set_to_none=False)
    with torch.profiler.profile(profile_memory=True) as profiler:
        variant(case).backward()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def seconds(case: Case, variant: Callable[[Case], Tensor]) -> float:
    """Time of one forward and backward pass."""
    case.unet.zero_grad(set_to_none=False)
    gc.collect()
    start = time.perf_counter()
    variant(case).backward()
    return time.perf_counter() - start


def main() -> None:
    """Print one table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["small", "sd14"])
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    for shape in options.shapes:
        case = Case(shape)
        million = sum(p.numel() for p in case.unet.parameters()) / 1e6
        print(
            f"\n{shape}: {million:.0f} M weights, latents {tuple(case.latents.shape)}, float32,"
            f" {torch.get_num_threads()} threads, {options.rounds} rounds"
        )
        kept = {name: kept_bytes(case, variant) for name, variant in VARIANTS.items()}
        times: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for variant in VARIANTS.values():  # one round to warm up
            seconds(case, variant)
        peak = {name: peak_bytes(case, variant) for name, variant in VARIANTS.items()}
        for number in range(options.rounds):
            for name in list(VARIANTS)[:: -1 if number % 2 else 1]:
                times[name].append(seconds(case, VARIANTS[name]))
        print(
            f"{'variant':14}{'min s':>8}{'median s':>10}{'kept MiB':>10}{'peak MiB':>10}"
            f"  {'time':>6}{'kept':>7}{'peak':>7}"
        )
        best = {name: min(values) for name, values in times.items()}
        for name, values in times.items():
            print(
                f"{name:14}{best[name]:8.3f}{statistics.median(values):10.3f}"
                f"{kept[name] / 2**20:10.0f}{peak[name] / 2**20:10.0f}"
                f"  {best[name] / best['(a) plain']:6.2f}"
                f"{kept[name] / kept['(a) plain']:7.2f}{peak[name] / peak['(a) plain']:7.2f}"
            )
        print(
            f"(b) over (c): time {best['(b) ours'] / best['(c) released']:.2f},"
            f" kept {kept['(b) ours'] / kept['(c) released']:.2f},"
            f" peak {peak['(b) ours'] / peak['(c) released']:.2f}"
        )
        del case


if __name__ == "__main__":
    main()
