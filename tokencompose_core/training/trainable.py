"""Which weights of a UNet are trained, and how they are saved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import nn

Trainable = Literal["unet", "cross_attention_keys", "cross_attention_keys_values", "lora"]
_LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


def choose_trainable(
    unet: UNet2DConditionModel, kind: Trainable, *, lora_rank: int, seed: int
) -> dict[str, nn.Parameter]:
    """Freeze what is not trained; add LoRA layers if they are what is.

    Args:
        unet: The network.
        kind: All weights; keys, or keys and values, of all cross-attention; or LoRA layers at all
            projections of all attention (arXiv:2106.09685).
        lora_rank: Rank of the LoRA layers, whose scale is 1.
        seed: Seed of their initial weights.

    Returns:
        The trained parameters by name.

    Raises:
        ValueError: If there is no such kind, or no such weight.
    """
    unet.requires_grad_(False)
    match kind:
        case "unet":
            unet.requires_grad_(True)
        case "cross_attention_keys":
            _unfreeze(unet, lambda name: ".attn2.to_k." in name)
        case "cross_attention_keys_values":
            _unfreeze(unet, lambda name: ".attn2.to_k." in name or ".attn2.to_v." in name)
        case "lora":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                unet.add_adapter(
                    LoraConfig(
                        r=lora_rank,
                        lora_alpha=lora_rank,
                        init_lora_weights="gaussian",
                        target_modules=list(_LORA_TARGETS),
                    )
                )
        case _:
            raise ValueError(f"there is no trainable {kind!r}")
    chosen = {name: p for name, p in unet.named_parameters() if p.requires_grad}
    if not chosen:
        raise ValueError(f"the UNet has no weights that are {kind}")
    return chosen


def _unfreeze(unet: UNet2DConditionModel, wanted: Callable[[str], bool]) -> None:
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(wanted(name))


def save_model(
    pipeline: DiffusionPipeline, kind: Trainable, folder: Path, lora_folder: Path
) -> None:
    """Write what the ecosystem loads.

    A folder for `DiffusionPipeline.from_pretrained`, always. If LoRA layers were trained, a file
    for the pipeline's `load_lora_weights` too; in the folder they are merged.

    Args:
        pipeline: The pipeline of the trained UNet, which loses its LoRA layers.
        kind: What was trained.
        folder: Where to write the whole model.
        lora_folder: Where to write the LoRA layers.
    """
    if kind == "lora":
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipeline.unet))
        pipeline.save_lora_weights(lora_folder, unet_lora_layers=layers)
        pipeline.unet.fuse_lora()
        pipeline.unet.unload_lora()
    pipeline.save_pretrained(folder)
    # Where the base model lay is nobody else's business, and decides nothing.
    for path in [folder / "model_index.json", *folder.glob("*/config.json")]:
        values = json.loads(path.read_text("utf-8"))
        if values.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", "utf-8")
