"""Train a small SAM-HQ in segment-anything-hq's architecture."""

import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import save_file
from segment_anything_hq.modeling import Sam
from torch import Tensor

from tokencompose_core.masking.sam_hq import build_sam_hq
from tokencompose_core.pocket.fitting import FitSettings, OnProgress, fit
from tokencompose_core.pocket.pools import Pool, draw_pool

CONFIG = {
    "image_size": 256,
    "patch_size": 8,
    "window_size": 8,
    "depth": 4,
    "embed_dim": 96,
    "num_heads": 4,
    "global_attn_indexes": [1, 3],
    "prompt_embed_dim": 64,
    "mlp_dim": 256,
}
_SIZES = ((256, 192), (192, 256), (256, 256), (256, 219), (219, 256))
_SMALLEST_AREA = 12


def train_sam_hq(
    folder: Path,
    settings: FitSettings,
    *,
    seed: int,
    batch_size: int,
    num_scenes: int,
    on_progress: OnProgress = lambda *_: None,
    checkpoint_path: Path | None = None,
) -> list[dict[str, float]]:
    """Fit a SAM-HQ on boxes of scenes, shifted a little, as a detector would give them.

    The mask that SAM-HQ returns, the sum of SAM's and its own, is trained with binary
    cross-entropy and dice loss, and its quality head with the true IoU.
    """
    torch.manual_seed(seed)
    model = build_sam_hq(CONFIG)
    pools = [
        draw_pool(
            "varied",
            num_scenes // len(_SIZES),
            size=size,
            seed=seed * 10 + number,
            aspect=size[0] / size[1],
            with_indices=True,
            twin_share=0.12,
        )
        for number, size in enumerate(_SIZES)
    ]

    def losses_of_step(step: int) -> dict[str, Tensor]:
        rng = random.Random(f"sam-{seed}-{step}")
        pool = pools[step % len(pools)]
        batch = [rng.randrange(len(pool.scenes)) for _ in range(batch_size)]
        pixels = torch.from_numpy(np.ascontiguousarray(pool.images[batch])).permute(0, 3, 1, 2)
        features, early = model.image_encoder(model.preprocess(pixels.float()))
        logits, wanted, quality = [], [], []
        for row, index in enumerate(batch):
            boxes, masks = _prompts(rng, pool, index)
            if not len(boxes):
                continue
            low, predicted_quality = _decode(model, features[row], [e[row] for e in early], boxes)
            logits.append(model.postprocess_masks(low, pixels.shape[-2:], pixels.shape[-2:])[:, 0])
            wanted.append(masks)
            quality.append(predicted_quality[:, 0])
        return mask_losses(torch.cat(logits), torch.cat(wanted), torch.cat(quality))

    history = fit(
        model, losses_of_step, settings, on_progress=on_progress, checkpoint_path=checkpoint_path
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        folder / "model.safetensors",
    )
    return history


def mask_losses(
    logits: Float[Tensor, "masks height width"],
    wanted: Float[Tensor, "masks height width"],
    quality: Float[Tensor, " masks"],
) -> dict[str, Tensor]:
    """Cross-entropy and dice of the masks, and the squared error of the predicted IoU."""
    probabilities = logits.sigmoid()
    shared = (probabilities * wanted).sum(dim=(1, 2))
    total = probabilities.sum(dim=(1, 2)) + wanted.sum(dim=(1, 2))
    binary, true = logits.detach() > 0, wanted > 0.5
    iou = (binary & true).sum(dim=(1, 2)) / (binary | true).sum(dim=(1, 2)).clamp(min=1)
    # A mask covers a small part of the picture; its cross-entropy counts as much as its dice loss.
    weight = wanted.mean(dim=(1, 2)).clamp(min=0.01) * 10
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(dim=(1, 2))
    return {
        "cross_entropy": (entropy / weight).mean() * 5,
        "dice": (1 - (2 * shared + 1) / (total + 1)).mean(),
        "quality": 0.1 * F.mse_loss(quality, iou),
    }


def _decode(
    model: Sam, features: Tensor, early: list[Tensor], boxes: Tensor
) -> tuple[Tensor, Tensor]:
    sparse, dense = model.prompt_encoder(points=None, boxes=boxes, masks=None)
    return model.mask_decoder(
        image_embeddings=features[None],
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
        hq_token_only=False,
        interm_embeddings=[e[None] for e in early],
    )


def _prompts(rng: random.Random, pool: Pool, index: int) -> tuple[Tensor, Tensor]:
    """Boxes of the visible objects, each moved by up to a twentieth of its size, and masks."""
    assert pool.indices is not None
    boxes, masks = [], []
    for number in range(len(pool.scenes[index].objects)):
        mask = pool.indices[index] == number
        if mask.sum() < _SMALLEST_AREA:
            continue
        rows, columns = np.where(mask.any(axis=1))[0], np.where(mask.any(axis=0))[0]
        x0, y0, x1, y1 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        dx, dy = 0.05 * (x1 - x0), 0.05 * (y1 - y0)
        shift = [rng.uniform(-1, 1) for _ in range(4)]
        boxes.append(
            [x0 + dx * shift[0], y0 + dy * shift[1], x1 + dx * shift[2], y1 + dy * shift[3]]
        )
        masks.append(torch.from_numpy(mask))
    if not boxes:
        return torch.zeros(0, 4), torch.zeros(0, *pool.indices.shape[1:])
    return torch.tensor(boxes, dtype=torch.float32), torch.stack(masks).float()
