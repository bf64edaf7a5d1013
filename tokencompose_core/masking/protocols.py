"""What the stage asks of its two models, whichever package they come from."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor


class Detector(Protocol):
    """A Grounding DINO with its tokenizer. Prompts, assignment and suppression are ours."""

    @property
    def tokenizer(self) -> Any:
        """The text encoder's, a fast one of transformers."""

    @property
    def max_text_len(self) -> int:
        """Tokens of a prompt that the text encoder reads."""

    @property
    def device(self) -> torch.device:
        """Where the model computes."""

    def detect(
        self, pixels: Float[Tensor, "batch 3 height width"], prompts: Sequence[str]
    ) -> tuple[Float[Tensor, "batch queries tokens"], Float[Tensor, "batch queries 4"]]:
        """Answer each image's prompt.

        Args:
            pixels: Prepared images of one size, on any device.
            prompts: One for each image; of a long one the first `max_text_len` tokens are read.

        Returns:
            How much each box answers to each token, in [0, 1], and the boxes: centre, width and
            height as shares of the image. Both in float32 on the CPU.
        """


class Segmenter(Protocol):
    """A SAM-HQ. Resizing, chunks of boxes and the way back to the image's size are ours."""

    @property
    def image_size(self) -> int:
        """Side of the square that the image encoder takes, in pixels."""

    @property
    def device(self) -> torch.device:
        """Where the model computes."""

    def encode(self, pixels: Float[Tensor, "1 3 side side"]) -> Any:
        """Features of a normalised and padded image, for `decode` alone."""

    def decode(
        self, features: Any, boxes_xyxy: Float[Tensor, "boxes 4"]
    ) -> Float[Tensor, "boxes low low"]:
        """Logits of one mask for each box, at the decoder's resolution, on its device.

        Args:
            features: What `encode` gave.
            boxes_xyxy: Corners in pixels of the padded square.
        """
