"""Generated images below each other: a row for each model, a column for each prompt."""

from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from data_schemas.evaluation_records import GeneratedImage, ScoredImage
from tasks.generate_images import IMAGES_NAME, INDEX_NAME
from tasks.stage import Input
from tokencompose_core.evaluation.changed_prompts import ChangedPrompt, largest_changes
from tokencompose_core.evaluation.image_tar import iterate_images
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.reports.page import Grid, Picture, data_url
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import read_table

if TYPE_CHECKING:
    from PIL.Image import Image

NUM_COLUMNS = 8
_NUM_CHANGED = 8
_SIDE = 192
Shown = tuple[Prompt, int]
"""A prompt and a round."""


def read_pictures(
    store: Store, parts: Sequence[Input], shown: Sequence[Shown]
) -> dict[str, "Image"]:
    """Images of some prompts and rounds by name; partitions without any are not opened."""
    wanted = {_name(prompt, number) for prompt, number in shown}
    pictures: dict[str, Image] = {}
    for part in parts:
        folder = part.path(store)
        own = wanted & {row.image for row in read_table(folder / INDEX_NAME, GeneratedImage)}
        if own:
            pictures |= iterate_images(folder / IMAGES_NAME, own)
    return pictures


def draw_grid(
    title: str,
    shown: Sequence[Shown],
    pictures: Mapping[str, Mapping[str, "Image"]],
    scored: Mapping[str, Sequence[ScoredImage]],
    changes: Sequence[ChangedPrompt] = (),
) -> Grid:
    """Set images of the same prompts and noise below each other.

    Args:
        title: Heading of the grid.
        shown: Prompts and rounds.
        pictures: Images of every model by name.
        scored: What was found in the images of every model, if they were looked at.
        changes: How the models differ on each, if that is why they are shown.
    """
    rows = []
    for label, own in pictures.items():
        judged = _judged(scored.get(label, []), shown)
        rows.append(
            (
                label,
                [
                    Picture(
                        url=_thumbnail(own[_name(prompt, number)]),
                        note=_describe(prompt, judged.get((prompt.prompt_id, number))),
                    )
                    for prompt, number in shown
                ],
            )
        )
    columns = [prompt.text for prompt, _ in shown]
    if changes:
        columns = [
            f"{text}\n{change.change:+.2g} categories"
            for text, change in zip(columns, changes, strict=True)
        ]
    notes = ["Categories an image, mean over rounds; shown is a round that differs most."]
    return Grid(title=title, columns=columns, rows=rows, notes=notes if changes else [])


def draw_changes(
    store: Store,
    prompts: Sequence[Prompt],
    generated: Mapping[str, Sequence[Input]],
    scored: Mapping[str, Sequence[ScoredImage]],
) -> list[Grid]:
    """Grids of the prompts on which the last model gains and loses most over the first."""
    labels = list(scored)
    first, last = labels[0], labels[-1]
    by_id = {prompt.prompt_id: prompt for prompt in prompts}
    gains, losses = largest_changes(scored[first], scored[last], _NUM_CHANGED)
    grids = []
    for name, changes in (("gains", gains), ("loses", losses)):
        if changes:
            shown = [(by_id[change.prompt_id], change.round) for change in changes]
            pictures = {n: read_pictures(store, parts, shown) for n, parts in generated.items()}
            grids.append(
                draw_grid(
                    f"Prompts on which {last} {name} most over {first}",
                    shown,
                    pictures,
                    scored,
                    changes,
                )
            )
    return grids


def _name(prompt: Prompt, number: int) -> str:
    return f"{prompt.prompt_id}_{number}"


def _judged(
    scored: Sequence[ScoredImage], shown: Sequence[Shown]
) -> dict[tuple[int, int], ScoredImage]:
    wanted: Collection[tuple[int, int]] = {(prompt.prompt_id, number) for prompt, number in shown}
    return {name: image for image in scored if (name := (image.prompt_id, image.round)) in wanted}


def _describe(prompt: Prompt, image: ScoredImage | None) -> str:
    """What was found in an image, in a few words."""
    if image is None:
        return ""
    if image.blanked:
        return "blanked"
    missing = [name for name in prompt.categories if name not in image.found]
    text = f"{image.num_found} of {len(prompt.categories)}"
    if missing:
        return f"{text}; no {', '.join(missing)}"
    if prompt.relation:
        return f"{text}; {'as asked' if image.related else 'not as asked'}"
    return text


def _thumbnail(image: "Image") -> str:
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE))
    stream = BytesIO()
    small.save(stream, "JPEG", quality=85)
    return data_url(stream.getvalue(), "jpeg")
