"""What the commands `evaluate` and `compare` take as JSON: models, and how they are evaluated."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from data_schemas.configs.evaluate_config import EvaluateConfig
from tasks.model_under_test import ModelUnderTest


class _Chosen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    config: EvaluateConfig

    @classmethod
    def load(cls, values: Mapping[str, Any]) -> Self:
        """Check the values of a command line, whose profile is that of the config."""
        config = values.get("config", {})
        if isinstance(config, Mapping):
            config = {"profile": values["profile"], **config}
        own = {name: value for name, value in values.items() if name != "profile"}
        return cls.model_validate({**own, "config": config})


class ChosenModels(_Chosen):
    """Parameters of `evaluate`."""

    models: Annotated[list[ModelUnderTest], Field(min_length=1)]


class TwoModels(_Chosen):
    """Parameters of `compare`."""

    a: ModelUnderTest
    b: ModelUnderTest
