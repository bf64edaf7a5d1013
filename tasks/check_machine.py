"""Refuse, before anything is computed, what this machine cannot do or does not have."""

from importlib.util import find_spec

from data_schemas.configs.finetune_config import FinetuneConfig
from tasks.devices import resolve_device
from tasks.task_runner import ONE_AT_A_TIME, TASK_RUNNER
from tokencompose_core.checkpoints.hub_access import require_in_reach


def check_machine(config: FinetuneConfig) -> None:
    """Look for the base model, the packages and the GPUs that a fine-tuning needs.

    Raises:
        FileNotFoundError: If the base model is not there, and no hub may be asked for it.
        ValueError: Naming the field, what is missing, and the remedy.
    """
    require_in_reach(
        "finetune.base_model", config.base_model, "model_index.json", config.base_revision
    )
    needed = [("finetune.trackers", str(name)) for name in config.trackers]
    if config.optimizer == "adamw_8bit":
        needed.append(("finetune.optimizer", "bitsandbytes"))
    for field, package in needed:
        if find_spec(package) is None:
            raise ValueError(
                f"{field} needs {package}, which is not installed; pip install {package}, or choose"
                " another"
            )
    if config.device == "cuda" and TASK_RUNNER is ONE_AT_A_TIME:  # elsewhere is another machine
        resolve_device(config.device)
    if config.mixed_precision != "fp16" and config.num_processes == 1:
        return
    import torch

    from tokencompose_core.training.processes import check_precision

    device = resolve_device(config.device)
    check_precision(device, config.mixed_precision)
    if device == "cuda" and config.num_processes > torch.cuda.device_count():
        raise ValueError(
            f"finetune.num_processes is {config.num_processes}, and this machine has"
            f" {torch.cuda.device_count()} GPUs; lower it"
        )
