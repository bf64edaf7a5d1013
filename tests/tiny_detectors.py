"""A tiny OWL-ViT with random weights, alike to the real one in all but size."""

from pathlib import Path

import torch
from transformers import (
    CLIPTokenizerFast,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessor,
    OwlViTProcessor,
)

from tests.conftest import MODELS

SIDE = 48


def write_owlvit(folder: Path) -> Path:
    """Write a model of 6 x 6 patches with its processor, and return its folder."""
    config = OwlViTConfig(
        text_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 8,
        },
        projection_dim=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = OwlViTForObjectDetection(config)
        # Scores on both sides of the floor, so that it has something to leave out.
        torch.nn.init.constant_(model.class_head.logit_shift.bias, -1.2)
        torch.nn.init.constant_(model.class_head.logit_scale.bias, 4.0)
        torch.nn.init.normal_(model.class_head.dense0.weight)
    model.save_pretrained(folder)
    OwlViTProcessor(
        image_processor=OwlViTImageProcessor(size={"height": SIDE, "width": SIDE}),
        tokenizer=CLIPTokenizerFast.from_pretrained(MODELS / "owlv2"),
    ).save_pretrained(folder)
    return folder
