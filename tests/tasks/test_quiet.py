import logging

import pytest
from diffusers import DiffusionPipeline
from diffusers.utils.logging import get_logger

from tasks.quiet import hush_libraries
from tests.tiny_models import build_pipeline
from tokencompose_core.evaluation.text_states import encode_prompts
from tokencompose_core.training.encode_captions import encode_captions

LONG = "a cat and a boat " * 100


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def pipeline(request) -> DiffusionPipeline:
    return build_pipeline(request.param)


def test_captions_behind_the_limit_of_the_text_encoder_are_not_written_out(pipeline, caplog):
    # Transformers' own root passes nothing on to that of all loggers.
    logging.getLogger("transformers").addHandler(caplog.handler)
    try:
        hush_libraries()
        encode_captions(pipeline, [LONG, "a cat", "a boat"])
        get_logger(type(pipeline).__module__).warning("another")
    finally:
        logging.getLogger("transformers").removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records] == ["another"]


def test_prompts_that_are_cut_are_counted_in_one_line(pipeline, caplog):
    hush_libraries()
    encode_prompts(pipeline, ["a cat", LONG, LONG, "a boat"], batch_size=2)
    own = [r.getMessage() for r in caplog.records if r.name.startswith("tokencompose_core")]
    assert own == [
        "1 of 3 prompts are longer than the text encoder reads, 16 tokens with those at both ends;"
        f" it does not read the rest. The first begins: {LONG[:60]}"
    ]
    caplog.clear()
    encode_prompts(pipeline, ["a cat", "a boat"], batch_size=2)
    assert not caplog.records
