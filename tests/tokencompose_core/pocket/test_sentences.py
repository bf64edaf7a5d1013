import random

from tokencompose_core.pocket.categories import CATEGORIES
from tokencompose_core.pocket.scenes import relation_of, sample_scene, sample_varied_names
from tokencompose_core.pocket.sentences import (
    HELD_OUT_TEMPLATES,
    TEMPLATES,
    plural,
    write_relation,
    write_sentence,
)


def scenes(count):
    for seed in range(count):
        rng = random.Random(f"s{seed}")
        yield (
            rng,
            sample_scene(rng, sample_varied_names(rng), width=200, height=160, twin_share=0.2),
        )


def mentioned(text):
    found = set()
    for category in sorted(CATEGORIES, key=lambda c: -len(c.name)):
        for name in (plural(category.name), category.name):
            if f" {name}" in f" {text.lower()}":
                found.add(category.name)
                text = text.lower().replace(name, "#")
    return found


def test_captions_say_what_their_quality_promises():
    for rng, scene in scenes(80):
        names = set(scene.names)
        assert mentioned(write_sentence(rng, scene).text) == names
        partial = mentioned(write_sentence(rng, scene, quality="partial").text)
        assert partial <= names
        assert len(partial) < len(names) or len(names) == 1
        assert mentioned(write_sentence(rng, scene, quality="vague").text) == set()
        wrong = mentioned(write_sentence(rng, scene, quality="wrong").text)
        assert len(wrong - names) == 1
        assert len(names - wrong) == 1


def test_text_is_made_of_its_words_in_order():
    for rng, scene in scenes(40):
        sentence = write_sentence(rng, scene, templates=HELD_OUT_TEMPLATES)
        position = 0
        for word, _ in sentence.words:
            position = sentence.text.index(word, position) + len(word)
        assert position == len(sentence.text)


def test_templates_of_the_test_are_none_of_the_training():
    assert not set(TEMPLATES) & set(HELD_OUT_TEMPLATES)


def test_relations_are_true_or_false_as_asked():
    opposites = {("left of", "right of"), ("above", "below"), ("in front of", "behind")}
    for rng, scene in scenes(60):
        if len(scene.names) < 2:
            continue
        for truth in (True, False):
            caption, said, subject, other = write_relation(rng, scene, truth=truth)
            in_front = scene.objects.index(subject) > scene.objects.index(other)
            real = relation_of(subject, other, subject_in_front=in_front)
            assert caption == f"The {subject.category.name} is {said} the {other.category.name}."
            assert (said == real) == truth
            assert truth or (said, real) in opposites or (real, said) in opposites
