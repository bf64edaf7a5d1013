"""What stands for a model in keys."""

import os
import shutil

import pytest

from tests.conftest import MODELS
from tokencompose_core.checkpoints.locate import clip_identity, identity, locate
from tokencompose_core.store.keys import file_digest, folder_digest


def test_identity_is_that_of_the_content_whenever_it_changes(tmp_path):
    path = tmp_path / "model.pth"
    found = []
    for content in (b"one", b"second version", b"other content.", b"one"):
        path.write_bytes(content)
        os.utime(path, ns=(0, len(found)))
        found.append(identity(str(path)))
        assert found[-1] == f"sha256:{file_digest(path)}"
        assert clip_identity("ViT-B-32", str(path)) == f"ViT-B-32@{found[-1]}"
    assert len(set(found)) == 3


def test_identity_of_a_folder_sees_each_of_its_files(tmp_path):
    (tmp_path / "unet").mkdir()
    found = [identity(str(tmp_path))]
    for name in ("model.json", "unet/weights.bin"):
        for content in (b"a", b"bb"):
            (tmp_path / name).write_bytes(content)
            found.append(identity(str(tmp_path)))
    (tmp_path / "unet/weights.bin").rename(tmp_path / "weights.bin")
    found.append(identity(str(tmp_path)))
    assert len(set(found)) == len(found)
    copy = shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    assert identity(str(copy)) == found[-1]


def test_identity_of_a_folder_leaves_out_what_tools_hide_there(tmp_path):
    # A hidden folder above is none of the model's.
    model = tmp_path / ".cache" / "model"
    (model / "unet").mkdir(parents=True)
    (model / "unet/weights.bin").write_bytes(b"a")
    plain = identity(str(model))
    for name in (".git/index", ".cache/huggingface/download/unet/w.metadata", "unet/.DS_Store"):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(b"x")
        assert identity(str(model)) == plain
    (model / "unet/weights.bin").write_bytes(b"bb")
    assert identity(str(model)) != plain


def test_scheme_alone_is_the_folder_of_all_models_that_come_with_the_project():
    assert locate("pocket:") == MODELS
    assert identity("pocket:") == f"sha256:{folder_digest(MODELS)}"
    assert locate("pocket:clip") == MODELS / "clip"


@pytest.mark.parametrize("name", ["pocket:../models", "pocket:/", "pocket:.", "groundingdino:"])
def test_name_that_leaves_its_folder_is_refused(name):
    with pytest.raises(ValueError, match="is no plain name"):
        locate(name)
