"""Write a Grounding DINO of groundingdino-py as transformers reads it."""

import re
from pathlib import Path

from groundingdino.models.GroundingDINO.backbone.swin_transformer import SwinTransformer
from groundingdino.util.slconfig import SLConfig
from torch import Tensor
from transformers import (
    BertTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    SwinConfig,
)

from tokencompose_core.masking.grounding_dino import load_grounding_dino, load_grounding_dino_config
from tokencompose_core.masking.transformers_grounding_dino import PHRASE_ENDS

# The beginning of a name, what takes its place, and what is replaced in the rest.
_NAMES: list[tuple[str, str, dict[str, str]]] = [
    (r"backbone\.0\.norm1\.", "model.backbone.conv_encoder.model.hidden_states_norms.stage2.", {}),
    (r"backbone\.0\.norm2\.", "model.backbone.conv_encoder.model.hidden_states_norms.stage3.", {}),
    (r"backbone\.0\.norm3\.", "model.backbone.conv_encoder.model.hidden_states_norms.stage4.", {}),
    (
        r"backbone\.0\.",
        "model.backbone.conv_encoder.model.",
        {
            "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
            "patch_embed.norm.": "embeddings.norm.",
            "layers.": "encoder.layers.",
            ".norm1.": ".layernorm_before.",
            ".norm2.": ".layernorm_after.",
            "mlp.fc1.": "intermediate.dense.",
            "mlp.fc2.": "output.dense.",
            "attn.proj.": "attention.output.dense.",
            "attn.": "attention.self.",
        },
    ),
    (
        r"transformer\.encoder\.layers\.(\d+)\.",
        r"model.encoder.layers.\1.deformable_layer.",
        {"norm1.": "self_attn_layer_norm.", "norm2.": "final_layer_norm.", "linear": "fc"},
    ),
    (
        r"transformer\.encoder\.text_layers\.(\d+)\.",
        r"model.encoder.layers.\1.text_enhancer_layer.",
        {"norm1.": "layer_norm_before.", "norm2.": "layer_norm_after.", "linear": "fc"},
    ),
    (
        r"transformer\.encoder\.fusion_layers\.(\d+)\.",
        r"model.encoder.layers.\1.fusion_layer.",
        {
            "gamma_v": "vision_param",
            "gamma_l": "text_param",
            "norm_v.": "norm_vision.",
            "norm_l.": "norm_text.",
            "v_proj.": "vision_proj.",
            "l_proj.": "text_proj.",
        },
    ),
    (
        r"transformer\.decoder\.layers\.(\d+)\.",
        r"model.decoder.layers.\1.",
        {
            "cross_attn.": "encoder_attn.",
            "ca_text.": "encoder_attn_text.",
            "catext_norm.": "encoder_attn_text_layer_norm.",
            "norm1.": "encoder_attn_layer_norm.",
            "norm2.": "self_attn_layer_norm.",
            "norm3.": "final_layer_norm.",
            "linear": "fc",
        },
    ),
    (r"transformer\.decoder\.ref_point_head\.", "model.decoder.reference_points_head.", {}),
    (r"transformer\.decoder\.norm\.", "model.decoder.layer_norm.", {}),
    (r"transformer\.enc_out_bbox_embed\.", "model.encoder_output_bbox_embed.", {}),
    (r"transformer\.tgt_embed\.", "model.query_position_embeddings.", {}),
    (r"transformer\.", "model.", {}),
    (r"input_proj\.", "model.input_proj_vision.", {}),
    (r"feat_map\.", "model.text_projection.", {}),
    (r"bert\.", "model.text_backbone.", {}),
]
_LEFT_OUT = ("bert.pooler.", "bert.embeddings.position_ids")
_WORDS = "model.text_backbone.embeddings.word_embeddings.weight"


