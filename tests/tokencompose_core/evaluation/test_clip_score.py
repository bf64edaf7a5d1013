import numpy as np
import open_clip
import pytest
import torch

from data_schemas.configs.evaluate_config import EvaluateConfig
from tests.conftest import MODELS
from tokencompose_core.captions.clip import load_clip
from tokencompose_core.evaluation.clip_score import score_prompts, summarise_scores
from tokencompose_core.pocket.floors.held_out import draw_held_out


def by_hand(images, texts) -> list[float]:
    """Cosines from open_clip, one image at a time."""
    name = f"local-dir:{MODELS / 'clip'}"
    model, preprocess = open_clip.create_model_from_pretrained(name)
    tokenizer = open_clip.get_tokenizer(name)
    found = []
    with torch.no_grad():
        for image, text in zip(images, texts, strict=True):
            one = model.eval().encode_image(preprocess(image)[None])[0]
            other = model.encode_text(tokenizer([text]))[0]
            found.append(float(one @ other / one.norm() / other.norm()))
    return found


def test_scores_are_multiples_of_the_cosines_of_open_clip():
    clip = load_clip(MODELS / "clip", "")
    items = draw_held_out(6, seed=1)
    images = [item.image for item in items]
    # Every second one has the caption of another image.
    prompts = [items[i if i % 2 else i - 1].sentence.text for i in range(6)]
    cosines = by_hand(images, prompts)
    assert min(cosines) < 0 < max(cosines)
    options = {"prefix": "", "scale": 100.0, "negative_as_zero": False}
    for batch_size in (1, 4):
        scores = score_prompts(clip, images.__getitem__, prompts, batch_size=batch_size, **options)
        assert np.allclose(list(scores), 100 * np.array(cosines), atol=1e-3)
    options = {"prefix": "A photo depicts", "scale": 2.5, "negative_as_zero": True}
    cosines = by_hand(images, [f"A photo depicts {prompt}" for prompt in prompts])
    scores = list(score_prompts(clip, images.__getitem__, prompts, batch_size=4, **options))
    assert np.allclose(scores, 2.5 * np.maximum(cosines, 0), atol=1e-4)


def test_long_prompts_are_cut_and_missing_images_have_no_score():
    clip = load_clip(MODELS / "clip", "")
    image = draw_held_out(1, seed=1)[0].image
    long = " ".join(["a cat and a chair"] * 40)
    images = [image, None, image]
    options = {"prefix": "", "scale": 1.0, "negative_as_zero": False, "batch_size": 2}
    scores = list(score_prompts(clip, images.__getitem__, [long] * 3, **options))
    assert scores[1] is None
    assert scores[0] == pytest.approx(by_hand([image], [long])[0], abs=1e-5)
    # The first token marks the beginning, and the last one that is read the end.
    read = len(clip.tokenizer([long])[0]) - 2
    cut = " ".join(long.split()[:read])
    assert scores[2] == pytest.approx(by_hand([image], [cut])[0], abs=1e-5)


def test_interval_draws_prompts_with_all_their_images():
    rng = np.random.default_rng(0)
    # Images of a prompt are nearly alike: 40 of them say no more than ten prompts do.
    own = {i: list(rng.normal(rng.normal(25, 5), 0.01, 4)) for i in range(10)}
    summary = summarise_scores(own, seed=0)
    every = np.concatenate(list(own.values()))
    assert summary.mean == pytest.approx(every.mean())
    assert summary.deviation == pytest.approx(every.std())
    drawn = [
        np.concatenate([own[i] for i in rng.integers(10, size=10)]).mean() for _ in range(4000)
    ]
    assert summary.interval == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.4)
    width = summary.interval[1] - summary.interval[0]
    assert width > 1.5 * 2 * 1.96 * every.std() / np.sqrt(len(every))
    assert summarise_scores(own, seed=0) == summary


def test_prompts_without_a_score_are_left_out():
    summary = summarise_scores({0: [1.0, 3.0], 1: [], 2: [5.0]}, seed=0)
    assert (summary.mean, summary.num_prompts) == (3.0, 2)
    assert summarise_scores({7: [2.0]}, seed=0).interval is None
    with pytest.raises(ValueError, match="all of them were blanked"):
        summarise_scores({0: []}, seed=0)


@pytest.mark.parametrize(
    ("changes", "convention"),
    [
        ({"scale": 100.0}, "100 cos"),
        (
            {"prefix": "A photo depicts", "scale": 2.5, "negative_as_zero": True},
            "2.5 max(cos, 0), prefix 'A photo depicts'",
        ),
    ],
)
def test_convention_is_named(changes, convention):
    assert EvaluateConfig.load(clip_score=changes).clip_score.convention == convention
