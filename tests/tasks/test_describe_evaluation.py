"""What the foot of a section says of its models."""

from pathlib import Path

import pytest

from tasks.describe_evaluation import describe_models
from tasks.model_under_test import ModelUnderTest
from tasks.stage import Input
from tokencompose_core.store.keys import file_digest

KEY = f"finetune-v1-{1:032x}"


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ({"name": "owner/hub-model"}, "owner/hub-model@main"),
        ({"stored": Input(key=KEY, digest="ab" * 32, name="model/")}, "abababababab"),
    ],
)
def test_a_model_and_its_lora_layers_are_both_named_in_short(tmp_path: Path, model, shown):
    lora = tmp_path / "a.safetensors"
    lora.write_bytes(b"layers")
    key = f" ({KEY})" if "stored" in model else ""
    bare = ModelUnderTest(label="bare", **model)
    both = ModelUnderTest(label="both", lora=str(lora), **model)
    digest = f"sha256:{file_digest(lora)[:12]}"
    assert describe_models([bare, both]) == (f"bare {shown}{key}; both {shown} lora {digest}{key}")


def test_a_model_of_a_folder_and_its_lora_layers_are_both_named_in_short(tmp_path: Path):
    folder, lora = tmp_path / "model", tmp_path / "a.safetensors"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    lora.write_bytes(b"layers")
    model = ModelUnderTest(label="own", name=str(folder), lora=str(lora))
    text = describe_models([model])
    base, added = model.identity.split(" lora ")
    assert text == f"own {base[:19]} lora {added[:19]}"