def convert_grounding_dino(
    config_path: Path, checkpoint_path: Path, text_encoder: str, folder: Path
) -> None:
    """Write a checkpoint of groundingdino-py as a folder for transformers' `from_pretrained`.

    Transformers takes four token ids of bert-base-uncased for the ends of phrases, whatever the
    tokenizer says. A vocabulary that has its brackets, full stop and question mark elsewhere is
    numbered anew.

    Args:
        config_path: See `load_grounding_dino`, as for the next two.
        checkpoint_path: Weights, `.pth` or `.safetensors`.
        text_encoder: Folder or hub name of the BERT.
        folder: Where to write config, weights and tokenizer.

    Raises:
        ValueError: If transformers has no place for a part of the model.
    """
    config = load_grounding_dino_config(config_path, text_encoder)
    if config.pe_temperatureH != config.pe_temperatureW or config.two_stage_type != "standard":
        raise ValueError(
            f"{config_path}: transformers has one temperature for both sides and two stages, not"
            f" {config.pe_temperatureH} and {config.pe_temperatureW}, {config.two_stage_type!r}"
        )
    source = load_grounding_dino(config_path, checkpoint_path, text_encoder).model
    state: dict[str, Tensor] = {}
    for name, tensor in source.state_dict().items():
        if not name.startswith(_LEFT_OUT):
            state |= _split(_rename(name), tensor)
    words, state[_WORDS] = renumber(source.tokenizer.get_vocab(), state[_WORDS])
    bert = source.bert.config.to_dict() | {"vocab_size": len(words)}
    model = GroundingDinoForObjectDetection(_config(config, source.backbone[0], bert))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{config_path} is a model that transformers lacks: {error}") from error
    model.save_pretrained(folder)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("".join(f"{word}\n" for word in words), "utf-8")
    BertTokenizerFast(
        vocab_file=str(vocabulary), do_lower_case=source.tokenizer.init_kwargs["do_lower_case"]
    ).save_pretrained(folder)


def renumber(vocabulary: dict[str, int], embeddings: Tensor) -> tuple[list[str], Tensor]:
    """Give the tokens that end phrases the ids that transformers expects of them.

    Args:
        vocabulary: Ids of the tokens.
        embeddings: (tokens, width).

    Returns:
        The tokens in the order of their new ids, with `[unused<id>]` between them where there
        were too few, and their embeddings.
    """
    if all(vocabulary.get(token) == place for token, place in PHRASE_ENDS.items()):
        return sorted(vocabulary, key=vocabulary.__getitem__), embeddings
    size = max(len(vocabulary), max(PHRASE_ENDS.values()) + 1)
    words = [f"[unused{place}]" for place in range(size)]
    result = embeddings.new_zeros(size, embeddings.shape[1])
    free = iter(sorted(set(range(size)) - set(PHRASE_ENDS.values())))
    for word in sorted(vocabulary, key=vocabulary.__getitem__):
        place = PHRASE_ENDS[word] if word in PHRASE_ENDS else next(free)
        words[place] = word
        result[place] = embeddings[vocabulary[word]]
    return words, result


def _rename(name: str) -> str:
    for pattern, prefix, words in _NAMES:
        match = re.match(pattern, name)
        if match:
            rest = name[match.end() :]
            for old, new in words.items():
                rest = rest.replace(old, new)
            return match.expand(prefix) + rest
    return name


def _split(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Queries, keys and values, which groundingdino-py projects with one matrix."""
    match = re.search(r"(\.qkv\.|\.in_proj_)(weight|bias)$", name)
    if not match:
        return {name: tensor}
    names = [f"{name[: match.start()]}.{part}.{match[2]}" for part in ("query", "key", "value")]
    return dict(zip(names, (part.clone() for part in tensor.chunk(3)), strict=True))


def _config(config: SLConfig, swin: SwinTransformer, bert: dict) -> GroundingDinoConfig:
    layers = swin.layers
    return GroundingDinoConfig(
        backbone_config=SwinConfig(
            embed_dim=swin.embed_dim,
            depths=[layer.depth for layer in layers],
            num_heads=[layer.blocks[0].num_heads for layer in layers],
            window_size=layers[0].window_size,
            patch_size=swin.patch_embed.patch_size[0],
            mlp_ratio=layers[0].blocks[0].mlp_ratio,
            out_indices=[index + 1 for index in config.return_interm_indices],
        ),
        text_config=bert,
        max_text_len=config.max_text_len,
        num_queries=config.num_queries,
        encoder_layers=config.enc_layers,
        encoder_ffn_dim=config.dim_feedforward,
        encoder_attention_heads=config.nheads,
        decoder_layers=config.dec_layers,
        decoder_ffn_dim=config.dim_feedforward,
        decoder_attention_heads=config.nheads,
        activation_function=config.transformer_activation,
        d_model=config.hidden_dim,
        num_feature_levels=config.num_feature_levels,
        encoder_n_points=config.enc_n_points,
        decoder_n_points=config.dec_n_points,
        embedding_init_target=config.embed_init_tgt,
        decoder_bbox_embed_share=config.dec_pred_bbox_embed_share,
        two_stage_bbox_embed_share=config.two_stage_bbox_embed_share,
        positional_embedding_temperature=config.pe_temperatureH,
    )
