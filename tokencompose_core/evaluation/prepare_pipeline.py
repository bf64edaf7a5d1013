"""Make a loaded pipeline fast: layout of memory, digits, compilation, and LoRA layers merged."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from tokencompose_core.checkpoints.read_weights import read_weights

if TYPE_CHECKING:  # a run that finds all its outputs only checks settings here
    from diffusers import DiffusionPipeline

Precision = Literal["float32", "bfloat16", "float16"]
_LORA_FILE = "pytorch_lora_weights.safetensors"


def check_precision(device: str, precision: Precision) -> None:
    """Refuse a precision that a device does not sample in.

    Raises:
        ValueError: Naming the setting and what to take instead.
    """
    if precision == "float16" and device == "cpu":
        raise ValueError("sampler.precision: float16 needs a GPU; take bfloat16 or float32")
    if precision == "bfloat16" and device == "cuda" and not torch.cuda.is_bf16_supported(False):
        raise ValueError("sampler.precision: this GPU has no bfloat16; take float16 or float32")


def prepare_pipeline(
    pipeline: "DiffusionPipeline", *, precision: Precision, compile_unet: bool = False
) -> "DiffusionPipeline":
    """Lay out UNet and VAE for convolutions, and have all networks compute in a precision.

    Latents, guidance and the sampler's sums stay in float32, whatever the UNet computes in:
    guidance multiplies the difference of two nearly equal predictions, and PNDM adds up 50 steps.

    Args:
        pipeline: A loaded Stable Diffusion; it is changed.
        precision: Digits of weights and activations.
        compile_unet: Compile the UNet at its first call, once for each size of a batch.
    """
    from diffusers import StableDiffusionXLPipeline

    dtype = getattr(torch, precision)
    for network in pipeline.components.values():
        if isinstance(network, nn.Module):
            nn.Module.to(network, dtype)  # that of diffusers warns of layers which no model has
    if dtype == torch.float16 and isinstance(pipeline, StableDiffusionXLPipeline):
        pipeline.vae.to(torch.float32)  # it overflows in float16
    for network in (pipeline.unet, pipeline.vae):
        network.to(memory_format=torch.channels_last)
    if dtype != torch.float32:
        pipeline.unet.register_forward_pre_hook(_to_weights, with_kwargs=True)
        pipeline.unet.register_forward_hook(_to_float32)
    if compile_unet:
        pipeline.unet.compile(dynamic=False)
    return pipeline


def _to_weights(
    unet: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (inputs[0].to(unet.dtype), *inputs[1:]), keywords


def _to_float32(unet: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    return (output[0].float(), *output[1:]) if isinstance(output, tuple) else output


def find_lora(path: Path) -> Path:
    """The file with LoRA layers that a path means: itself, or the one in the folder.

    Raises:
        ValueError: If there is none, or none that stands out.
    """
    if path.is_file():
        return path
    files = sorted(path.glob("*.safetensors"))
    named = [file for file in files if file.name == _LORA_FILE] or files
    if len(named) != 1:
        raise ValueError(
            f"lora: {path} holds {len(files)} .safetensors files; name one of them, or a folder"
            f" with {_LORA_FILE}"
        )
    return named[0]


def add_lora(pipeline: "DiffusionPipeline", path: Path) -> None:
    """Add LoRA layers to the weights, so that sampling takes no longer than without.

    Args:
        pipeline: A loaded Stable Diffusion; it is changed.
        path: A file that the pipeline's `load_lora_weights` takes, or a folder with one.

    Raises:
        ValueError: If it holds no LoRA layers of this model, or more than weights.
    """
    file = find_lora(path)
    read_weights(file)  # says what is wrong with it; diffusers reads it with the same caution
    try:
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"lora: {file} does not fit the model: {error}") from error
    if not pipeline.get_active_adapters():
        raise ValueError(f"lora: {file} has no layer of this model's UNet or text encoder")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
