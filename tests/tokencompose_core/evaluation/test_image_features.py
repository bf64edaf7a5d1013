import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import MODELS
from tests.inception_weights import write_weights
from tokencompose_core.captions.clip import load_clip
from tokencompose_core.evaluation.feature_table import read_features, write_features
from tokencompose_core.evaluation.image_features import (
    clip_extractor,
    extract_features,
    load_inception,
    resize_and_crop,
)
from tokencompose_core.pocket.floors.held_out import draw_held_out


class Trap:
    """What a hostile file of weights may hold."""

    def __reduce__(self):
        return (Path("trapped").touch, ())


def test_clip_features_are_those_of_open_clip_in_any_batch():
    clip = load_clip(MODELS / "clip", "")
    images = [item.image for item in draw_held_out(5, seed=0)]
    loaded = [None if i in (0, 3) else image for i, image in enumerate(images)]
    for batch_size in (1, 2, 8):
        rows = list(
            extract_features(
                clip_extractor(clip), loaded.__getitem__, 5, resolution=48, batch_size=batch_size
            )
        )
        assert [row is None for row in rows] == [image is None for image in loaded]
        for row, image in zip(rows, loaded, strict=True):
            if image is not None:
                pixels = clip.preprocess(resize_and_crop(image, 48))[None]
                assert np.allclose(row, clip.model.encode_image(pixels)[0].detach(), atol=1e-5)


def test_the_centre_is_kept_and_an_image_of_the_right_size_stays_as_it_is():
    wide = Image.new("RGB", (300, 100), "white")
    wide.paste("black", (100, 0, 200, 100))
    assert np.asarray(resize_and_crop(wide, 50))[:, 2:-2].max() == 0
    image = draw_held_out(1, seed=0, square=True)[0].image
    assert np.array_equal(np.asarray(resize_and_crop(image, 200)), np.asarray(image))


def test_images_of_different_sizes_need_a_resolution(tmp_path):
    extractor = load_inception(write_weights(tmp_path / "inception.pth"))
    images = [Image.new("RGB", (40, 40)), Image.new("RGB", (50, 40))]
    rows = extract_features(extractor, images.__getitem__, 2, resolution=None, batch_size=2)
    with pytest.raises(ValueError, match=r"differ in size.*give a resolution"):
        list(rows)


def test_files_that_hold_no_inception_are_refused_and_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    contents = [b"", b"<html>not found</html>", pickle.dumps(Trap(), protocol=2)]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"does not hold torch-fidelity's Inception; get it"):
            load_inception(path)
    for state in ({"fc.bias": torch.zeros(3)}, torch.zeros(3), {"model": Trap()}):
        torch.save(state, path)
        with pytest.raises(ValueError, match=r"does not hold torch-fidelity's Inception; get it"):
            load_inception(path)
    assert not Path("trapped").exists()


def test_features_survive_a_table_and_missing_ones_are_counted(tmp_path):
    rows = list(np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))
    write_features(tmp_path / "a", ["x", "y", "z"], [rows[0], None, rows[1]], 4)
    write_features(tmp_path / "b", ["v", "w"], [None, rows[2]], 4)
    write_features(tmp_path / "none", ["u"], [None], 4)
    write_features(tmp_path / "wider", ["t"], [np.zeros(5, np.float32)], 5)
    found = read_features([tmp_path / "a", tmp_path / "b", tmp_path / "none"])
    assert np.array_equal(found.features, np.stack(rows))
    assert found.num_missing == 3
    assert read_features([tmp_path / "none"]).features.shape == (0, 4)
    with pytest.raises(ValueError, match=r"\[4, 5\]"):
        read_features([tmp_path / "a", tmp_path / "wider"])
