"""FID, KID and CLIPScore in the flow `evaluate`, recomputed from what lies in the store."""

import json
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prefect import flow
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision.transforms.functional import pil_to_tensor

from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.evaluation_records import (
    GENERATED_SCHEMA,
    CaptionPair,
    ClipScoredImage,
    GeneratedImage,
)
from data_schemas.manifest import Manifest
from data_schemas.records import SelectedImage
from flows.evaluate import evaluate
from tasks.benchmarks import list_benchmarks
from tasks.generate_images import IMAGES_NAME, INDEX_NAME
from tasks.image_extractors import _extractor
from tasks.measure_quality import measure_quality
from tasks.model_under_test import ModelUnderTest
from tasks.score_clip import score_clip
from tasks.stage import Input, open_store
from tests.conftest import MODELS
from tests.flows.conftest import run_flow
from tests.inception_weights import write_weights
from tests.tiny_models import write_model
from tokencompose_core.captions.clip import load_clip
from tokencompose_core.evaluation.feature_table import read_features
from tokencompose_core.evaluation.image_features import resize_and_crop
from tokencompose_core.evaluation.image_tar import read_images
from tokencompose_core.pocket.floors.held_out import draw_held_out
from tokencompose_core.store.open_image import open_image
from tokencompose_core.store.tables import read_table, write_table

POCKET_MODEL = ModelUnderTest(label="base", name="pocket:stable_diffusion")
QUALITY = {
    "source": {"num_images": 24},
    "num_pairs": 6,
    "num_kid_subsets": 5,
    "kid_subset_size": 4,
    "allow_few_images": True,
}

pytestmark = pytest.mark.usefixtures("prefect_server")


def settings(**quality: Any) -> EvaluateConfig:
    return EvaluateConfig.load(
        benchmarks=["quality", "clip_score"],
        quality={"pocket": {**QUALITY, **quality}},
        partition_size=4,
        sampler={"num_inference_steps": 2},
    )


def entries(store_dir: Path, stage: str) -> dict[str, Manifest]:
    found = [
        Manifest.model_validate_json(path.read_text())
        for path in store_dir.glob(f"{stage}-v*/manifest.json")
    ]
    return {manifest.key: manifest for manifest in found}


def table(store_dir: Path, stage: str, name: str, kind: type) -> list:
    """Rows of all outputs of a stage."""
    return [
        row
        for path in sorted(store_dir.glob(f"{stage}-v*/{name}"))
        for row in read_table(path, kind)
    ]


def encode(images: list) -> np.ndarray:
    clip = load_clip(MODELS / "clip", "")
    pixels = torch.stack([clip.preprocess(resize_and_crop(image, 64)) for image in images])
    with torch.no_grad():
        return clip.model.encode_image(pixels).double().numpy()


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """The trace of the root of a product of covariances is the nuclear norm of their roots'."""
    roots = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (one, other)]
    shift = ((one.mean(0) - other.mean(0)) ** 2).sum()
    cross = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return shift + sum((root**2).sum() for root in roots) - 2 * cross


def test_figures_are_those_of_the_stored_images_and_the_reference_is_computed_once(
    store_dir, tmp_path
):
    _extractor.cache_clear()  # another test may have loaded it, and shown it the blank image
    first = run_flow(partial(evaluate, [POCKET_MODEL]), settings())
    assert {state for made in first.states.values() for state in made} == {"Completed"}
    # Six real and six generated images, the latter also for CLIPScore, and a blank one.
    assert first.calls["clip"] == 6 + 6 + 6 + 1
    pairs = table(store_dir, "pairs", "part-*.parquet", CaptionPair)
    captions = {
        row.key: row.captions for row in table(store_dir, "select", "part-*.parquet", SelectedImage)
    }
    world = next(store_dir.glob("world-v*"))
    images = {}
    for path in store_dir.glob(f"generate-v*/{IMAGES_NAME}"):
        images |= read_images(path)
    index = table(store_dir, "generate", INDEX_NAME, GeneratedImage)
    assert sorted((row.prompt_id, row.prompt) for row in index) == [
        (pair.prompt_id, pair.caption) for pair in pairs
    ]
    assert all(pair.caption in captions[pair.key] for pair in pairs)
    own = encode([images[f"{pair.prompt_id}_0"] for pair in pairs])
    real = encode([open_image(world / pair.image_path) for pair in pairs])
    (quality,) = first.result.qualities
    assert quality.fid == pytest.approx(frechet(own, real), rel=1e-4)
    assert (quality.num_images, quality.num_blanked, quality.num_reference) == (6, 0, 6)
    assert (quality.extractor, quality.dimension) == ("pocket CLIP", 64)
    assert quality.weights.startswith("sha256:")

    clip = load_clip(MODELS / "clip", "")
    with torch.no_grad():
        texts = clip.model.encode_text(clip.tokenizer([p.caption for p in pairs]), normalize=True)
        pixels = [clip.preprocess(images[f"{pair.prompt_id}_0"]) for pair in pairs]
        pictures = clip.model.encode_image(torch.stack(pixels), normalize=True)
    cosines = (texts * pictures).sum(-1).double().numpy()
    (agreement,) = first.result.clip_scores
    assert agreement.mean == pytest.approx(100 * cosines.mean(), abs=1e-3)
    assert agreement.interval[0] < agreement.mean < agreement.interval[1]
    assert agreement.convention == "100 cos"
    rows = table(store_dir, "agreement", "clip_scores.parquet", ClipScoredImage)
    assert [row.score for row in rows] == pytest.approx(list(100 * cosines), abs=1e-3)

    # Another model: nothing of the real images is computed again.
    tiny = ModelUnderTest(label="tiny", name=str(write_model(tmp_path / "tiny", "sd1")))
    other = run_flow(partial(evaluate, [tiny]), settings())
    for stage in ("world", "select", "pairs", "reference"):
        assert set(other.states[stage]) == {"Cached"}, stage
    for stage in ("generate", "features", "quality", "clipscore", "agreement"):
        assert set(other.states[stage]) == {"Completed"}, stage
    assert other.calls["clip"] == 6 + 6
    # Other subsets of KID: no image is looked at again.
    subsets = run_flow(partial(evaluate, [tiny]), settings(kid_subset_size=3))
    made = {stage for stage, states in subsets.states.items() if "Completed" in states}
    assert made == {"quality", "findings"}
    assert subsets.result.qualities[0].fid == other.result.qualities[0].fid
    assert subsets.result.qualities[0].kid != other.result.qualities[0].kid


