import json

import pytest

from tokencompose_core.evaluation.generate import image_seed, request_images
from tokencompose_core.evaluation.prompts import (
    Prompt,
    multigen_text,
    prompts_digest,
    read_prompts,
    sample_prompts,
)
from tokencompose_core.evaluation.vocabularies import list_categories, read_vocabulary


def test_every_official_prompt_has_the_template(shared_data):
    prompts = read_prompts(shared_data / "multigen/coco_obj_comp_5_1k.json")
    assert len(prompts) == 1000
    assert all(prompt.text == multigen_text(prompt.categories) for prompt in prompts)
    assert all(len(set(prompt.categories)) == 5 for prompt in prompts)
    named = {name for prompt in prompts for name in prompt.categories}
    assert named == set(read_vocabulary("coco"))


def test_vocabularies_have_the_published_sizes_and_no_name_twice():
    for name, size in (("coco", 80), ("ade20k", 100)):
        vocabulary = read_vocabulary(name)
        assert len(vocabulary) == len(set(vocabulary)) == size
        assert all(word and word == word.strip().lower() for word in vocabulary)
        assert list_categories(name) == vocabulary


def test_categories_listed_twice_are_named():
    assert list_categories(["b", "a"]) == ("b", "a")
    with pytest.raises(ValueError, match=r"\['b'\] are listed again"):
        list_categories(["b", "a", "b"])


def test_digest_of_prompts_changes_with_all_that_a_score_depends_on():
    prompt = Prompt(3, "a cat above a cup", ("cat", "cup"), "above")
    others = [
        Prompt(4, "a cat above a cup", ("cat", "cup"), "above"),
        Prompt(3, "a cat over a cup", ("cat", "cup"), "above"),
        Prompt(3, "a cat above a cup", ("cat", "bowl"), "above"),
        Prompt(3, "a cat above a cup", ("cat", "cup"), "below"),
    ]
    digests = {prompts_digest([p], 4) for p in [prompt, *others]} | {prompts_digest([prompt], 5)}
    assert len(digests) == 6
    assert prompts_digest([prompt], 4) in digests


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["cat"], "a photo of a cat."),
        (["cat", "apple"], "a photo of a cat and a apple."),
        (["cat", "kite", "wine glass"], "a photo of a cat, a kite, and a wine glass."),
    ],
)
def test_template(names, text):
    assert multigen_text(names) == text


def test_sampled_prompts_are_a_function_of_the_seed():
    names = [f"thing {n}" for n in range(9)]
    first = sample_prompts(names, num_prompts=20, num_objects=5, seed=1)
    assert first == sample_prompts(names, num_prompts=20, num_objects=5, seed=1)
    assert first != sample_prompts(names, num_prompts=20, num_objects=5, seed=2)
    assert all(len(set(prompt.categories)) == 5 for prompt in first)
    with pytest.raises(ValueError, match="received 2"):
        sample_prompts(["a", "b"], num_prompts=1, num_objects=3, seed=0)


def test_bad_prompt_file_is_named(tmp_path):
    path = tmp_path / "prompts.json"
    entry = {"unique_id": 0, "num_objects": 1, "obj_1_attributes": ["cat"], "text": "a cat"}
    path.write_text(json.dumps([entry, {**entry, "num_objects": 2}]))
    with pytest.raises(ValueError, match=r"entry 1 \(unique_id 0\) lacks 'obj_2_attributes'"):
        read_prompts(path)
    path.write_text("[")
    with pytest.raises(ValueError, match=r"prompts\.json: not JSON"):
        read_prompts(path)
    path.write_text(json.dumps([entry, entry]))
    with pytest.raises(ValueError, match=r"entry 1 \(unique_id 0\) has unique_id 0 a second time"):
        read_prompts(path)
    path.write_text(json.dumps([entry, {**entry, "unique_id": 1, "num_objects": 0}]))
    with pytest.raises(ValueError, match=r"entry 1 \(unique_id 1\) has num_objects 0; a prompt"):
        read_prompts(path)
    for nothing in ([], {}, entry):
        path.write_text(json.dumps(nothing))
        with pytest.raises(ValueError, match=r"prompts\.json: a list of at least one prompt"):
            read_prompts(path)


ENTRY = {
    "unique_id": 7,
    "num_objects": 2,
    "obj_1_attributes": ["cat"],
    "obj_2_attributes": ["cup"],
    "text": "a cat and a cup",
}


