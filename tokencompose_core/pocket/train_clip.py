"""Train a small CLIP that open_clip loads from its folder."""

import json
import random
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from tokencompose_core.pocket.fitting import FitSettings, OnProgress, fit, shuffled_batches
from tokencompose_core.pocket.pools import draw_pool, join_pools
from tokencompose_core.pocket.sentences import write_sentence

SIDE = 64
MODEL_CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {
        "image_size": SIDE,
        "layers": 4,
        "width": 128,
        "head_width": 32,
        "patch_size": 8,
    },
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
}
PREPROCESSING = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}

# Pictures are squeezed to a square, so that CLIP sees objects at the sides as well.
_ASPECTS = (1.0, 4 / 3, 3 / 4)
_NUM_WRONG = 3


def train_clip(
    folder: Path,
    settings: FitSettings,
    *,
    seed: int,
    batch_size: int,
    num_scenes: int,
    on_progress: OnProgress = lambda *_: None,
    checkpoint_path: Path | None = None,
) -> list[dict[str, float]]:
    """Fit a CLIP on scenes of both kinds and write an open_clip folder.

    Besides the contrastive loss (arXiv:2103.00020), every picture has wrong captions of its own
    among the candidates, so that the model learns to read every noun and not the easiest.
    """
    torch.manual_seed(seed)
    model = open_clip.CLIP(**MODEL_CONFIG)
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL_CONFIG["text_cfg"]["context_length"])
    pool = join_pools(
        [
            draw_pool(
                "both",
                num_scenes // len(_ASPECTS),
                size=(SIDE, SIDE),
                seed=seed * 10 + number,
                aspect=aspect,
            )
            for number, aspect in enumerate(_ASPECTS)
        ]
    )
    batch_of = shuffled_batches(len(pool.scenes), batch_size, seed)
    mean, deviation = torch.tensor(PREPROCESSING["mean"]), torch.tensor(PREPROCESSING["std"])

    def losses_of_step(step: int) -> dict[str, Tensor]:
        rng = random.Random(f"clip-{seed}-{step}")
        batch = batch_of(step)
        scenes = [pool.scenes[index] for index in batch]
        right = [write_sentence(rng, scene).text for scene in scenes]
        wrong = [
            write_sentence(rng, scene, quality="wrong").text
            for scene in scenes
            for _ in range(_NUM_WRONG)
        ]
        images = torch.from_numpy(pool.images[batch.numpy()]).float() / 255
        images = ((images - mean) / deviation).permute(0, 3, 1, 2).contiguous()
        image_features, _, scale = model(images, None)
        text_features = model.encode_text(tokenizer(right + wrong), normalize=True)
        return {"contrastive": contrastive_loss(image_features, text_features, scale)}

    history = fit(
        model, losses_of_step, settings, on_progress=on_progress, checkpoint_path=checkpoint_path
    )
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": MODEL_CONFIG, "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return history


def contrastive_loss(
    image_features: Float[Tensor, "batch width"],
    text_features: Float[Tensor, "texts width"],
    scale: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Symmetric cross-entropy; text `i` belongs to image `i`, texts beyond the batch to none."""
    logits = scale * image_features @ text_features.T
    labels = torch.arange(len(image_features))
    of_images = F.cross_entropy(logits, labels)
    of_texts = F.cross_entropy(logits[:, : len(labels)].T, labels)
    return (of_images + of_texts) / 2