def test_blanked_images_and_unreadable_real_ones_are_left_out_and_counted(store_dir, tmp_path):
    items = draw_held_out(12, seed=2)
    folder = tmp_path / "real"
    folder.mkdir()
    for number, item in enumerate(items[:6]):
        item.image.save(folder / f"{number}.jpg")
    content = (folder / "5.jpg").read_bytes()
    (folder / "5.jpg").write_bytes(content[: len(content) // 2])
    rows = [{"file_name": f"{n}.jpg", "text": items[n].sentence.text} for n in range(6)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = settings(
        source={"kind": "image_folder", "images_dir": str(folder)}, max_rejected_fraction=0.5
    )
    blanked = {1, 4}

    def write(entry: Path) -> dict[str, Any]:
        with tarfile.open(entry / IMAGES_NAME, "w") as tar:
            for n in range(6):
                items[6 + n].image.save(tmp_path / f"{n}_0.png")
                tar.add(tmp_path / f"{n}_0.png", f"{n}_0.png")
        index = [
            GeneratedImage(
                image=f"{n}_0",
                prompt_id=n,
                round=0,
                seed=n,
                prompt=items[6 + n].sentence.text,
                categories=[],
                blanked=n in blanked,
            )
            for n in range(6)
        ]
        write_table(entry / INDEX_NAME, index, GENERATED_SCHEMA)
        return {"num_in": 6, "num_out": 6}

    generated = [Input.of(open_store().publish("generate-v0-0", "generate", write))]

    @flow
    def measure():
        (benchmark,) = list_benchmarks(config)
        return [
            step(POCKET_MODEL, benchmark, generated, config)
            for step in (measure_quality, score_clip)
        ]

    quality, agreement = measure()
    own = encode([items[6 + n].image for n in range(6) if n not in blanked])
    real = encode([open_image(folder / f"{n}.jpg") for n in range(5)])
    assert quality.fid == pytest.approx(frechet(own, real), rel=1e-4)
    assert (quality.num_images, quality.num_blanked, quality.num_reference) == (6, 2, 5)
    assert (agreement.num_images, agreement.num_blanked, agreement.num_prompts) == (6, 2, 4)
    rows = table(store_dir, "agreement", "clip_scores.parquet", ClipScoredImage)
    assert {row.prompt_id for row in rows if row.score is None} == blanked
    rejected = [manifest.rejected for manifest in entries(store_dir, "reference").values()]
    assert {"image-unreadable": 1} in rejected
    # A subset of KID would need the image that could not be read.
    larger = config.quality["pocket"].model_copy(update={"kid_subset_size": 6})
    with pytest.raises(ValueError, match=r"pocket: kid_subset_size is 6, but there are 5 images"):
        flow(list_benchmarks)(config.model_copy(update={"quality": {"pocket": larger}}))


def test_missing_weights_are_named_before_anything_is_computed(store_dir, tmp_path):
    weights = str(tmp_path / "weights-inception-2015-12-05-6726825d.pth")
    config = settings(extractor={"kind": "inception", "weights": weights})
    with pytest.raises(FileNotFoundError) as caught:
        evaluate([POCKET_MODEL], config)
    message = str(caught.value)
    assert message.startswith("evaluate.quality.pocket.extractor.weights: ")
    assert weights in message
    assert "get it from https://" in message
    assert not list(store_dir.glob("*-v*"))


def test_inception_takes_its_weights_from_the_file(store_dir, tmp_path):
    weights = write_weights(tmp_path / "inception.pth")
    extractor = {"kind": "inception", "weights": str(weights)}
    config = settings(extractor=extractor, num_pairs=4, resolution=48)
    assert config.quality["pocket"].extractor.title == "Inception"
    (benchmark,) = flow(list_benchmarks)(config)
    paths = [part.path(open_store()) for part in benchmark.reference.features]
    world = next(store_dir.glob("world-v*"))
    pairs = table(store_dir, "pairs", "part-*.parquet", CaptionPair)
    network = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
    )
    for row, pair in zip(read_features(paths).features, pairs, strict=True):
        pixels = pil_to_tensor(resize_and_crop(open_image(world / pair.image_path), 48))
        assert np.allclose(row, network(pixels[None])[0][0].numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"allow_few_images": False}, r"evaluate\.quality\.pocket: FID on 64 features needs"),
        ({"num_pairs": 40}, r"evaluate\.quality\.pocket\.num_pairs: 40 pairs are asked for"),
    ],
)
def test_too_few_images_are_refused_before_any_is_generated(store_dir, changes, message):
    with pytest.raises(ValueError, match=message):
        evaluate([POCKET_MODEL], settings(**changes))
    assert not entries(store_dir, "generate")