@pytest.mark.parametrize(
    ("changes", "problem", "remedy"),
    [
        ({"obj_1_attributes": "cat"}, "has obj_1_attributes 'cat'", "a list of that name, ['cat']"),
        (
            {"obj_1_attributes": ["cat", "dog"]},
            "has obj_1_attributes ['cat', 'dog']",
            "exactly one",
        ),
        ({"obj_2_attributes": []}, "has obj_2_attributes []", "exactly one name"),
        ({"obj_2_attributes": [" "]}, "has obj_2_attributes [' ']", "exactly one name"),
        ({"obj_2_attributes": [None]}, "has obj_2_attributes [None]", "exactly one name"),
        ({"obj_2_attributes": None}, "has obj_2_attributes None", "exactly one name"),
        ({"obj_2_attributes": {"0": "cat"}}, "has obj_2_attributes {'0': 'cat'}", "exactly one"),
        ({"obj_3_attributes": ["car"]}, "has obj_3_attributes, but num_objects 2", "count all"),
        ({"obj_12_attributes": ["car"]}, "has obj_12_attributes, but num_objects 2", "count all"),
        ({"obj_2_attributes": ["cat"]}, "'cat' in obj_1_attributes and in obj_2_attr", "another"),
        ({"text": None}, "has text None", "as a string"),
        ({"text": 3}, "has text 3", "as a string"),
        ({"unique_id": "x7"}, "has unique_id 'x7'", "a whole number from 0 to 2147483647"),
        ({"unique_id": "3_1"}, "has unique_id '3_1'", "a whole number"),
        ({"unique_id": 7.9}, "has unique_id 7.9", "a whole number"),
        ({"unique_id": True}, "has unique_id True", "a whole number"),
        ({"unique_id": None}, "has unique_id None", "a whole number"),
        ({"unique_id": -1}, "has unique_id -1", "a whole number"),
        ({"unique_id": 2**31}, "has unique_id 2147483648", "a whole number from 0 to 2147483647"),
        ({"unique_id": 10**40}, "has unique_id 1000", "a whole number from 0 to 2147483647"),
        ({"num_objects": "two"}, "has num_objects 'two'", "a whole number"),
        ({"num_objects": -2}, "has num_objects -2", "a whole number"),
        ({"num_objects": 2**31 - 1}, "lacks 'obj_3_attributes'", "add the field"),
    ],
)
def test_an_entry_that_would_be_read_as_something_else_is_refused(
    tmp_path, changes, problem, remedy
):
    path = tmp_path / "prompts.json"
    entry = {**ENTRY, **changes}
    path.write_text(json.dumps([{**ENTRY, "unique_id": 3}, entry]))
    with pytest.raises(ValueError, match="entry 1") as caught:
        read_prompts(path)
    message = str(caught.value)
    start, _, advice = message.partition("; ")
    assert start.startswith(f"{path}: entry 1 (unique_id {entry['unique_id']!r}) ")
    assert problem in start
    assert remedy in advice
    assert "\n" not in message


@pytest.mark.parametrize("field", list(ENTRY))
def test_a_field_that_lacks_is_named(tmp_path, field):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps([{key: ENTRY[key] for key in ENTRY if key != field}]))
    with pytest.raises(ValueError, match=rf"prompts\.json: entry 0 .*lacks '{field}'; add"):
        read_prompts(path)


@pytest.mark.parametrize("entry", [3, None, "a cat", ["cat"]])
def test_an_entry_that_is_no_object_is_named(tmp_path, entry):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps([ENTRY, entry]))
    with pytest.raises(ValueError, match=r"prompts\.json: entry 1 is .*; write an object"):
        read_prompts(path)


def test_entries_are_read_in_the_order_of_their_objects(tmp_path):
    path = tmp_path / "prompts.json"
    others = {"unique_id": 2**31 - 1, "obj_1_attributes": ["Cat"], "obj_2_attributes": ["cat"]}
    path.write_text(json.dumps([{**ENTRY, "unique_id": "0", "note": ""}, {**ENTRY, **others}]))
    assert read_prompts(path) == [
        Prompt(0, "a cat and a cup", ("cat", "cup")),
        Prompt(2**31 - 1, "a cat and a cup", ("Cat", "cat")),
    ]


def test_seed_of_an_image_depends_on_prompt_and_round_alone():
    prompts = sample_prompts(["a", "b", "c"], num_prompts=30, num_objects=2, seed=0)
    whole = request_images(prompts, 3, seed=7)
    assert len({request.seed for request in whole}) == 90
    assert request_images(prompts[10:20], 3, seed=7) == whole[30:60]
    assert image_seed(7, 3, 1) == whole[10].seed
    assert whole[10].name == "3_1"
