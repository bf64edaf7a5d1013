"""SAM-HQ (arXiv:2306.01567) through segment-anything-hq: masks for boxes."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from safetensors.torch import load_file
from segment_anything_hq import SamPredictor, sam_model_registry
from segment_anything_hq.modeling import (
    ImageEncoderViT,
    MaskDecoderHQ,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from segment_anything_hq.utils.transforms import ResizeLongestSide
from torch import Tensor

# Bounds memory: at 1,024 pixels the decoder holds tens of megabytes for each box.
_BOXES_AT_ONCE = 64
_PIXEL_MEAN, _PIXEL_DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


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
        pixel_mean=list(_PIXEL_MEAN),
        pixel_std=list(_PIXEL_DEVIATION),
    )


def load_sam_hq(model_type: str | Path, checkpoint_path: Path, *, device: str = "cpu") -> Sam:
    """Load a published SAM-HQ by its type, or one of any size by its config file.

    Args:
        model_type: `vit_h`, `vit_l`, `vit_b` or `vit_tiny`, or a JSON file for `build_sam_hq`.
        checkpoint_path: Weights, `.pth` or `.safetensors`.
        device: Where to put the model.

    Raises:
        ValueError: If the checkpoint lacks weights of the model, or the type is not known.
    """
    if isinstance(model_type, Path):
        model = build_sam_hq(json.loads(model_type.read_text()))
    elif model_type in sam_model_registry:
        model = sam_model_registry[model_type]()
    else:
        raise ValueError(f"SAM-HQ has no type {model_type!r}, but {sorted(sam_model_registry)}")
    if checkpoint_path.suffix == ".safetensors":
        state = load_file(checkpoint_path)
    else:
        state = torch.load(checkpoint_path, map_location="cpu", weights_only=True)
    missing = model.load_state_dict(state, strict=False).missing_keys
    if missing:
        raise ValueError(
            f"{checkpoint_path} lacks {len(missing)} weights of the model, for instance"
            f" {missing[0]}; it does not belong to {model_type}"
        )
    return model.to(device).eval()


def prepare_for_segmenter(model: Sam, image: Image.Image) -> UInt8[Tensor, "3 height width"]:
    """Resize an image so that its long side is what the encoder takes."""
    resize = ResizeLongestSide(model.image_encoder.img_size)
    pixels = resize.apply_image(np.asarray(image.convert("RGB")))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def segment_boxes(
    model: Sam, image: Image.Image, boxes_xyxy: Sequence[Sequence[float]]
) -> Bool[np.ndarray, "boxes height width"]:
    """One mask for each box; the image is encoded once for all of them.

    Args:
        model: A loaded SAM-HQ.
        image: The picture.
        boxes_xyxy: Left, top, right, bottom in pixels.
    """
    return segment_in_pixels(model, prepare_for_segmenter(model, image), image.size, boxes_xyxy)


@torch.inference_mode()
def segment_in_pixels(
    model: Sam,
    pixels: UInt8[Tensor, "3 _ _"],
    size: tuple[int, int],
    boxes_xyxy: Sequence[Sequence[float]],
) -> Bool[np.ndarray, "boxes height width"]:
    """One mask for each box of an image that `prepare_for_segmenter` has prepared.

    Args:
        model: A loaded SAM-HQ.
        pixels: The prepared image.
        size: Width and height of the image before that.
        boxes_xyxy: Left, top, right, bottom in pixels of the image before that.
    """
    width, height = size
    if not boxes_xyxy:
        return np.zeros((0, height, width), dtype=bool)
    predictor = SamPredictor(model)
    predictor.set_torch_image(pixels[None].to(predictor.device), (height, width))
    boxes = torch.tensor(boxes_xyxy, dtype=torch.float32, device=predictor.device)
    boxes = predictor.transform.apply_boxes_torch(boxes, (height, width))
    masks = [
        predictor.predict_torch(
            point_coords=None, point_labels=None, boxes=some, multimask_output=False
        )[0][:, 0].cpu()
        for some in boxes.split(_BOXES_AT_ONCE)
    ]
    return torch.cat(masks).numpy()
