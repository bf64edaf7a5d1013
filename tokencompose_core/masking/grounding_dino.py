"""Build and load Grounding DINO (arXiv:2303.05499) through groundingdino-py."""

import ast
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from groundingdino.models import build_model
from groundingdino.models.GroundingDINO.backbone import backbone as dino_backbone
from groundingdino.models.GroundingDINO.backbone.position_encoding import build_position_encoding
from groundingdino.models.GroundingDINO.backbone.swin_transformer import SwinTransformer
from groundingdino.models.GroundingDINO.groundingdino import GroundingDINO
from groundingdino.models.GroundingDINO.transformer import build_transformer
from groundingdino.models.GroundingDINO.transformer_vanilla import TransformerEncoderLayer
from groundingdino.util.misc import clean_state_dict
from groundingdino.util.slconfig import SLConfig
from jaxtyping import Float
from torch import Tensor

from tokencompose_core.checkpoints.check_folder import check_folder
from tokencompose_core.checkpoints.read_weights import load_named, read_weights


@dataclass(frozen=True, eq=False)
class PackagedGroundingDino:
    """The model of groundingdino-py, as `Detector` wants it."""

    model: GroundingDINO

    @property
    def tokenizer(self) -> Any:
        """The text encoder's."""
        return self.model.tokenizer

    @property
    def max_text_len(self) -> int:
        """Tokens of a prompt that the text encoder reads."""
        return self.model.max_text_len

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.parameters()).device

    def detect(
        self, pixels: Float[Tensor, "batch 3 height width"], prompts: Sequence[str]
    ) -> tuple[Float[Tensor, "batch queries tokens"], Float[Tensor, "batch queries 4"]]:
        """See `Detector`."""
        output = self.model(pixels.to(self.device), captions=list(prompts))
        logits, boxes = output["pred_logits"], output["pred_boxes"]
        return logits.float().sigmoid().cpu(), boxes.float().cpu()


def build_grounding_dino(config: SLConfig) -> GroundingDINO:
    """Build the model, with a backbone of any size if the config has a `swin` entry.

    groundingdino-py builds its Swin backbones by name only; `swin` holds the arguments of its
    `SwinTransformer` instead.
    """
    if "swin" not in config:
        return build_model(config)
    swin = SwinTransformer(**config.swin, out_indices=tuple(config.return_interm_indices))
    backbone = dino_backbone.Joiner(swin, build_position_encoding(config))
    backbone.num_channels = swin.num_features[4 - len(config.return_interm_indices) :]
    return GroundingDINO(
        backbone,
        build_transformer(config),
        num_queries=config.num_queries,
        aux_loss=True,
        iter_update=True,
        query_dim=config.query_dim,
        num_feature_levels=config.num_feature_levels,
        nheads=config.nheads,
        dec_pred_bbox_embed_share=config.dec_pred_bbox_embed_share,
        two_stage_type=config.two_stage_type,
        two_stage_bbox_embed_share=config.two_stage_bbox_embed_share,
        two_stage_class_embed_share=config.two_stage_class_embed_share,
        dn_number=0,
        text_encoder_type=config.text_encoder_type,
        sub_sentence_present=config.sub_sentence_present,
        max_text_len=config.max_text_len,
    )


def load_grounding_dino(
    config_path: Path, checkpoint_path: Path, text_encoder: str, *, device: str = "cpu"
) -> PackagedGroundingDino:
    """Load a checkpoint as groundingdino-py publishes it, or one in safetensors.

    Args:
        config_path: The model's config, `.py` as shipped by groundingdino-py or `.json`.
        checkpoint_path: Weights, `.pth` or `.safetensors`.
        text_encoder: Folder or hub name of the BERT.
        device: Where to put the model.

    Raises:
        ValueError: If the checkpoint lacks weights of the model, naming some of them, or holds more
            than weights; or if the config is more than values.
    """
    check_folder(text_encoder)
    config = load_grounding_dino_config(config_path, text_encoder)
    with redirect_stdout(None):  # groundingdino-py prints the name of its text encoder
        model = build_grounding_dino(config)
    state = read_weights(checkpoint_path)
    if checkpoint_path.suffix != ".safetensors":
        state = clean_state_dict(state.get("model", state))
    names = load_named(model, state, checkpoint_path, config_path)
    tensors = model.state_dict()
    # Decoder layers share their box heads, which a checkpoint may hold under one name only.
    loaded = {tensors[name].data_ptr() for name in state if name in tensors}
    missing = [
        n for n in names if not n.startswith("bert.") and tensors[n].data_ptr() not in loaded
    ]
    if missing:
        raise ValueError(
            f"{checkpoint_path} lacks {len(missing)} weights of the model, for instance"
            f" {missing[0]}; it does not belong to {config_path}"
        )
    keep_texts_apart(model)
    return PackagedGroundingDino(model.to(device).eval())


def load_grounding_dino_config(config_path: Path, text_encoder: str) -> SLConfig:
    """Read a config and set its text encoder.

    Raises:
        ValueError: If a `.py` config is more than names and values: it is read, and never run.
    """
    text = config_path.read_text("utf-8")
    values = json.loads(text) if config_path.suffix == ".json" else _values(text, config_path)
    config = SLConfig(values)
    config.text_encoder_type = text_encoder
    return config


def _values(text: str, config_path: Path) -> dict[str, Any]:
    """The values that a config in Python gives to names."""
    values = {}
    try:
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)]):
                    values[name] = ast.literal_eval(statement.value)
                case _:
                    raise ValueError(f"line {statement.lineno} is no name with a value")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"{config_path}: a model's config may give values to names, no more, for it is not run"
            f" ({error})"
        ) from error
    return values


def keep_texts_apart(model: GroundingDINO) -> None:
    """Give each text of a batch its own attention mask in the text layers.

    These layers repeat the masks of a batch once for each head, in the order heads, texts, while
    PyTorch's attention expects texts, heads. So in most heads a text is masked with the phrases of
    another one of the batch, and what is found in an image depends on its neighbours. A single
    text is not concerned.
    """
    for layer in model.transformer.encoder.text_layers or ():
        layer.register_forward_pre_hook(_repeat_masks, with_kwargs=True)


def _repeat_masks(layer: TransformerEncoderLayer, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    masks = kwargs["src_mask"].repeat_interleave(layer.nhead, dim=0)
    return args, {**kwargs, "src_mask": masks}
