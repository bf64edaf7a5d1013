"""What flows share that curate, fine-tune and evaluate."""

from collections.abc import Mapping
from typing import Any

from pydantic import model_validator

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.configs.flow_config import FlowConfig


class WholeConfig(FlowConfig):
    """Configs of the three flows, which take the profile of the whole."""

    curate: CurateConfig
    finetune: FinetuneConfig
    evaluate: EvaluateConfig

    @model_validator(mode="before")
    @classmethod
    def _pass_profile_on(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        profile = values.get("profile", "pocket")
        parts = {
            name: {"profile": profile, **part}
            for name in ("curate", "finetune", "evaluate")
            if isinstance(part := values.get(name, {}), Mapping)
        }
        return {**values, **parts}
