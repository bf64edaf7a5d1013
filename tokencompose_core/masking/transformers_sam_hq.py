"""SAM-HQ (arXiv:2306.01567) through transformers."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import SamHQModel

from tokencompose_core.masking.transformers_checkpoint import check_model_type, load_whole


@dataclass(frozen=True, eq=False)
class TransformersSamHq:
    """The model, as `Segmenter` wants it."""

    model: SamHQModel

    @property
    def image_size(self) -> int:
        """Side of the square that the image encoder takes, in pixels."""
        return self.model.config.vision_config.image_size

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    def encode(self, pixels: Float[Tensor, "1 3 side side"]) -> Any:
        """See `Segmenter`."""
        return self.model.vision_encoder(pixels)

    def decode(
        self, features: Any, boxes_xyxy: Float[Tensor, "boxes 4"]
    ) -> Float[Tensor, "boxes low low"]:
        """See `Segmenter`."""
        # Half the digits would move the corners of boxes by pixels.
        with torch.autocast(self.device.type, enabled=False):
            corners, dense = self.model.get_prompt_embeddings(input_boxes=boxes_xyxy[None])
            places = self.model.get_image_wide_positional_embeddings()
        logits, _ = self.model.mask_decoder(
            image_embeddings=features.last_hidden_state,
            image_positional_embeddings=places,
            sparse_prompt_embeddings=corners,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            hq_token_only=False,
            intermediate_embeddings=features.intermediate_embeddings,
        )
        return logits[0, :, 0].float()


def load_transformers_sam_hq(
    name: str, *, revision: str = "", device: str = "cpu"
) -> TransformersSamHq:
    """Load a model from a folder or a hub.

    Args:
        name: Folder or hub name, for instance `syscv-community/sam-hq-vit-huge`.
        revision: Of the hub's repository; empty: the newest.
        device: Where to put the model.

    Raises:
        ValueError: If it is another kind of model or lacks weights.
    """
    check_model_type(name, "sam_hq", revision=revision)
    model = load_whole(SamHQModel, name, revision=revision).to(device).eval()
    enlarge_what_was_attended(model)
    return TransformersSamHq(model)


def enlarge_what_was_attended(model: SamHQModel) -> None:
    """Make masks from the image as the decoder's transformer leaves it.

    In version 4.57 of transformers the decoder drops that, and enlarges the image encoder's
    features instead, with rows and columns swapped: the masks do not show what is in the boxes.
    Where this is mended already, nothing changes.
    """
    attended: list[Float[Tensor, "images boxes places channels"]] = []

    def keep(module: torch.nn.Module, args: tuple, output: tuple) -> None:
        attended[:] = [output[1]]

    def replace(module: torch.nn.Module, args: tuple) -> tuple[Tensor]:
        image = attended.pop().flatten(0, 1).transpose(1, 2)
        return (image.reshape(args[0].shape),)

    model.mask_decoder.transformer.register_forward_hook(keep)
    model.mask_decoder.upscale_conv1.register_forward_pre_hook(replace)
