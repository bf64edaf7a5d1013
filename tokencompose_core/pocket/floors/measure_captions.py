"""CLIP and the tagger."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_schemas.records import NounPhrase
from tokencompose_core.captions.clip import load_clip, score_captions
from tokencompose_core.nouns.tagger import find_noun_phrases, load_tagger
from tokencompose_core.pocket.floors.figure import Figure
from tokencompose_core.pocket.floors.held_out import NOUN_TAGS, HeldOut
from tokencompose_core.pocket.scenes import sample_scene, sample_varied_names
from tokencompose_core.pocket.sentences import HELD_OUT_TEMPLATES, write_sentence


def measure_clip(models: Path, held_out: Sequence[HeldOut]) -> list[Figure]:
    """How often CLIP prefers the right caption to the wrong one of the same image."""
    clip = load_clip(models / "clip", "")
    scored = score_captions(
        clip,
        lambda index: held_out[index].image,
        [[item.sentence.text, item.wrong.text] for item in held_out],
        batch_size=64,
    )
    prefers = [one.scores[0] > one.scores[1] for one in scored if one]
    share = float(np.mean(prefers))
    return [Figure("CLIP", "prefers the right caption", share, 0.95, 1.0, len(prefers))]


def measure_tagger(models: Path, count: int, *, seed: int) -> list[Figure]:
    """F1 of nouns in sentences of templates that were never trained on."""
    tagger = load_tagger(models / "tagger")
    sentences = []
    for number in range(count):
        rng = random.Random(f"tagger-{seed}-{number}")
        scene = sample_scene(rng, sample_varied_names(rng), width=200, height=200, twin_share=0.3)
        sentences.append(write_sentence(rng, scene, templates=HELD_OUT_TEMPLATES))
    found = find_noun_phrases(
        tagger, [s.text for s in sentences], noun_tags=NOUN_TAGS, batch_size=64
    )
    true_positives = predicted = wanted = 0
    for sentence, phrases in zip(sentences, found, strict=True):
        own = {word for phrase in phrases for word in _word_starts(sentence.text, phrase)}
        gold, position = set(), 0
        for word, tag in sentence.words:
            start = sentence.text.index(word, position)
            position = start + len(word)
            if tag in NOUN_TAGS:
                gold.add(start)
        true_positives += len(own & gold)
        predicted += len(own)
        wanted += len(gold)
    score = 2 * true_positives / max(1, predicted + wanted)
    return [Figure("tagger", "F1 of nouns, unseen templates", score, 0.99, 1.0, wanted)]


def _word_starts(text: str, phrase: NounPhrase) -> list[int]:
    starts, inside = [], False
    for position in range(phrase.start, phrase.end):
        if text[position] != " " and not inside:
            starts.append(position)
        inside = text[position] != " "
    return starts
