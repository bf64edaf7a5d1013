"""Write a SAM-HQ of segment-anything-hq as transformers reads it."""

import re
from pathlib import Path

from segment_anything_hq.modeling import ImageEncoderViT, Sam
from transformers import SamHQConfig, SamHQModel

from tokencompose_core.masking.sam_hq import load_sam_hq

# Patterns and what takes their place, one after the other.
_NAMES = [
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.blocks\.", ".layers."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"\.norm(\d|_final_attn)\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.hf_token\.", ".hq_token."),
    (r"\.hf_mlp\.", ".hq_mask_mlp."),
    (r"(_mlps\.\d|_mlp|_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(_mlps\.\d|_mlp|_head)\.layers\.1\.", r"\1.layers.0."),
    (r"(_mlps\.\d|_mlp|_head)\.layers\.2\.", r"\1.proj_out."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"\.compress_vit_feat\.", ".compress_vit_"),
    (r"\.embedding_encoder\.", ".encoder_"),
    (r"\.embedding_maskfeature\.", ".mask_"),
    (r"\.(compress_vit|encoder|mask)_0\.", r".\1_conv1."),
    (r"\.(compress_vit|encoder|mask)_1\.", r".\1_norm."),
    (r"\.(compress_vit|encoder|mask)_3\.", r".\1_conv2."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.point_embeddings\.", ".point_embed."),
    (
        r"\.pe_layer\.positional_encoding_gaussian_matrix$",
        ".shared_embedding.positional_embedding",
    ),
]
_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"


def convert_sam_hq(model_type: str | Path, checkpoint_path: Path, folder: Path) -> None:
    """Write a checkpoint of segment-anything-hq as a folder for transformers' `from_pretrained`.

    Args:
        model_type: See `load_sam_hq`, as for the checkpoint.
        checkpoint_path: Weights, `.pth` or `.safetensors`.
        folder: Where to write config and weights.

    Raises:
        ValueError: If transformers has no such model; it lacks `vit_tiny`.
    """
    source = load_sam_hq(model_type, checkpoint_path).model
    if not isinstance(source.image_encoder, ImageEncoderViT):
        raise ValueError(f"transformers has no SAM-HQ of type {model_type!r}, only plain ViTs")
    state = {}
    for name, tensor in source.state_dict().items():
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
        state[name] = tensor
    state["shared_image_embedding.positional_embedding"] = state[_POSITIONS]
    model = SamHQModel(_config(source))
    model.load_state_dict(state)
    model.save_pretrained(folder)


def _config(source: Sam) -> SamHQConfig:
    encoder, decoder, prompts = source.image_encoder, source.mask_decoder, source.prompt_encoder
    blocks, width = encoder.blocks, prompts.embed_dim
    patch_size = encoder.patch_embed.proj.kernel_size[0]
    first = decoder.transformer.layers[0]
    return SamHQConfig(
        vision_config={
            "hidden_size": encoder.pos_embed.shape[-1],
            "output_channels": width,
            "num_hidden_layers": len(blocks),
            "num_attention_heads": blocks[0].attn.num_heads,
            "image_size": encoder.img_size,
            "patch_size": patch_size,
            "window_size": max(block.window_size for block in blocks),
            "global_attn_indexes": [i for i, block in enumerate(blocks) if not block.window_size],
            "num_pos_feats": width // 2,
            "mlp_dim": blocks[0].mlp.lin1.out_features,
        },
        prompt_encoder_config={
            "hidden_size": width,
            "image_size": encoder.img_size,
            "patch_size": patch_size,
        },
        mask_decoder_config={
            "hidden_size": width,
            "mlp_dim": first.mlp.lin1.out_features,
            "num_hidden_layers": len(decoder.transformer.layers),
            "num_attention_heads": first.self_attn.num_heads,
            "iou_head_hidden_dim": decoder.iou_prediction_head.layers[0].out_features,
            "vit_dim": encoder.pos_embed.shape[-1],
            # Transformers' own default, 1e-6, is not what SAM was trained with.
            "layer_norm_eps": first.norm1.eps,
        },
    )
