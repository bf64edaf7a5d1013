"""Train a small OWLv2 that transformers loads, the detector of MultiGen."""

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss
from torchvision.transforms.v2.functional import gaussian_blur
from transformers import Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor

from tokencompose_core.pocket.categories import CATEGORIES
from tokencompose_core.pocket.clip_vocabulary import write_clip_tokenizer
from tokencompose_core.pocket.distractors import DISTRACTORS, draw_distractor
from tokencompose_core.pocket.fitting import FitSettings, OnProgress, fit, shuffled_batches
from tokencompose_core.pocket.pools import draw_pool
from tokencompose_core.pocket.scenes import Scene
from tokencompose_core.pocket.train_autoencoder import SIDE, reconstruct

INPUT_SIDE = 96
GRID = 12
QUERY_TOKENS = 16
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def build_owlv2() -> Owlv2ForObjectDetection:
    """An OWLv2 with a vision tower of 12 x 12 patches and a narrow text tower."""
    config = Owlv2Config(
        text_config={
            "hidden_size": 32,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": QUERY_TOKENS,
        },
        vision_config={
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": INPUT_SIDE,
            "patch_size": INPUT_SIDE // GRID,
        },
        projection_dim=32,
    )
    model = Owlv2ForObjectDetection(config)
    # transformers draws the heads' weights with a deviation of 1, which saturates every box.
    for head in (model.class_head, model.box_head, model.objectness_head):
        for module in head.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
    # Logits are (similarity + shift) * scale. Nearly every patch shows nothing, so scores start
    # near 0.01; from one half, the sum of their losses would drown that of the boxes.
    with torch.no_grad():
        model.class_head.logit_shift.bias.fill_(-0.9)
        model.class_head.logit_scale.bias.fill_(4.0)
        model.objectness_head.dense2.bias.fill_(-4.0)
    return model


