"""Files that the code released with MultiGen writes, scored as its authors do."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokencompose_core.evaluation.judge_images import judge_images
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.evaluation.released_detections import read_released_detections
from tokencompose_core.evaluation.score import score_multigen

NAMES = [f"thing {i}" for i in range(9)]


def random_detections(rng, prompts, num_rounds):
    """As released: classes of the prompt only, several boxes of one, in no order."""
    detections = {}
    for prompt in prompts:
        for number in range(num_rounds):
            classes = rng.choices(prompt.categories, k=rng.randrange(9))
            scores = [rng.choice([0.1, rng.random(), 0.02]) for _ in classes]
            image = {"classes": classes, "scores": scores}
            detections[f"{prompt.prompt_id}_{number}"] = image
    return detections


def write(folder, detections, num_processes):
    paths = [folder / f"{rank}.json" for rank in range(num_processes)]
    for rank, path in enumerate(paths):
        own = list(detections.items())[rank::num_processes]
        path.write_text(json.dumps(dict(own), indent=4))
    return paths


def recount(prompts, detections, num_rounds, threshold, sample):
    """MultiGen in plain loops: mean and deviation by k, the deviation by either convention."""
    result = {}
    for k in range(2, 6):
        percents = []
        for number in range(num_rounds):
            successes = 0
            for prompt in prompts:
                image = detections[f"{prompt.prompt_id}_{number}"]
                distinct = []
                for name, score in zip(image["classes"], image["scores"], strict=True):
                    if score > threshold and name not in distinct:
                        distinct.append(name)
                if len(distinct) >= k:
                    successes += 1
            percents.append(successes / len(prompts) * 100)
        mean = sum(percents) / num_rounds
        squares = sum((value - mean) ** 2 for value in percents)
        result[k] = (mean, (squares / (num_rounds - sample)) ** 0.5)
    return result


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 9999),
    num_prompts=st.integers(1, 12),
    num_rounds=st.integers(2, 5),
    num_processes=st.integers(1, 3),
    threshold=st.sampled_from([0.0, 0.02, 0.1, 0.35, 0.9]),
)
def test_scores_equal_a_plain_recount(
    tmp_path_factory, seed, num_prompts, num_rounds, num_processes, threshold
):
    rng = random.Random(seed)
    prompts = [Prompt(i, "", tuple(rng.sample(NAMES, 5))) for i in range(num_prompts)]
    detections = random_detections(rng, prompts, num_rounds)
    paths = write(tmp_path_factory.mktemp("released"), detections, num_processes)
    seen = read_released_detections(paths, prompts)
    judged = judge_images(prompts, num_rounds, seen, threshold=threshold)
    result = score_multigen(prompts, num_rounds, judged)
    for sample, deviation in ((0, result.deviation), (1, result.sample_deviation)):
        expected = recount(prompts, detections, num_rounds, threshold, sample)
        for k, (mean, spread) in expected.items():
            assert result.mean[k] == pytest.approx(mean)
            assert deviation[k] == pytest.approx(spread, abs=1e-9)


@pytest.fixture
def released(tmp_path):
    rng = random.Random(1)
    prompts = [Prompt(i, "", tuple(rng.sample(NAMES, 5))) for i in range(4)]
    return prompts, random_detections(rng, prompts, 2), tmp_path


def test_missing_and_surplus_images_are_named(released):
    prompts, detections, folder = released
    one = detections.pop("2_1")
    with pytest.raises(ValueError, match=r"1 missing \[\(2, 1\)\], 0 too many"):
        judge_images(
            prompts,
            2,
            read_released_detections(write(folder, detections, 2), prompts),
            threshold=0.1,
        )
    detections |= {"2_1": one, "7_0": one}
    with pytest.raises(ValueError, match=r"0 missing \[\], 1 too many \[\(7, 0\)\]"):
        judge_images(
            prompts,
            2,
            read_released_detections(write(folder, detections, 2), prompts),
            threshold=0.1,
        )


def test_an_image_in_two_files_or_twice_in_one_is_refused(released):
    prompts, detections, folder = released
    first, second = write(folder, detections, 2)
    again = json.loads(second.read_text()) | {"0_0": detections["0_0"]}
    second.write_text(json.dumps(again))
    with pytest.raises(ValueError, match=r"1\.json: image '0_0' was already in .*0\.json"):
        read_released_detections([first, second], prompts)
    entry = json.dumps(detections["0_0"])
    first.write_text(f'{{"0_0": {entry}, "0_0": {entry}}}')
    with pytest.raises(ValueError, match=r"0\.json: image '0_0' was already in .*0\.json"):
        read_released_detections([first], prompts)


def test_a_folder_stands_for_its_files(released):
    prompts, detections, folder = released
    paths = write(folder, detections, 3)
    (folder / "prompts.txt").write_text("not one of them")
    assert read_released_detections([folder], prompts) == read_released_detections(paths, prompts)
    empty = folder / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"empty: there is no \*\.json in this folder"):
        read_released_detections([empty], prompts)
    with pytest.raises(ValueError, match=r"0\.json: image '0_0' was already in .*0\.json"):
        read_released_detections([paths[0], folder], prompts)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[1, 2]", "expected images by name, received list"),
        ('{"a_b": {"classes": [], "scores": []}}', "'a_b' is not named <prompt>_<round>"),
        ('{"0_0": {"classes": ["a"]}}', "'0_0' lacks lists of classes and scores"),
        ('{"0_0": 3}', "'0_0' lacks lists of classes and scores"),
        ('{"0_0": {"classes": ["a"], "scores": []}}', "'0_0' has 1 classes and 0 scores"),
    ],
)
def test_a_file_of_another_form_is_named(tmp_path, content, message):
    path = tmp_path / "0.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_released_detections([path], [])
    assert "0.json" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["0", 0, "a photo of a cat", "Cat", "cat ", "dog", None, ["cat"], {"cat": 1}]
)
def test_a_class_that_is_no_category_of_its_prompt_is_refused(tmp_path, name):
    prompts = [Prompt(3, "", ("dog", "car")), Prompt(4, "", ("cat", "cup"))]
    path = tmp_path / "0.json"
    fits = {"classes": ["cup", "cat"], "scores": [0.5, 0.5]}
    path.write_text(json.dumps({"4_0": fits, "4_1": {**fits, "classes": ["cat", name]}}))
    with pytest.raises(ValueError, match=r"0\.json: image '4_1' has class") as caught:
        read_released_detections([path], prompts)
    message = str(caught.value)
    assert "which is no category of its prompt, ['cat', 'cup']; name classes" in message
    assert "\n" not in message


def test_a_string_of_classes_is_not_read_as_its_letters(tmp_path):
    path = tmp_path / "0.json"
    path.write_text(json.dumps({"4_0": {"classes": "cat", "scores": [0.5, 0.5, 0.5]}}))
    with pytest.raises(ValueError, match=r"image '4_0' has class 'c', which is no category"):
        read_released_detections([path], [Prompt(4, "", ("cat", "cup"))])
