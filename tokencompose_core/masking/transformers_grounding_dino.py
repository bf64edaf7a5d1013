"""Grounding DINO (arXiv:2303.05499) through transformers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoTokenizer, GroundingDinoForObjectDetection

from tokencompose_core.masking.transformers_checkpoint import check_model_type, load_whole

# Transformers finds the ends of phrases by these ids, those of bert-base-uncased, and by no other.
PHRASE_ENDS = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}


@dataclass(frozen=True, eq=False)
class TransformersGroundingDino:
    """The model and its tokenizer, as `Detector` wants them."""

    model: GroundingDinoForObjectDetection
    tokenizer: Any

    @property
    def max_text_len(self) -> int:
        """Tokens of a prompt that the text encoder reads."""
        return self.model.config.max_text_len

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    def detect(
        self, pixels: Float[Tensor, "batch 3 height width"], prompts: Sequence[str]
    ) -> tuple[Float[Tensor, "batch queries tokens"], Float[Tensor, "batch queries 4"]]:
        """See `Detector`."""
        tokens = self.tokenizer(list(prompts), padding="longest", return_tensors="pt")
        # The model cuts long prompts itself, after it has found where phrases end, but forgets
        # this mask of theirs.
        tokens["attention_mask"] = tokens["attention_mask"][:, : self.max_text_len]
        output = self.model(pixel_values=pixels.to(self.device), **tokens.to(self.device))
        return output.logits.float().sigmoid().cpu(), output.pred_boxes.float().cpu()


def load_transformers_grounding_dino(
    name: str, *, revision: str = "", device: str = "cpu"
) -> TransformersGroundingDino:
    """Load a model from a folder or a hub, with the tokenizer beside it.

    Args:
        name: Folder or hub name, for instance `IDEA-Research/grounding-dino-tiny`.
        revision: Of the hub's repository; empty: the newest.
        device: Where to put the model.

    Raises:
        ValueError: If it is another kind of model, lacks weights, or has a tokenizer whose phrases
            transformers cannot tell apart.
    """
    check_model_type(name, "grounding-dino", revision=revision)
    tokenizer = AutoTokenizer.from_pretrained(
        name, revision=revision or None, trust_remote_code=False
    )
    ids = dict(zip(PHRASE_ENDS, tokenizer.convert_tokens_to_ids(list(PHRASE_ENDS)), strict=True))
    if ids != PHRASE_ENDS:
        raise ValueError(
            f"{name}: transformers finds the ends of phrases by the token ids {PHRASE_ENDS}, but"
            f" this tokenizer has {ids}; convert the model with convert_grounding_dino"
        )
    model = load_whole(GroundingDinoForObjectDetection, name, revision=revision)
    return TransformersGroundingDino(model.to(device).eval(), tokenizer)
