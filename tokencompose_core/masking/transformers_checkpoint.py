"""Load a model of transformers, or say what is wrong with it."""

from typing import Any

import torch
from transformers import AutoConfig

from tokencompose_core.checkpoints.check_folder import check_folder


def check_model_type(name: str, model_type: str, *, revision: str = "") -> None:
    """Look at a model's config alone.

    Args:
        name: Folder or hub name.
        model_type: As transformers names it, for instance `sam_hq`.
        revision: Of the hub's repository; empty: the newest.

    Raises:
        ValueError: If it is of another type, or its folder holds code or links out of it.
    """
    check_folder(name)
    found = AutoConfig.from_pretrained(
        name, revision=revision or None, trust_remote_code=False
    ).model_type
    if found != model_type:
        raise ValueError(f"{name} is a model of type {found!r}, but {model_type!r} is needed")


def load_whole(kind: Any, name: str, *, revision: str = "") -> Any:
    """Load a model all of whose weights are there; transformers itself would invent the rest.

    Args:
        kind: The model's class.
        name: Folder or hub name.
        revision: Of the hub's repository; empty: the newest.

    Raises:
        ValueError: If weights are missing or have other shapes, or there is more than weights.
    """
    check_folder(name)
    model, found = kind.from_pretrained(
        name, revision=revision or None, dtype=torch.float32, output_loading_info=True
    )
    missing = [*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])]
    if missing:
        raise ValueError(
            f"{name} lacks {len(missing)} weights of the model, for instance {missing[0]}"
        )
    return model
