"""Images a second from prompts to PNG files, beside a plain loop and the limit.

    python benchmarks/evaluate.py [--images 64] [--batch-size 32] [--rounds 3]
    python benchmarks/evaluate.py --device cuda [--batch-size 16] [--compile]

On a CPU with the pocket Stable Diffusion, on a GPU with one of Stable Diffusion 1.4's shape and
random weights; nothing is downloaded. Variants take turns in one process.

ours     what the stage `generate` does, to the end of the tar: text encoder, PNDM with guidance,
         VAE, PNG
loop     `StableDiffusionPipeline` as it comes, in float32, one prompt a call, each image saved as
         PNG: what MultiGen's release does
passes   the limit: the forward passes of ours alone, of the UNet and of the VAE's decoder, with
         inputs of the same shapes and in the same precision; `UNet passes` are the former alone

`of passes` is the share of the limit's rate, by the clock and, on a CPU, by the time that the
process had a processor, which holds on a machine that has other work, too. On a GPU, `GiB` is the
peak of the memory that a variant took beside the weights, and `of rate` the operations of the
passes per second, as a share of what products of large matrices reach in the same precision.

The table of `benchmarks/detection_rates.py` follows.
"""

import argparse
import copy
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from random_models import POCKET, build_sd14
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from train_step_gpu import measured_rate, synchronize

from tasks.devices import resolve_device
from tokencompose_core.evaluation.generate import (
    Sampler,
    generate_batches,
    load_pipeline,
    request_images,
)
from tokencompose_core.evaluation.image_tar import ImageSample, write_images
from tokencompose_core.evaluation.prepare_pipeline import Precision, prepare_pipeline
from tokencompose_core.evaluation.prompts import Prompt, multigen_text

CATEGORIES = ("cat", "boat", "kite", "donut", "chair", "clock", "car", "umbrella")
NUM_ROUNDS = 2
OURS, COMPILED, LOOP = "ours", "ours compiled", "loop"
PASSES, UNET_PASSES = "passes", "UNet passes"


