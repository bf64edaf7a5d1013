"""Images a second from captions to masks on a GPU, how busy it is, and how much memory that takes.

    python benchmarks/curate_gpu.py [--images 48] [--rounds 3] [--batch-size 4]
    python benchmarks/curate_gpu.py --device cpu --small --images 8 --rounds 1

The variants of `curate.py` in turns, with models of the published sizes and random weights, as
`full_size.py` writes them (7 GB), over JPEG files as large as COCO's; `ours` and `limit` in float32
and with the detector and the segmenter in bfloat16, `released` in float32. Random weights give
hundreds of boxes, so both orders keep only the best of those that overlap; `boxes` says for how
many of an image a mask is computed. `--small` takes the pocket models instead.

`busy` is the share of the time in which a kernel or a copy ran on the GPU, in one more round that
torch.profiler recorded; launching kernels takes longer then, so it is rather too low. `GiB` is the
most that PyTorch had allocated, weights of all models included.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from curate import VARIANTS, Case
from full_size import NMS_THRESHOLD, PAPER, make_config
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from train_step_gpu import synchronize

from data_schemas.configs.curate_config import CurateConfig
from tasks.devices import resolve_device
from tokencompose_core.masking.precision import Precision
from tokencompose_core.pocket.floors.held_out import draw_held_out

ROWS: list[tuple[str, Precision]] = [
    ("ours", "float32"),
    ("ours", "bfloat16"),
    ("released", "float32"),
    ("limit", "float32"),
    ("limit", "bfloat16"),
]
_COCO_LONG_SIDE = 640


def run(case: Case, variant: str, precision: Precision) -> tuple[float, int]:
    """Seconds of one round, and for how many boxes it computed a mask."""
    case.precision = precision
    synchronize(case.clip.device)
    start = time.perf_counter()
    num_boxes = VARIANTS[variant](case)
    synchronize(case.clip.device)
    return time.perf_counter() - start, num_boxes


def busy_share(case: Case, variant: str, precision: Precision) -> float:
    """Share of a round in which the device worked; of the CPU, in which PyTorch's operations ran.

    Not a number if the profiler saw nothing.
    """
    is_gpu = case.clip.device == "cuda"
    activity = ProfilerActivity.CUDA if is_gpu else ProfilerActivity.CPU
    kind = DeviceType.CUDA if is_gpu else DeviceType.CPU
    with profile(activities=[activity]) as recorded:
        seconds, _ = run(case, variant, precision)
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in recorded.events()
        if event.device_type == kind and not event.is_user_annotation
    ]
    return union_length(spans) / 1e6 / seconds if spans else float("nan")


def union_length(spans: Iterable[tuple[float, float]]) -> float:
    """Length of what any of the spans covers."""
    length, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        length += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return length


def make_case(options: argparse.Namespace, folder: Path) -> Case:
    """Models and images."""
    batches = {"batch_size": options.batch_size} if options.batch_size else {}
    scenes = draw_held_out(options.images, seed=92)
    if options.small:
        config = CurateConfig.load("pocket", mask=batches)
        return Case(folder, config, scenes, device=options.device)
    config = make_config(folder)
    config = config.model_copy(update={"mask": config.mask.model_copy(update=batches)})
    return Case(
        folder,
        config,
        scenes,
        device=options.device,
        long_side=_COCO_LONG_SIDE,
        most_overlap=NMS_THRESHOLD,
    )


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, help="images that the detector sees together")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="take the pocket models")
    options = parser.parse_args()
    is_gpu = options.device == "cuda"
    if is_gpu and not torch.cuda.is_available():
        parser.error("there is no GPU; benchmarks/curate.py measures on the CPU")
    resolve_device(options.device)  # float32 with all its digits, as in the stages
    with tempfile.TemporaryDirectory() as folder:
        case = make_case(options, Path(folder))
        seconds: dict[tuple[str, Precision], list[float]] = {row: [] for row in ROWS}
        boxes, peak = dict.fromkeys(ROWS, 0), dict.fromkeys(ROWS, 0.0)
        for number in range(-1, options.rounds):  # one round to warm up
            for row in ROWS[:: 1 if number % 2 else -1]:
                if is_gpu:
                    torch.cuda.reset_peak_memory_stats()
                taken, boxes[row] = run(case, *row)
                # What was measured is there if time runs out.
                print(f"round {number} of {options.rounds}, {row}: {taken:.2f} s", file=sys.stderr)
                if number >= 0:
                    seconds[row].append(taken)
                if is_gpu:
                    peak[row] = torch.cuda.max_memory_allocated() / 2**30
        busy = {row: busy_share(case, *row) for row in ROWS}
    models = "pocket models" if options.small else f"{PAPER.rank.model}, SwinT, vit_h"
    device = torch.cuda.get_device_name() if is_gpu else "CPU"
    size = case.config.mask.batch_size
    print(
        f"{device}, {models}, {options.images} images, batches of {size}, {options.rounds} rounds"
    )
    heads = f"{'img/s':>8}{'of limit':>10}{'busy':>7}{'GiB':>7}{'boxes':>7}"
    print(f"{'variant':10}{'precision':11}{heads}")
    for variant, precision in ROWS:
        row = variant, precision
        best, most = min(seconds[row]), min(seconds["limit", precision])
        print(
            f"{variant:10}{precision:11}{options.images / best:8.2f}{most / best:10.2f}"
            f"{busy[row]:7.2f}{peak[row]:7.1f}{boxes[row] / options.images:7.1f}"
        )


if __name__ == "__main__":
    main()
