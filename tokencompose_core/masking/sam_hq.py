"""Build and load SAM-HQ (arXiv:2306.01567) through segment-anything-hq."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from segment_anything_hq import sam_model_registry
from segment_anything_hq.modeling import (
    ImageEncoderViT,
    MaskDecoderHQ,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import Tensor

from tokencompose_core.checkpoints.read_weights import load_named, read_weights
from tokencompose_core.masking.segment_boxes import PIXEL_DEVIATION, PIXEL_MEAN


@dataclass(frozen=True, eq=False)
class PackagedSamHq:
    """The model of segment-anything-hq, as `Segmenter` wants it."""

    model: Sam

    @property
    def image_size(self) -> int:
        """Side of the square that the image encoder takes, in pixels."""
        return self.model.image_encoder.img_size

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    def encode(self, pixels: Float[Tensor, "1 3 side side"]) -> Any:
        """See `Segmenter`."""
        return self.model.image_encoder(pixels)

    def decode(
        self, features: Any, boxes_xyxy: Float[Tensor, "boxes 4"]
    ) -> Float[Tensor, "boxes low low"]:
        """See `Segmenter`."""
        prompts = self.model.prompt_encoder
        # Half the digits would move the corners of boxes by pixels.
        with torch.autocast(self.device.type, enabled=False):
            corners, dense = prompts(points=None, boxes=boxes_xyxy, masks=None)
            places = prompts.get_dense_pe()
        image, early = features
        logits, _ = self.model.mask_decoder(
            image_embeddings=image,
            image_pe=places,
            sparse_prompt_embeddings=corners,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            hq_token_only=False,
            interm_embeddings=early,
        )
        return logits[:, 0].float()


def build_sam_hq(config: dict) -> Sam:
    """Build a SAM-HQ of any size; segment-anything-hq itself builds its published ones only.

    Args:
        config: `image_size`, `patch_size`, `window_size`, `depth`, `embed_dim`, `num_heads` and
            `global_attn_indexes` of the image encoder, `prompt_embed_dim` and `mlp_dim` of the
            decoder.
    """
    width = config["prompt_embed_dim"]
    grid = config["image_size"] // config["patch_size"]
    return Sam(
        image_encoder=ImageEncoderViT(
            depth=config["depth"],
            embed_dim=config["embed_dim"],
            img_size=config["image_size"],
            mlp_ratio=4,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=config["num_heads"],
            patch_size=config["patch_size"],
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=tuple(config["global_attn_indexes"]),
            window_size=config["window_size"],
            out_chans=width,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=width,
            image_embedding_size=(grid, grid),
            input_image_size=(config["image_size"], config["image_size"]),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoderHQ(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=width, mlp_dim=config["mlp_dim"], num_heads=8
            ),
            transformer_dim=width,
            iou_head_depth=3,
            iou_head_hidden_dim=width,
            vit_dim=config["embed_dim"],
        ),
        pixel_mean=list(PIXEL_MEAN),
        pixel_std=list(PIXEL_DEVIATION),
    )


def load_sam_hq(
    model_type: str | Path, checkpoint_path: Path, *, device: str = "cpu"
) -> PackagedSamHq:
    """Load a published SAM-HQ by its type, or one of any size by its config file.

    Args:
        model_type: `vit_h`, `vit_l`, `vit_b` or `vit_tiny`, or a JSON file for `build_sam_hq`.
        checkpoint_path: Weights, `.pth` or `.safetensors`.
        device: Where to put the model.

    Raises:
        ValueError: If the checkpoint lacks weights of the model or holds more than weights, or the
            type is not known.
    """
    if isinstance(model_type, Path):
        model = build_sam_hq(json.loads(model_type.read_text()))
    elif model_type in sam_model_registry:
        model = sam_model_registry[model_type]()
    else:
        raise ValueError(f"SAM-HQ has no type {model_type!r}, but {sorted(sam_model_registry)}")
    missing = load_named(model, read_weights(checkpoint_path), checkpoint_path, model_type)
    if missing:
        raise ValueError(
            f"{checkpoint_path} lacks {len(missing)} weights of the model, for instance"
            f" {missing[0]}; it does not belong to {model_type}"
        )
    return PackagedSamHq(model.to(device).eval())
