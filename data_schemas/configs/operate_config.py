"""Parameters of the flows that look after a store."""

from typing import Annotated

from pydantic import Field

from data_schemas.configs.flow_config import Settings


class GcConfig(Settings):
    """What is removed from a store."""

    older_than_days: Annotated[
        int,
        Field(
            ge=1,
            description="Outputs that were made, or asked for by a run, within so many days are"
            " kept, with everything that they were made from. More than the longest run takes.",
        ),
    ] = 30
    keep_stages: Annotated[
        tuple[str, ...],
        Field(description="Stages whose outputs are kept, with everything they were made from."),
    ] = ("finetune", "train", "register")
    keep: Annotated[
        tuple[str, ...], Field(description="Keys that are kept, with what they were made from.")
    ] = ()
    delete: Annotated[
        bool, Field(description="Remove; otherwise say only what would be removed.")
    ] = False


class VerifyConfig(Settings):
    """How closely a store is looked at."""

    deep: Annotated[
        bool, Field(description="Read every file and compare its digest, not only its size.")
    ] = False


class LineageConfig(Settings):
    """An output whose origin is asked for."""

    key: Annotated[
        str, Field(min_length=1, description="Its key in the store, or the beginning of it.")
    ]