@dataclass
class Case:
    """Pipelines, prompts and inputs for bare passes.

    Attributes:
        folder: Where images are written.
        options: Of the command line.
        plain: The pipeline as it comes.
        ours: Prepared as the stage does.
        compiled: The same with a compiled UNet, if asked for.
    """

    folder: Path
    options: argparse.Namespace
    plain: DiffusionPipeline = field(init=False)
    ours: DiffusionPipeline = field(init=False)
    compiled: DiffusionPipeline | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        options, precision = self.options, self.options.precision
        torch.manual_seed(0)
        if options.model == "pocket":
            self.plain = load_pipeline(POCKET, device=options.device)
        else:
            self.plain = build_sd14(options.device)
        self.ours = prepare_pipeline(copy.deepcopy(self.plain), precision=precision)
        if options.compile:
            self.compiled = prepare_pipeline(
                copy.deepcopy(self.plain), precision=precision, compile_unet=True
            )
        self.sampler = Sampler(options.steps, 7.5, options.size, options.size)
        prompts = [
            Prompt(number, multigen_text(CATEGORIES[number % 4 : number % 4 + 5]), ())
            for number in range(options.images // NUM_ROUNDS)
        ]
        self.requests = request_images(prompts, NUM_ROUNDS, seed=0)
        self.prepare_passes(getattr(torch, precision))

    def prepare_passes(self, dtype: torch.dtype) -> None:
        """Inputs of the UNet and of the VAE, and how often each is called."""
        options, unet = self.options, self.ours.unet
        side, channels = options.size // self.ours.vae_scale_factor, unet.config.in_channels
        tokens = self.ours.tokenizer.model_max_length
        like = {"device": options.device, "dtype": dtype}
        both = 2 * options.batch_size
        self.noisy = torch.randn(both, channels, side, side, **like)
        self.states = torch.randn(both, tokens, unet.config.cross_attention_dim, **like)
        self.latents = torch.randn(options.decode_batch_size, channels, side, side, **like)
        self.ours.scheduler.set_timesteps(options.steps, device=options.device)
        self.timesteps: list[Tensor] = list(self.ours.scheduler.timesteps)

    def unet_pass(self, timestep: Tensor) -> None:
        """A pass for a batch of images, with guidance."""
        self.ours.unet(self.noisy, timestep, self.states, return_dict=False)

    def vae_pass(self) -> None:
        """A pass for some images."""
        self.ours.vae.decode(self.latents, return_dict=False)

    @torch.no_grad()
    def operations(self) -> tuple[float, float]:
        """Of the UNet's and of the VAE's passes for one image, as PyTorch counts them."""
        with FlopCounterMode(display=False) as of_unet:
            self.unet_pass(self.timesteps[0])
        with FlopCounterMode(display=False) as of_vae:
            self.vae_pass()
        sampled = of_unet.get_total_flops() * len(self.timesteps) / self.options.batch_size
        return sampled, of_vae.get_total_flops() / self.options.decode_batch_size


def ours(case: Case, pipeline: DiffusionPipeline) -> int:
    """What the stage does between its prompts and its tar."""
    batches = generate_batches(
        pipeline,
        case.requests,
        case.sampler,
        batch_size=case.options.batch_size,
        decode_batch_size=case.options.decode_batch_size,
    )
    samples = (
        [ImageSample(p.request.name, p.image, {"seed": p.request.seed}) for p in batch]
        for batch in batches
    )
    write_images(case.folder / "images.tar", samples)
    return len(case.requests)


def loop(case: Case) -> int:
    """One prompt a call, as MultiGen's release does."""
    requests = case.requests[: case.options.loop_images]
    for request in requests:
        image = case.plain(
            request.prompt.text,
            height=case.sampler.height,
            width=case.sampler.width,
            num_inference_steps=case.sampler.num_inference_steps,
            guidance_scale=case.sampler.guidance_scale,
        ).images[0]
        image.save(case.folder / f"{request.name}.png")
    return len(requests)


@torch.inference_mode()
def unet_passes(case: Case) -> int:
    """The UNet's forward passes of all batches."""
    for _ in range(case.options.images // case.options.batch_size):
        for timestep in case.timesteps:
            case.unet_pass(timestep)
    return case.options.images


@torch.inference_mode()
def passes(case: Case) -> int:
    """The same, and the VAE's."""
    unet_passes(case)
    for _ in range(case.options.images // case.options.decode_batch_size):
        case.vae_pass()
    return case.options.images


@dataclass
class Times:
    """Seconds an image in each round, by the clock and of processors, and the peak of memory."""

    clock: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    peak_gib: float = 0.0


def measure(case: Case) -> dict[str, Times]:
    """Let the variants take turns, after a round to warm up."""
    device = case.options.device
    variants: dict[str, Callable[[], int]] = {
        OURS: lambda: ours(case, case.ours),
        LOOP: lambda: loop(case),
        PASSES: lambda: passes(case),
        UNET_PASSES: lambda: unet_passes(case),
    }
    if case.compiled is not None:
        variants[COMPILED] = lambda: ours(case, case.compiled)
    times = {name: Times() for name in variants}
    names = list(variants)
    for number in range(-1, case.options.rounds):
        for name in names:
            synchronize(device)
            resident = 0
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
                resident = torch.cuda.memory_allocated()
            start, used = time.perf_counter(), time.process_time()
            count = variants[name]()
            synchronize(device)
            if number < 0:
                continue
            times[name].clock.append((time.perf_counter() - start) / count)
            times[name].busy.append((time.process_time() - used) / count)
            if device == "cuda":
                taken = torch.cuda.max_memory_allocated() - resident
                times[name].peak_gib = taken / 2**30
        names.reverse()
    return times


def print_times(case: Case, times: dict[str, Times]) -> None:
    """One table."""
    options = case.options
    on_gpu = options.device == "cuda"
    where = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} threads"
    print(
        f"{options.model}, {options.precision}, {options.images} images of {options.size} pixels,"
        f" {len(case.timesteps)} UNet calls an image, batches of {options.batch_size}, decoded by"
        f" {options.decode_batch_size}, {options.rounds} rounds, {where}, load"
        f" {os.getloadavg()[0]:.1f}"
    )
    rate = of_unet = of_vae = 0.0
    if on_gpu:
        rate = measured_rate("cuda", "bf16" if options.precision == "bfloat16" else "fp32")
        of_unet, of_vae = case.operations()
        print(
            f"{(of_unet + of_vae) / 1e12:.1f} TFLOP an image, matrix rate {rate / 1e12:.0f} TFLOP/s"
        )
    last = f"{'GiB':>8}{'of rate':>9}" if on_gpu else f"{'by CPU':>8}{'CPU s/img':>11}"
    print(f"{'variant':15}{'img/s':>9}{'median':>9}{'of loop':>9}{'of passes':>11}{last}")
    best = {name: min(own.clock) for name, own in times.items()}
    least = {name: min(own.busy) for name, own in times.items()}
    for name, own in times.items():
        if on_gpu:
            # The loop computes in float32, whose rate is another one.
            operations = of_unet if name == UNET_PASSES else of_unet + of_vae
            share = operations / best[name] / rate
            is_same = name != LOOP or options.precision == "float32"
            last = f"{own.peak_gib:8.1f}" + (f"{share:9.2f}" if is_same else f"{'':9}")
        else:
            last = f"{least[PASSES] / least[name]:8.2f}{least[name]:11.3f}"
        print(
            f"{name:15}{1 / best[name]:9.3f}{1 / statistics.median(own.clock):9.3f}"
            f"{best[LOOP] / best[name]:9.2f}{best[PASSES] / best[name]:11.2f}{last}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--model", choices=["pocket", "sd14"], help="by the device")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="by the device")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--loop-images", type=int, default=8)
    parser.add_argument("--batch-size", type=int, help="32 on a CPU, 16 on a GPU")
    parser.add_argument("--decode-batch-size", type=int, help="that of batches on a CPU, else 8")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--size", type=int, help="pixels: 64 of the pocket model, else 512")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="also with a compiled UNet")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # the first table is there if time runs out
    on_gpu = options.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        parser.error("there is no GPU; leave --device away")
    resolve_device(options.device)  # float32 with all its digits, as in the stages
    options.model = options.model or ("sd14" if on_gpu else "pocket")
    precision: Precision = "bfloat16" if on_gpu else "float32"
    options.precision = options.precision or precision
    options.batch_size = options.batch_size or (16 if on_gpu else 32)
    options.decode_batch_size = options.decode_batch_size or min(
        options.batch_size, 8 if on_gpu else options.batch_size
    )
    options.size = options.size or (64 if options.model == "pocket" else 512)
    if options.images % options.batch_size or options.batch_size % options.decode_batch_size:
        parser.error("--images has to be batches, and --batch-size decoded batches, without a rest")
    with tempfile.TemporaryDirectory() as folder:
        case = Case(Path(folder), options)
        print_times(case, measure(case))
    # Here, since it needs more packages than the table above.
    from detection_rates import NUM_IMAGES, print_detection_rates

    print()
    print_detection_rates(options.device, NUM_IMAGES[options.device], options.rounds)


if __name__ == "__main__":
    main()
