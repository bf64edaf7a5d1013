"""The same step on a GPU: steps a second, memory, and how much of the GPU's matrix rate it reaches.

    python benchmarks/train_step_gpu.py [--shapes sd14 sd21 sdxl] [--precisions bf16 fp32]
    python benchmarks/train_step_gpu.py --shapes sd14 --precisions bf16 --no-compile --largest 8

For each shape and precision at batch 1 and at the largest batch of a power of two that plain
fine-tuning fits: forward and backward pass, variants (a), (b) and (c) of `train_step.py` in turns,
then (a) and (b) with `torch.compile` of the UNet's blocks, which takes minutes a table. Weights are
in float32, and bf16 is autocast, as in training. Memory has room for AdamW's states, whose own step
is not taken. As in training, (b) enters its context once and not at each step.

`rate` is the share of the matrix rate that this GPU reaches, measured here by products of large
matrices in the same precision; operations are PyTorch's own count for variant (a).
"""

import argparse
import gc
import itertools
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch.utils.flop_counter import FlopCounterMode
from train_step import SHAPES, VARIANTS, Case, ours, plain

from tasks.devices import resolve_device
from tokencompose_core.attention.capture import capture_attention

PLAIN, OURS = "(a) plain", "(b) ours"


def synchronize(device: str) -> None:
    """Wait for the GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def measured_rate(device: str, precision: str) -> float:
    """Operations a second in products of square matrices."""
    side = 8192 if device == "cuda" else 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.randn(2, side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        synchronize(device)
        start = time.perf_counter()
        left @ right
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def step(case: Case, variant: Callable[[Case], torch.Tensor]) -> float:
    """Seconds of one forward and backward pass."""
    case.unet.zero_grad(set_to_none=False)
    is_ours = variant is ours
    with capture_attention(case.unet, case.layers) if is_ours else nullcontext() as attention:
        if attention is not None:
            attention.select(case.tokens.columns)
        synchronize(case.device)
        start = time.perf_counter()
        if attention is None:
            variant(case).backward()
        else:
            denoising = case.denoise()
            case.loss(attention.maps, denoising).backward()
        synchronize(case.device)
        return time.perf_counter() - start


Variants = dict[str, Callable[[Case], torch.Tensor]]
Results = dict[str, tuple[float, float] | None]


def measure(case: Case, variants: Variants, rounds: int) -> Results:
    """Best seconds and peak GiB of each variant; None if it does not fit."""
    best: dict[str, float] = {}
    peak: dict[str, float] = {}
    for number in range(rounds + 2):
        for name, variant in variants.items():
            if best.get(name) == float("inf"):
                continue
            if case.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            try:
                seconds = step(case, variant)
            except torch.OutOfMemoryError:
                best[name] = float("inf")
                free_memory()
                continue
            if number > 1:  # two rounds to warm up
                best[name] = min(best.get(name, float("inf")), seconds)
            if case.device == "cuda":
                peak[name] = torch.cuda.max_memory_allocated() / 2**30
    fits = {name: best[name] < float("inf") for name in variants}
    return {n: (best[n], peak.get(n, float("nan"))) if fits[n] else None for n in variants}


def measure_compiled(case: Case, rounds: int) -> Results:
    """The same for (a) and (b) with compiled blocks."""

    def captured(case: Case) -> torch.Tensor:
        denoising = case.denoise()
        return case.loss(attention.maps, denoising)

    case.unet.compile_repeated_blocks(dynamic=False)
    results = measure(case, {f"{PLAIN} compiled": plain}, rounds)
    torch.compiler.reset()
    # As in training, compiled inside one context that lasts.
    with capture_attention(case.unet, case.layers) as attention:
        attention.select(case.tokens.columns)
        results |= measure(case, {f"{OURS} compiled": captured}, rounds)
    torch.compiler.reset()
    for module in case.unet.modules():
        module._compiled_call_impl = None
    return results


def free_memory() -> None:
    """Give back what an attempt that did not fit has left."""
    gc.collect()
    torch.cuda.empty_cache()


def largest_batch(case: Case, limit: int) -> int:
    """The largest power of two up to the limit with which plain fine-tuning fits."""
    batch = 1
    while batch < limit:
        try:
            case.resize(2 * batch)
            step(case, plain)
        except torch.OutOfMemoryError:
            break
        batch *= 2
    case.unet.zero_grad(set_to_none=True)
    free_memory()
    return batch


def operations(case: Case) -> int:
    """Floating-point operations of plain fine-tuning, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        plain(case).backward()
    return counter.get_total_flops()


def print_rows(results: Results, base: tuple[float, float] | None, count: int, rate: float) -> None:
    """Print a row for each variant, held to the seconds and GiB of `base`."""
    for variant, values in results.items():
        if values is None or base is None:
            print(f"{variant:22} does not fit")
            continue
        seconds, peak = values
        print(
            f"{variant:22}{1 / seconds:9.2f}{peak:8.1f}{count / seconds / rate:7.2f}"
            f"  {seconds / base[0]:6.2f}{peak / base[1]:8.2f}"
        )


def main() -> None:
    """Print one table for each shape, precision and batch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["sd14", "sd21", "sdxl"])
    parser.add_argument("--precisions", nargs="+", choices=["bf16", "fp32"], default=None)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--largest", type=int, default=64, help="no batch is tried beyond it")
    parser.add_argument("--no-compile", action="store_true", help="leave out the compiled rows")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # what is measured is there if time runs out
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU; benchmarks/train_step.py measures on the CPU")
    resolve_device(options.device)  # float32 with all its digits, as in the stages
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    for shape, precision in itertools.product(
        options.shapes, options.precisions or ["bf16", "fp32"]
    ):
        rate = measured_rate(options.device, precision)
        case = Case(shape, options.device)
        case.is_bf16 = precision == "bf16"
        adamw = [torch.zeros_like(weight) for weight in case.unet.parameters() for _ in range(2)]
        most = largest_batch(case, options.largest)
        for batch in dict.fromkeys((1, most)):
            case.resize(batch)
            count = operations(case)
            print(
                f"\n{shape} {precision} batch {batch} on {name}: {count / 1e12:.2f} TFLOP a step,"
                f" matrix rate {rate / 1e12:.0f} TFLOP/s"
            )
            print(f"{'variant':22}{'steps/s':>9}{'GiB':>8}{'rate':>7}  {'time':>6}{'memory':>8}")
            results = measure(case, VARIANTS, options.rounds)
            base = results[PLAIN]
            print_rows(results, base, count, rate)
            if not options.no_compile:
                print_rows(measure_compiled(case, options.rounds), base, count, rate)
        del case, adamw
        free_memory()


if __name__ == "__main__":
    main()
