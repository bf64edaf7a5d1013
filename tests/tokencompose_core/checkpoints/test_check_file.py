"""Files in the place of weights, as a first run finds them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from data_schemas.configs.curate_config import CurateConfig
from tasks.mask_models import check_mask_models
from tokencompose_core.checkpoints.check_file import check_file

WEIGHTS = {"model": {"module.weight": torch.zeros(1000)}}


def write_page(path: Path) -> None:
    path.write_text("<!doctype html><html>log in</html>")


def write_note_of_git(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")


def write_part(path: Path) -> None:
    torch.save(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-100])


def write_part_of_safetensors(path: Path) -> None:
    save_file(WEIGHTS["model"], path)
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("write", "name", "reason"),
    [
        (write_page, "sam.pth", "it begins with b'<!doctype html><'"),
        (write_note_of_git, "pytorch_model.bin", "it begins with b'version https://'"),
        (Path.touch, "sam.pth", "it begins with b''"),
        (write_part, "sam.pth", "its end is missing"),
        (write_part_of_safetensors, "a.safetensors", "Error while deserializing header"),
        (write_page, "a.safetensors", "Error while deserializing header"),
    ],
)
def test_what_is_no_file_of_weights_is_refused(tmp_path, write, name, reason):
    path = tmp_path / name
    write(path)
    with pytest.raises(ValueError, match=rf"{path} holds no weights.*\({reason}.*; get it again"):
        check_file(path)


def test_files_of_weights_are_taken(tmp_path):
    torch.save(WEIGHTS, tmp_path / "new.pth")
    torch.save(WEIGHTS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(WEIGHTS["model"], tmp_path / "a.safetensors")
    for path in tmp_path.iterdir():
        check_file(path)


@pytest.mark.parametrize("field", ["detector_checkpoint", "segmenter_checkpoint"])
def test_a_checkpoint_that_was_cut_short_is_refused_before_anything_runs(tmp_path, field):
    path = tmp_path / "model.pth"
    write_part(path)
    with pytest.raises(ValueError, match=rf"^mask\.{field}: {path} holds no weights"):
        check_mask_models(CurateConfig.load(mask={field: str(path)}))
