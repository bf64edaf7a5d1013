"""Count what goes through the models of `curate`, from the outside."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_module_registration_hook,
)

BUILT = "modules built"


@contextmanager
def count_model_calls() -> Iterator[Counter[str]]:
    """Images and captions that models see while the context lasts, by model, and modules built.

    PyTorch calls the hooks for every module, in whatever thread. flair calls
    `SequenceTagger.forward` past its hook, so captions are counted in the first layer of it.
    """
    # Here, so that tests which count nothing need not wait for the libraries.
    from flair.nn import WordDropout
    from groundingdino.models.GroundingDINO.groundingdino import GroundingDINO
    from open_clip.transformer import VisionTransformer
    from segment_anything_hq.modeling import ImageEncoderViT

    calls: Counter[str] = Counter()

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        match module:
            case VisionTransformer():
                calls["clip"] += len(inputs[0])
            case WordDropout():
                calls["tagger"] += len(inputs[0])
            case GroundingDINO():
                calls["grounding_dino"] += len(inputs[0])
            case ImageEncoderViT():
                calls["sam_hq"] += len(inputs[0])

    def count_built(module: nn.Module, name: str, submodule: nn.Module | None) -> None:
        calls[BUILT] += 1

    hooks = [
        register_module_forward_hook(count),
        register_module_module_registration_hook(count_built),
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()
