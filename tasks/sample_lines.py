"""What became of a sample, in a few lines of text for the command line."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from data_schemas.rejections import describe_reason
from tasks.markdown import visible_text

if TYPE_CHECKING:
    from tokencompose_core.reports.sample_story import SampleStory

_MOST_PHRASES = 8


def sample_lines(story: "SampleStory") -> list[str]:
    """Why it was left out, its caption with the CLIP score, and its phrases.

    A phrase has its best score and box, or the reason why it has none.
    """
    lines = [*_why(story), *_caption(story)]
    phrases = list(_phrases(story))
    lines += [f"phrase   {one}" for one in phrases[:_MOST_PHRASES]]
    more = len(phrases) - _MOST_PHRASES
    return [*lines, f"         and {more} more"] if more > 0 else lines


def _why(story: "SampleStory") -> Iterator[str]:
    lost = story.lost
    if lost is not None:
        yield f"why      {describe_reason(lost.reason)}"
        caption = story.ranked.caption if story.ranked is not None else ""
        if lost.detail not in ("", caption):  # the caption has a line of its own
            yield f"         {visible_text(lost.detail)}"


def _caption(story: "SampleStory") -> Iterator[str]:
    if story.ranked is not None:
        scores = dict(zip(story.ranked.captions, story.ranked.scores, strict=True))
        chosen = story.ranked.caption
        number = f", of {len(scores)}" if len(scores) > 1 else ""
        yield f"caption  {visible_text(chosen)}  CLIP score {scores[chosen]:.3f}{number}"
    elif story.selected is not None:
        yield from (f"caption  {visible_text(text)}" for text in story.selected.captions[:1])


def _phrases(story: "SampleStory") -> Iterator[str]:
    why = {r.detail: str(r.reason) for r in story.rejections if r is not story.lost}
    found = story.indexed.phrases if story.indexed is not None else []
    for phrase in found:
        if phrase.mask is not None:
            score = "" if phrase.score is None else f"  score {phrase.score:.3f}"
            box = ", ".join(f"{side:.0f}" for side in phrase.boxes[0]) if phrase.boxes else ""
            yield f"{visible_text(phrase.text)}{score}" + (f"  box {box}" if box else "")
    named = [phrase.text for phrase in found if phrase.mask is None]
    if not found and story.parsed is not None:
        named = [phrase.text for phrase in story.parsed.phrases]
    for text in dict.fromkeys([*named, *why]):
        yield f"{visible_text(text)}  {why.get(text, 'no mask')}"
