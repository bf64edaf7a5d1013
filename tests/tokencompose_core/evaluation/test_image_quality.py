"""FID and KID, beside torch-fidelity's own command line and beside slow sums."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.conftest import MODELS
from tests.inception_weights import write_weights
from tokencompose_core.captions.clip import load_clip
from tokencompose_core.evaluation.feature_table import FeatureRows, read_features, write_features
from tokencompose_core.evaluation.image_features import (
    Extractor,
    clip_extractor,
    extract_features,
    load_inception,
    resize_and_crop,
)
from tokencompose_core.evaluation.image_quality import (
    KID_SEED,
    check_num_images,
    compare_features,
)
from tokencompose_core.pocket.floors.held_out import draw_held_out
from tokencompose_core.store.open_image import open_image


def start_command(folder: Path, reference_dir: Path, weights: Path, *options: str):
    """The command `fidelity`, whose libraries take their time to load."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch_fidelity.fidelity", "--fid", "--kid", "--json", "--cpu"),
            *("--input1", str(folder), "--input2", str(reference_dir)),
            *("--feature-extractor-weights-path", str(weights)),
            *("--kid-subsets", "10", "--kid-subset-size", "6", "--batch-size", "6"),
            *("--no-cache", "--save-cpu-ram", "--silent", *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Scenes of several sizes, and the same kind of scenes blurred; PNG and JPEG."""
    sharp, blurred = tmp_path_factory.mktemp("sharp"), tmp_path_factory.mktemp("blurred")
    for number, item in enumerate(draw_held_out(24, seed=3)):
        suffix = "jpg" if number % 3 else "png"
        if number < 12:
            item.image.save(sharp / f"{number:02d}.{suffix}")
        else:
            blur = item.image.filter(ImageFilter.GaussianBlur(3))
            blur.save(blurred / f"{number:02d}.{suffix}")
    (sharp / "notes.txt").write_text("no image")
    return blurred, sharp


def write_and_read(folder: Path, extractor: Extractor, path: Path) -> FeatureRows:
    """Features of a folder's images by way of files, as the stages hand them on: two of them."""
    images = sorted(one for one in folder.iterdir() if one.suffix != ".txt")
    parts = []
    for number, own in enumerate((images[:7], images[7:])):
        rows = extract_features(
            extractor,
            lambda index, own=own: open_image(own[index]),
            len(own),
            resolution=64,
            batch_size=5,
        )
        parts.append(path.with_suffix(f".{number}.parquet"))
        names = [one.name for one in own]
        write_features(parts[-1], names, list(rows), extractor.dimension)
    return read_features(parts)


def test_fid_and_kid_are_those_of_the_command_line(folders, tmp_path):
    blurred, sharp = folders
    weights = write_weights(tmp_path / "inception.pth")
    command = start_command(blurred, sharp, weights, "--samples-resize-and-crop", "64")
    extractor = load_inception(weights)
    own, real = (write_and_read(one, extractor, tmp_path / one.name) for one in folders)
    assert (own.num_missing, real.num_missing) == (0, 0)
    assert own.features.shape == real.features.shape == (12, 2048)
    quality = compare_features(
        own.features,
        real.features,
        num_kid_subsets=10,
        kid_subset_size=6,
        allow_few_images=True,
    )
    printed, _ = command.communicate()
    assert command.returncode == 0
    theirs = json.loads(printed[printed.index("{") :])
    assert quality.fid > 1e-3
    assert quality.fid == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    assert quality.kid == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-3)
    deviation = theirs["kernel_inception_distance_std"]
    assert quality.kid_deviation == pytest.approx(deviation, rel=1e-3)


def normal_features(count: int, mean: list[float], deviations: list[float], *, seed: int):
    """Features whose mean and deviations are just these, and which do not correlate."""
    drawn = np.random.default_rng(seed).normal(size=(count, len(mean)))
    apart, _ = np.linalg.qr(drawn - drawn.mean(axis=0))
    return mean + apart * np.sqrt(count - 1) * deviations


def test_fid_is_that_of_two_normal_distributions():
    one = normal_features(50, [0.0, 1.0, 2.0], [1.0, 2.0, 3.0], seed=0)
    other = normal_features(40, [2.0, 1.0, 1.0], [1.0, 5.0, 1.0], seed=1)
    quality = compare_features(one, other, num_kid_subsets=1, kid_subset_size=2)
    assert quality.fid == pytest.approx(4 + 0 + 1 + 0 + 9 + 4)


def test_kid_is_the_mean_of_slow_sums_over_subsets():
    rng = np.random.default_rng(1)
    features, real = rng.normal(0, 1, (9, 4)), rng.normal(0.5, 1, (8, 4))
    quality = compare_features(features, real, num_kid_subsets=3, kid_subset_size=5)

    def kernel(a, b):
        return (float(a @ b) / 4 + 1) ** 3

    draw, found = np.random.RandomState(KID_SEED), []
    for _ in range(3):
        x = features[draw.choice(9, 5, replace=False)]
        y = real[draw.choice(8, 5, replace=False)]
        apart = [(i, j) for i in range(5) for j in range(5) if i != j]
        within = sum(kernel(x[i], x[j]) + kernel(y[i], y[j]) for i, j in apart) / 20
        found.append(within - 2 * sum(kernel(a, b) for a in x for b in y) / 25)
    assert quality.kid == pytest.approx(np.mean(found))
    assert quality.kid_deviation == pytest.approx(np.std(found))


def test_real_scenes_are_near_other_real_ones_and_noise_is_far():
    extractor = clip_extractor(load_clip(MODELS / "clip", ""))
    real = [item.image for item in draw_held_out(128, seed=11)]
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(64)]
    blurred = [
        resize_and_crop(image, 64).filter(ImageFilter.GaussianBlur(1.5)) for image in real[64:]
    ]

    def features(images):
        rows = extract_features(
            extractor, images.__getitem__, len(images), resolution=64, batch_size=32
        )
        return np.stack(list(rows))

    near, blurry, far = (
        compare_features(features(own), features(real[:64]), num_kid_subsets=20, kid_subset_size=32)
        for own in (real[64:], blurred, noise)
    )
    assert near.fid < blurry.fid / 3 < far.fid / 3
    assert abs(near.kid) < 2 * near.kid_deviation
    assert far.kid > 10 * far.kid_deviation


def test_too_few_images_are_refused_unless_allowed():
    features = np.random.default_rng(0).normal(size=(9, 10))
    with pytest.raises(ValueError, match=r"at least 10 images, received 9.*allow_few_images"):
        compare_features(features, features, num_kid_subsets=1, kid_subset_size=2)
    allowed = {"num_kid_subsets": 1, "allow_few_images": True}
    assert abs(compare_features(features, features, kid_subset_size=2, **allowed).fid) < 1e-6
    with pytest.raises(ValueError, match="kid_subset_size is 10, but there are 9 images"):
        compare_features(features, features, kid_subset_size=10, **allowed)
    check_num_images(2048, 2048, allow_few_images=False)
    with pytest.raises(ValueError, match="received 2047"):
        check_num_images(2047, 2048, allow_few_images=False)
    with pytest.raises(ValueError, match="received 0"):
        check_num_images(0, 2048, allow_few_images=True)
