from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPTokenizerFast

from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.records import GroundedCaption, GroundedPhrase
from tasks.encode_latents import EncodeSpec, _frozen_parts, encode_partition
from tasks.finetune_unet import FinetuneSpec, finetune_on_shards
from tasks.stage import Input, open_store
from tests.conftest import MODELS
from tokencompose_core.shards.write_shard import write_shard
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.run_lengths import encode_mask


def test_phrases_at_the_end_of_what_the_text_encoder_reads_are_counted(store_dir, tmp_path):
    limit = CLIPTokenizerFast.from_pretrained(
        MODELS / "stable_diffusion/tokenizer"
    ).model_max_length
    path = tmp_path / "a.jpg"
    Image.effect_noise((64, 64), 50).save(path)
    # The first and the last token of the text encoder's own leave room for one of the two words.
    before = "very " * (limit - 3)
    caption = f"{before}teddy bear and a cat"
    phrases = [
        GroundedPhrase(
            text=text,
            start=caption.index(text),
            end=caption.index(text) + len(text),
            boxes=[[0, 0, 64, 64]],
            scores=[0.5],
            mask_counts=encode_mask(np.ones((64, 64), dtype=bool)),
        )
        for text in ("very", "teddy bear", "cat")
    ]
    sample = GroundedCaption(
        key="a",
        image_path="a.jpg",
        image_sha256=file_digest(path),
        width=64,
        height=64,
        caption=caption,
        phrases=phrases,
    )

    def write(folder: Path) -> dict:
        write_shard(folder, [sample], tmp_path)
        return {"num_out": 1}

    manifest = encode_partition.fn(
        EncodeSpec(
            shard=Input.of(open_store().publish("shard-v1-x", "shard", write)),
            part="part-00000",
            base_model="pocket:stable_diffusion",
            base_revision="",
            resolution=64,
            mask_reduction="coverage",
            layers=("mid",),
            batch_size=1,
            device="cpu",
        )
    )
    assert manifest.facts == {"phrases": 2, "phrases_partly_beyond_text_limit": 1}
    assert manifest.rejected == {"phrase-beyond-text-limit": 1}
    # A training gives the memory back first, in the process that has encoded: that of the worker.
    training = FinetuneSpec(
        encoded=[Input(key="encode-v3-missing", digest="")],
        config=FinetuneConfig.load("pocket"),
        label="grounded",
    )
    assert _frozen_parts.cache_info().currsize == 1
    with pytest.raises(FileNotFoundError, match="encode-v3-missing is missing"):
        finetune_on_shards.fn(training)
    assert _frozen_parts.cache_info().currsize == 0
