"""Which prompts a model has met in training."""

import re
import unicodedata
from collections.abc import Iterable, Sequence


def normalise_text(text: str) -> str:
    """A text without what captions of one meaning differ in: case, punctuation and spaces."""
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def find_seen(prompts: Sequence[str], captions: Iterable[str]) -> list[str]:
    """Those prompts that are among the captions, in their order."""
    wanted = {normalise_text(prompt) for prompt in prompts} - {""}
    met = {text for caption in captions if (text := normalise_text(caption)) in wanted}
    return [prompt for prompt in prompts if normalise_text(prompt) in met]
