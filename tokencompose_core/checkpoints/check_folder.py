"""Look at a model's folder before a library opens it: no code, no links that leave it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from tokencompose_core.checkpoints.check_file import refusal
from tokencompose_core.checkpoints.read_weights import NOT_WEIGHTS

_CONFIGS = frozenset(
    {
        "config.json",
        "model_index.json",
        "open_clip_config.json",
        "preprocessor_config.json",
        "processor_config.json",
        "scheduler_config.json",
        "tokenizer_config.json",
    }
)
# Entries by which a config has transformers, diffusers or open_clip import Python from its folder.
_CODE = frozenset({"auto_map", "custom_pipelines", "trust_remote_code"})
_PICKLES = frozenset({".bin", ".ckpt", ".pt", ".pth"})
# What trainers leave beside weights; no loader opens it.
_NEVER_OPENED = frozenset({"training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"})


def check_folder(model: str | Path) -> None:
    """Refuse a folder that would run code, or read files elsewhere, while it is loaded.

    A name of a hub is left to its library, which is told to run no code. Where there are weights
    in safetensors, those are loaded, and pickles beside them do not matter.

    Args:
        model: The folder of a model, or anything else, of which nothing is said.

    Raises:
        ValueError: Naming the file, what is wrong with it, and what to do.
    """
    folder = Path(model)
    if not folder.is_dir():
        return
    root = folder.resolve()
    if root.parent.name == "snapshots":  # a hub's cache, whose files are links to its blobs
        root = root.parents[1]
    for path in sorted(folder.rglob("*")):
        _check_place(path, root)
        if path.name in _CONFIGS:
            _check_config(path)
        elif path.suffix == ".safetensors":
            _check_safetensors(path)
        elif path.suffix in _PICKLES and path.name not in _NEVER_OPENED:
            _check_pickle(path)


def _check_place(path: Path, root: Path) -> None:
    try:
        inside = path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # links in a circle
        inside = False
    if not inside:
        raise ValueError(
            f"{path} is a link that leaves the model's folder; put the file itself in its place"
        )


def _check_config(path: Path) -> None:
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error})") from error
    for key, value in _entries(config):
        if key in _CODE and value:
            raise ValueError(
                f"{path} has {key!r}, which runs code that came with the model; if the model works"
                " without it, remove that entry"
            )


def _entries(config: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(config, dict):
        yield from config.items()
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from _entries(part)


def _check_safetensors(path: Path) -> None:
    try:
        with safe_open(path, framework="pt"):
            pass
    except NOT_WEIGHTS as error:
        raise ValueError(refusal(path, error)) from error


def _check_pickle(path: Path) -> None:
    if any(path.parent.glob("*.safetensors")):
        return
    try:
        unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except NOT_WEIGHTS:  # an older form, which its loader reads with the same caution
        return
    if unsafe:
        names = RuntimeError(f"GLOBAL {sorted(unsafe)[0]} was not an allowed global")
        raise ValueError(refusal(path, names))
