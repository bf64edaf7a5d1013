"""Prompts of Grounding DINO: phrases joined by full stops, and where each one stands."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

Prompting = Literal["caption", "phrase"]


def phrase_in_prompt(phrase: str) -> str:
    """Write a phrase as it stands in a prompt: lower case, single spaces.

    Full stops and question marks become spaces, since they end a phrase for Grounding DINO.
    """
    return " ".join(phrase.lower().replace(".", " ").replace("?", " ").split())


def build_prompt(phrases: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Join phrases as Grounding DINO reads them, and say where each one stands.

    Returns:
        The prompt ("cat . wine glass .") and for each phrase its character span in the prompt.
        Phrases that are equal as `phrase_in_prompt` writes them share one span.
    """
    prompt = ""
    spans: dict[str, tuple[int, int]] = {}
    result = []
    for phrase in phrases:
        text = phrase_in_prompt(phrase)
        if text not in spans:
            spans[text] = (len(prompt), len(prompt) + len(text))
            prompt += f"{text} . "
        result.append(spans[text])
    return prompt.strip(), result


def split_phrases(
    tokenizer, phrases: Sequence[str], max_tokens: int, prompting: Prompting = "caption"
) -> list[list[int]]:
    """Share phrases out over as few prompts as hold them.

    Of phrases that are equal in a prompt only the first is taken. Phrases of which the tokenizer
    leaves nothing (an ellipsis, a control character) stand in no prompt. A phrase that alone is
    too long gets a prompt of its own, of which the model reads the first `max_tokens`.

    Args:
        tokenizer: The text encoder's.
        phrases: What to look for, in the order of the prompts.
        max_tokens: Tokens that the text encoder holds.
        prompting: `caption` puts as many phrases in a prompt as fit, `phrase` one.

    Returns:
        For each prompt the indices of its phrases.
    """
    first: dict[str, int] = {}
    for index, phrase in enumerate(phrases):
        first.setdefault(phrase_in_prompt(phrase), index)
    prompts: list[list[int]] = []
    room = 0
    for text, index in first.items():
        length = len(tokenizer(text, add_special_tokens=False).input_ids)
        if length == 0:
            continue
        if prompting == "phrase" or length + 1 > room:
            prompts.append([])
            room = max_tokens - 2  # the tokens that begin and end every prompt
        prompts[-1].append(index)
        room -= length + 1  # and a full stop
    return prompts


def phrase_token_masks(
    tokenizer, prompt: str, spans: Sequence[tuple[int, int]], num_tokens: int
) -> Bool[Tensor, "phrases tokens"]:
    """Which tokens of the prompt belong to each phrase, from character offsets."""
    offsets = tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]
    masks = torch.zeros(len(spans), num_tokens, dtype=torch.bool)
    for index, (start, end) in enumerate(spans):
        for token, (left, right) in enumerate(offsets[:num_tokens]):
            masks[index, token] = right > left and left < end and right > start
    return masks
