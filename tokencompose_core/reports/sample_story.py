"""What became of a sample, stage by stage."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data_schemas.records import (
    GroundedCaption,
    IndexedCaption,
    ParsedCaption,
    RankedImage,
    SelectedImage,
)
from data_schemas.rejections import PHRASE_REASONS, Rejection
from tokencompose_core.store.tables import read_rows_of

Tables = Iterable[tuple[str, Path]]
"""Tables of a stage, each with the key of the output that holds it."""


@dataclass
class SampleStory:
    """What the stages have of a sample, as far as it came.

    Attributes:
        key: Its key.
        selected, ranked, parsed, grounded, indexed: Its rows.
        rejections: What was left out, the sample or phrases of it.
        outputs: Keys of the outputs that hold it, by stage.
    """

    key: str
    selected: SelectedImage | None = None
    ranked: RankedImage | None = None
    parsed: ParsedCaption | None = None
    grounded: GroundedCaption | None = None
    indexed: IndexedCaption | None = None
    rejections: list[Rejection] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def lost(self) -> Rejection | None:
        """Why the whole sample was left out; None if it is in the data set."""
        if self.indexed is not None:
            return None
        whole = [found for found in self.rejections if found.reason not in PHRASE_REASONS]
        return whole[0] if whole else None

    @property
    def image_path(self) -> str:
        """Where its image lies below the image root; empty if it was not selected."""
        return self.selected.image_path if self.selected is not None else ""


def tell_stories(
    keys: Collection[str], tables: Mapping[str, Tables], rejections: Tables
) -> dict[str, SampleStory]:
    """Gather what the stages say of some samples.

    Args:
        keys: Keys of the samples.
        tables: Tables by stage: `select`, `rank`, `parse`, `mask` or `import`, `shard`.
        rejections: Tables of what was left out.

    Returns:
        The stories by their keys, in the order of `keys`.
    """
    stories = {key: SampleStory(key) for key in keys}
    for stage, own in tables.items():
        for output, path in own:
            for row in read_rows_of(path, keys):
                story = stories[row["key"]]
                story.outputs[stage] = output
                match stage:
                    case "select":
                        story.selected = SelectedImage.model_validate(row)
                    case "rank":
                        story.ranked = RankedImage.model_validate(row)
                    case "parse":
                        story.parsed = ParsedCaption.model_validate(row)
                    case "mask" | "import":
                        story.grounded = GroundedCaption.model_validate(row)
                    case "shard":
                        story.indexed = IndexedCaption.model_validate(row)
    for output, path in rejections:
        for row in read_rows_of(path, keys):
            rejection = Rejection.model_validate(row)
            stories[row["key"]].rejections.append(rejection)
            stories[row["key"]].outputs.setdefault(rejection.stage, output)
    return stories
