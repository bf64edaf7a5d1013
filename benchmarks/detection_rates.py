"""Images a second through the detector, beside the plain loop and the limit.

    python benchmarks/detection_rates.py [--device cpu] [--images 512] [--rounds 3]

On a CPU the pocket OWLv2 looks at images of 64 x 64 pixels, on a GPU one of the published shape
with random weights at images of 512 x 512, its vision tower in bfloat16. Three variants take turns
in one process:

ours    what the stage does, from PNG bytes to a table of boxes with their rivals
plain   one image at a time, as released: PNG bytes through transformers' slow processor, its model
        as it comes, and its post-processing; in the same precision
limit   the forward passes of ours alone, with all pixels prepared and all texts encoded

`of plain` and `of limit` compare rates by the clock; `CPU` compares with the limit by the time that
the process had a processor, which on a CPU holds on a machine that has other work, too.

Then milliseconds of preprocessing an image of 512 x 512 for 960 x 960, in one thread.
"""

import argparse
import io
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import (
    CLIPTokenizerFast,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
)

from data_schemas.evaluation_records import LOWEST_SCORE, GeneratedImage
from tokencompose_core.checkpoints.locate import require
from tokencompose_core.evaluation.detect import detect_categories, encode_queries
from tokencompose_core.evaluation.detection_table import write_detections
from tokencompose_core.evaluation.detectors import load_detector
from tokencompose_core.evaluation.owlv2_pixels import owlv2_pixels
from tokencompose_core.masking.precision import Precision, compute_in
from tokencompose_core.pocket.categories import CATEGORIES
from tokencompose_core.pocket.floors.held_out import draw_held_out

QUERY = "a photo of a {name}"
VOCABULARY = sorted(category.name for category in CATEGORIES)
# Of the pocket model 16 batches: filling the threads and emptying them counts little.
NUM_IMAGES = {"cpu": 512, "cuda": 64}


class Case:
    """A detector, the same as transformers loads it, and images as the stage finds them."""

    def __init__(self, folder: Path, device: str, num_images: int) -> None:
        on_gpu = device == "cuda"
        self.device = torch.device(device)
        self.precision: Precision = "bfloat16" if on_gpu else "float32"
        self.batch_size = 8 if on_gpu else 32
        self.table_path = folder / "detections.parquet"
        model_dir = folder / "model" if on_gpu else require("pocket:owlv2")
        if on_gpu:
            write_published_shape(model_dir)
        self.detector = load_detector("owlv2", model_dir, device=device)
        self.model = Owlv2ForObjectDetection.from_pretrained(model_dir).to(device).eval()
        self.processor = Owlv2Processor.from_pretrained(model_dir, use_fast=False)
        side = 512 if on_gpu else 64
        scenes = draw_held_out(num_images, seed=94, square=True)
        self.files = [to_png(item.image.resize((side, side))) for item in scenes]
        rng = random.Random(94)
        self.asked = [rng.sample(VOCABULARY, 5) for _ in scenes]
        self.rows = [
            GeneratedImage(
                image=f"{number}_0",
                prompt_id=number,
                round=0,
                seed=number,
                prompt="",
                categories=names,
                blanked=False,
            )
            for number, names in enumerate(self.asked)
        ]
        pixels = self.detector.prepare(list(self.images()))
        self.batches = pixels.split(self.batch_size)
        self.texts = encode_queries(
            self.detector, tuple(QUERY.format(name=name) for name in VOCABULARY)
        )

    def images(self) -> Iterator[Image.Image]:
        """Open one image after the other; Pillow decodes it when its pixels are asked for."""
        for file in self.files:
            yield Image.open(io.BytesIO(file))


def to_png(image: Image.Image) -> bytes:
    """An image as a file."""
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def write_published_shape(folder: Path) -> None:
    """Write an OWLv2 of the shape of MultiGen's, `google/owlv2-large-patch14-ensemble`."""
    torch.manual_seed(0)
    config = Owlv2Config(
        text_config={"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        vision_config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 1008,
            "patch_size": 14,
        },
        projection_dim=768,
    )
    model = Owlv2ForObjectDetection(config)
    # Few boxes are above the floor, as in pictures of few objects.
    for layer, bias in ((model.class_head.logit_shift, -1.0), (model.class_head.logit_scale, 4.0)):
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, bias)
    model.save_pretrained(folder)
    Owlv2Processor(
        image_processor=Owlv2ImageProcessor(size={"height": 1008, "width": 1008}),
        tokenizer=CLIPTokenizerFast.from_pretrained(require("pocket:owlv2")),
    ).save_pretrained(folder)


