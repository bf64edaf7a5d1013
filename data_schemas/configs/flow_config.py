"""What all configs share: frozen, strict, and completed from a profile."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_schemas.profiles import load_profile, merge_values

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    Field(description="Where models compute; auto takes a GPU if there is one."),
]


def _without_required(schema: dict[str, Any]) -> None:
    schema.pop("required", None)


class Settings(BaseModel):
    """A part of a config: frozen, and a misspelt field is refused."""

    # The profile fills in what is left out, so neither the form in the Prefect UI nor the server
    # may ask for it.
    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_without_required)


class FlowConfig(Settings):
    """A flow's parameter: the values of a profile, with any of them replaced.

    `{"profile": "paper"}` is a complete config, and `{"mask": {"box_threshold": 0.3}}` is the
    pocket profile with another threshold.

    Attributes:
        profile: A profile that comes with the project, or the path of a TOML file.
    """

    section: ClassVar[str]

    profile: str = "pocket"

    @classmethod
    def load(cls, profile: str = "pocket", **changes: Any) -> Self:
        """The values of a profile, with some of them replaced."""
        return cls.model_validate({"profile": profile, **changes})

    @model_validator(mode="before")
    @classmethod
    def _complete_from_profile(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        profile = values.get("profile", "pocket")
        if not isinstance(profile, str):
            return values
        fields = cls.model_fields.items()
        needed = [name for name, own in fields if own.is_required() and name not in values]
        return merge_values(load_profile(profile, cls.section, needed), values)
