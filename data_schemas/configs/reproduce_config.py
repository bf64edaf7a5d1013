"""Parameter of the flow `reproduce`: curate, fine-tune, evaluate."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.configs.flow_config import FlowConfig


class ReproduceConfig(FlowConfig):
    """The whole paper in one run."""

    section: ClassVar[str] = "reproduce"

    denoising_baseline: Annotated[
        bool, Field(description="Also fine-tune on the denoising loss alone, for as many steps.")
    ]
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

    @model_validator(mode="after")
    def _report_has_scores(self) -> Self:
        if "multigen" not in self.evaluate.benchmarks:
            raise ValueError(
                "evaluate.benchmarks lacks multigen, by which the report compares models"
            )
        return self
