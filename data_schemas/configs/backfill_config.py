"""Parameter of the flow `backfill`: which registered caption sets are curated again."""

from datetime import date
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from data_schemas.configs.flow_config import Settings


class BackfillConfig(Settings):
    """Registered sets by name and day, and what is different this time."""

    caption_sets: Annotated[
        str, Field(description="Names of the sets; * and ? stand for any characters.")
    ] = "*"
    since: Annotated[date | None, Field(description="First day of registration (UTC).")] = None
    until: Annotated[date | None, Field(description="Last day of registration (UTC).")] = None
    profile: Annotated[
        str, Field(description="Of the sets that were registered for this profile.")
    ] = "pocket"
    changes: Annotated[
        dict[str, Any],
        Field(
            default_factory=dict,
            description='Settings of curate that differ: {"mask": {"box_threshold": 0.3}}.',
        ),
    ]

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.since and self.until and self.since > self.until:
            raise ValueError(f"since {self.since} is later than until {self.until}")
        return self
