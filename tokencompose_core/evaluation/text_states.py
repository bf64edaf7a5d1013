"""What the text encoders say of prompts, computed once for all images of them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

_LOGGER = logging.getLogger(__name__)
# Of a prompt, in a line of the log.
_SHOWN_CHARACTERS = 60
# A pipeline takes these in place of prompts; the pooled one is Stable Diffusion XL's alone.
_KEYWORDS = ("prompt_embeds", "pooled_prompt_embeds")


@dataclass(frozen=True)
class TextStates:
    """States of the text encoders by prompt.

    Attributes:
        of_prompt: For each prompt the states of its tokens, `(tokens, width)`, and of Stable
            Diffusion XL the pooled state, `(width,)`.
        of_nothing: The same for guidance: of the empty prompt, or zeros if the model wants them.
    """

    of_prompt: dict[str, tuple[Tensor, ...]]
    of_nothing: tuple[Tensor, ...]

    def keywords(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """What a pipeline's call takes for a batch of prompts."""
        keywords = {}
        for number, name in enumerate(_KEYWORDS[: len(self.of_nothing)]):
            keywords[name] = torch.stack([self.of_prompt[prompt][number] for prompt in prompts])
            nothing = self.of_nothing[number]
            keywords[f"negative_{name}"] = nothing.expand(len(prompts), *nothing.shape)
        return keywords


def encode_prompts(
    pipeline: DiffusionPipeline, prompts: Sequence[str], *, batch_size: int
) -> TextStates:
    """Encode each distinct prompt once, and the empty one.

    A warning says how many prompts are longer than a text encoder reads, which leaves out the rest.

    Args:
        pipeline: A loaded Stable Diffusion.
        prompts: In any order, with repetitions; at least one.
        batch_size: Prompts at once.
    """
    distinct = list(dict.fromkeys(prompts))
    _warn_of_cut(pipeline, distinct)
    of_prompt: dict[str, tuple[Tensor, ...]] = {}
    for start in range(0, len(distinct), batch_size):
        batch = distinct[start : start + batch_size]
        states = _encode(pipeline, batch, guidance=False)[::2]
        of_prompt.update(zip(batch, zip(*states, strict=True), strict=True))
    # A pipeline gives them beside the states of a prompt, which it need not encode again.
    known = dict(zip(_KEYWORDS, (state[None] for state in of_prompt[distinct[0]]), strict=False))
    of_nothing = _encode(pipeline, None, guidance=True, **known)[1::2]
    return TextStates(of_prompt, tuple(states[0] for states in of_nothing))


def _warn_of_cut(pipeline: DiffusionPipeline, prompts: Sequence[str]) -> None:
    """Say in one line what a pipeline says of each batch, with all the padding that it cuts off."""
    tokenizers = [getattr(pipeline, name, None) for name in ("tokenizer", "tokenizer_2")]
    limits = [(own, own.model_max_length) for own in tokenizers if own is not None]
    cut = [
        prompt
        for prompt in prompts
        if any(len(own(prompt, verbose=False).input_ids) > limit for own, limit in limits)
    ]
    if cut:
        _LOGGER.warning(
            "%d of %d prompts are longer than the text encoder reads, %d tokens with those at both"
            " ends; it does not read the rest. The first begins: %s",
            len(cut),
            len(prompts),
            min(limit for _, limit in limits),
            cut[0][:_SHOWN_CHARACTERS],
        )


def _encode(
    pipeline: DiffusionPipeline, prompts: list[str] | None, *, guidance: bool, **known: Tensor
) -> tuple[Tensor, ...]:
    """States and negative states, and of Stable Diffusion XL the pooled ones of both."""
    return pipeline.encode_prompt(
        prompts,
        device=pipeline.device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=guidance,
        **known,
    )