def train_owlv2(
    folder: Path,
    settings: FitSettings,
    *,
    seed: int,
    batch_size: int,
    num_scenes: int,
    num_distractors: int,
    autoencoder: AutoencoderKL,
    on_progress: OnProgress = lambda *_: None,
    checkpoint_path: Path | None = None,
) -> list[dict[str, float]]:
    """Fit OWLv2 on scenes, and on pictures without objects, and write a transformers folder.

    The patch at the centre of an object answers for it; patches beside it are left out of the
    class loss. Half of the pictures pass through the autoencoder of the small Stable Diffusion, so
    that its traces in generated pictures mean nothing to the detector.

    Args:
        folder: Where to write.
        settings: Length and speed.
        seed: Seed of weights, scenes and order.
        batch_size: Pictures a step; a quarter of them show no object.
        num_scenes: Scenes to draw.
        num_distractors: Pictures without objects to draw.
        autoencoder: That of the small Stable Diffusion.
        on_progress: Told of progress.
        checkpoint_path: State to write and resume from.
    """
    torch.manual_seed(seed)
    model = build_owlv2()
    tokenizer = write_clip_tokenizer(folder, model_max_length=QUERY_TOKENS)
    names = [category.name for category in CATEGORIES]
    queries = tokenizer(
        [f"a photo of a {name}" for name in names], padding="max_length", return_tensors="pt"
    )
    num_empty = batch_size // 4
    scenes = draw_pool("both", num_scenes, size=(SIDE, SIDE), seed=seed)
    images = scenes.images.copy()
    images[::2] = reconstruct(autoencoder, images[::2])
    negatives = np.stack(
        [
            draw_distractor(
                random.Random(f"distractor-{seed}-{i}"), DISTRACTORS[i % len(DISTRACTORS)], SIDE
            )
            for i in range(num_distractors)
        ]
    )
    negatives[::2] = reconstruct(autoencoder, negatives[::2])
    batch_of = shuffled_batches(num_scenes, batch_size - num_empty, seed)
    negatives_of = shuffled_batches(num_distractors, num_empty, seed + 1)

    def losses_of_step(step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        batch, empty = batch_of(step), negatives_of(step)
        pixels = torch.from_numpy(np.concatenate([images[batch.numpy()], negatives[empty.numpy()]]))
        classes, weights, boxes = _targets([scenes.scenes[i] for i in batch], num_empty)
        output = model(
            input_ids=queries.input_ids.repeat(len(pixels), 1),
            attention_mask=queries.attention_mask.repeat(len(pixels), 1),
            pixel_values=pixels_to_input(_disturb(pixels, generator)),
        )
        found = boxes[..., 2] > 0
        focal = sigmoid_focal_loss(output.logits, classes, alpha=0.2, gamma=1.5)
        objects = found.sum().clamp(min=1)
        predicted = output.pred_boxes[found]
        objectness = F.binary_cross_entropy_with_logits(
            output.objectness_logits, found.float(), reduction="sum"
        )
        return {
            "class": (focal * weights).sum() / objects,
            "box": 5.0 * F.l1_loss(predicted, boxes[found], reduction="sum") / objects / 4,
            "giou": generalized_box_iou_loss(
                _corners(predicted), _corners(boxes[found]), reduction="sum"
            )
            / objects,
            "objectness": 0.1 * objectness / objects,
        }

    history = fit(
        model, losses_of_step, settings, on_progress=on_progress, checkpoint_path=checkpoint_path
    )
    model.save_pretrained(folder)
    Owlv2Processor(
        image_processor=Owlv2ImageProcessor(size={"height": INPUT_SIDE, "width": INPUT_SIDE}),
        tokenizer=tokenizer,
    ).save_pretrained(folder)
    return history


def pixels_to_input(
    images: Float[Tensor, "batch side side 3"],
) -> Float[Tensor, "batch 3 input input"]:
    """Resize and normalise pictures with values in [0, 255] as OWLv2's processor does."""
    pixels = images.permute(0, 3, 1, 2) / 255
    pixels = F.interpolate(pixels, size=(INPUT_SIDE, INPUT_SIDE), mode="bilinear")
    mean, deviation = torch.tensor(_MEAN), torch.tensor(_DEVIATION)
    return (pixels - mean[:, None, None]) / deviation[:, None, None]


def _disturb(images: UInt8[Tensor, "batch side side 3"], generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and sharpness a little, and add noise, picture by picture."""
    pixels = images.float()
    strength = torch.rand((4, len(pixels), 1, 1, 1), generator=generator)
    pixels = (pixels - 128) * (0.75 + 0.5 * strength[0]) + 128 + 30 * (strength[1] - 0.5)
    blurred = gaussian_blur(pixels.permute(0, 3, 1, 2), [5, 5], [0.8, 0.8]).permute(0, 2, 3, 1)
    pixels = torch.where(strength[2] < 0.25, blurred, pixels)
    noise = torch.randn(pixels.shape, generator=generator)
    return (pixels + 12 * strength[3] ** 2 * noise).clamp(0, 255)


def _targets(scenes: list[Scene], num_empty: int) -> tuple[Tensor, Tensor, Tensor]:
    """Class of each patch and category, its weight, and box (centre and size) of each patch."""
    count = len(scenes) + num_empty
    classes = torch.zeros(count, GRID, GRID, len(CATEGORIES))
    weights = torch.ones(count, GRID, GRID, len(CATEGORIES))
    boxes = torch.zeros(count, GRID, GRID, 4)
    for number, scene in enumerate(scenes):
        for item in scene.objects:
            x0, y0, x1, y1 = item.box_xyxy
            x0, x1 = (min(max(x / scene.width, 0.0), 1.0) for x in (x0, x1))
            y0, y1 = (min(max(y / scene.height, 0.0), 1.0) for y in (y0, y1))
            column = min(int((x0 + x1) / 2 * GRID), GRID - 1)
            row = min(int((y0 + y1) / 2 * GRID), GRID - 1)
            index = CATEGORIES.index(item.category)
            near = weights[
                number, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2, index
            ]
            near *= classes[
                number, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2, index
            ]
            classes[number, row, column] = 0.0
            classes[number, row, column, index] = 1.0
            weights[number, row, column] = 1.0
            boxes[number, row, column] = torch.tensor(
                [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]
            )
    return classes.flatten(1, 2), weights.flatten(1, 2), boxes.flatten(1, 2)


def _corners(boxes: Tensor) -> Tensor:
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)