def ours(case: Case) -> None:
    """From files to a table of boxes."""
    found = detect_categories(
        case.detector,
        case.images(),
        case.asked,
        vocabulary=VOCABULARY,
        query=QUERY,
        batch_size=case.batch_size,
        precision=case.precision,
    )
    write_detections(case.table_path, case.rows, found)


@torch.inference_mode()
def plain(case: Case) -> None:
    """From files to boxes, as released."""
    for image, names in zip(case.images(), case.asked, strict=True):
        texts = [[QUERY.format(name=name) for name in names]]
        inputs = case.processor(text=texts, images=image, return_tensors="pt").to(case.device)
        with compute_in(case.device, case.precision):
            output = case.model(**inputs)
        case.processor.image_processor.post_process_object_detection(
            output, threshold=LOWEST_SCORE, target_sizes=[(image.height, image.width)]
        )[0]["scores"].tolist()


@torch.inference_mode()
def limit(case: Case) -> None:
    """Forward passes alone."""
    model = case.detector.model
    for pixels in case.batches:
        with compute_in(case.device, case.precision):
            feature_map = model.image_embedder(pixels)[0].float()
        patches = feature_map.flatten(1, 2)
        model.class_predictor(patches, case.texts[None].expand(len(patches), -1, -1))
        boxes = model.box_predictor(patches, feature_map)
    boxes.cpu()  # waits for the GPU


VARIANTS: dict[str, Callable[[Case], None]] = {"ours": ours, "plain": plain, "limit": limit}


def print_detection_rates(device: str, num_images: int, num_rounds: int) -> None:
    """Print the rates of all variants, and what preprocessing takes.

    Args:
        device: `cpu` or `cuda`.
        num_images: Images that each variant looks at in a round.
        num_rounds: How often each does so, besides one round to warm up.
    """
    with tempfile.TemporaryDirectory() as folder:
        case = Case(Path(folder), device, num_images)
        seconds, busy = _measure(case, num_rounds)
    print(
        f"detection on {device}, {case.precision}: {num_images} images, batches of"
        f" {case.batch_size}, {num_rounds} rounds, {torch.get_num_threads()} threads of"
        f" {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'variant':10}{'img/s':>9}{'median':>9}{'of plain':>10}{'of limit':>10}{'CPU':>7}")
    for name in VARIANTS:
        best = min(seconds[name])
        print(
            f"{name:10}{num_images / best:9.2f}{num_images / statistics.median(seconds[name]):9.2f}"
            f"{min(seconds['plain']) / best:10.2f}{min(seconds['limit']) / best:10.2f}"
            f"{min(busy['limit']) / min(busy[name]):7.2f}"
        )
    _print_preprocessing(case.device, case.files)


def _measure(case: Case, num_rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of each variant round by round, by the clock and of processors."""
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    busy: dict[str, list[float]] = {name: [] for name in VARIANTS}
    names = list(VARIANTS)
    for number in range(-1, num_rounds):
        for name in names:
            start, used = time.perf_counter(), time.process_time()
            VARIANTS[name](case)
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
                busy[name].append(time.process_time() - used)
        names.reverse()
    return seconds, busy


def _print_preprocessing(device: torch.device, files: Sequence[bytes]) -> None:
    image = Image.open(io.BytesIO(files[0])).convert("RGB").resize((512, 512))
    processor = Owlv2ImageProcessor(size={"height": 960, "width": 960})
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    shipped = _milliseconds(lambda: processor(image, return_tensors="pt").pixel_values)
    own = _milliseconds(lambda: owlv2_pixels([image], processor, device))
    torch.set_num_threads(num_threads)
    print(
        f"preprocessing 512 x 512 to 960 x 960: shipped {shipped:.1f} ms, ours {own:.1f} ms,"
        f" {shipped / own:.1f} times faster"
    )


def _milliseconds(make_pixels: Callable[[], Tensor]) -> float:
    took = []
    for _ in range(12):
        start = time.perf_counter()
        float(make_pixels()[..., -1, -1].sum())  # waits for the GPU
        took.append(time.perf_counter() - start)
    return 1e3 * min(took)


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--images", type=int, help="512 on a CPU, 64 on a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    num_images = options.images or NUM_IMAGES[options.device]
    print_detection_rates(options.device, num_images, options.rounds)


if __name__ == "__main__":
    main()
