"""Scenes that no model was trained on, with their truth."""

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image

from data_schemas.records import NounPhrase
from tokencompose_core.nouns.tagger import join_nouns
from tokencompose_core.pocket.drawing import draw_object_indices, draw_scene
from tokencompose_core.pocket.scenes import Scene, sample_scene, sample_varied_names
from tokencompose_core.pocket.sentences import Sentence, plural, write_sentence

NOUN_TAGS = ("NN", "NNS", "NNP", "NNPS")
SMALLEST_AREA = 20
_SIZES = ((240, 180), (180, 240), (200, 200), (224, 192), (192, 224), (256, 192))


@dataclass(frozen=True)
class HeldOut:
    """A scene with its picture, the index of the object at every pixel, and a caption."""

    scene: Scene
    image: Image.Image
    indices: np.ndarray
    sentence: Sentence
    wrong: Sentence

    @property
    def phrases(self) -> list[NounPhrase]:
        """The noun phrases of the caption, by its true tags."""
        text, position, tokens = self.sentence.text, 0, []
        for word, tag in self.sentence.words:
            start = text.index(word, position)
            position = start + len(word)
            tokens.append((start, position, tag in NOUN_TAGS))
        return join_nouns(text, tokens)

    def masks_of(self, phrase: str) -> list[np.ndarray]:
        """Masks of the visible objects that a phrase names; none if it names no category."""
        return [
            mask
            for number, item in enumerate(self.scene.objects)
            if phrase.lower() in (item.category.name, plural(item.category.name))
            and (mask := self.indices == number).sum() >= SMALLEST_AREA
        ]


def draw_held_out(count: int, *, seed: int, square: bool = False) -> list[HeldOut]:
    """Scenes as the pocket world holds them, from seeds that no training uses.

    Args:
        count: Number of scenes.
        seed: Seed of the scenes.
        square: Whether all are square, as generated images are.
    """
    scenes = []
    for number in range(count):
        rng = random.Random(f"held-out-{seed}-{number}")
        width, height = (200, 200) if square else rng.choice(_SIZES)
        scene = sample_scene(
            rng, sample_varied_names(rng), width=width, height=height, twin_share=0.12
        )
        scenes.append(
            HeldOut(
                scene,
                draw_scene(scene),
                draw_object_indices(scene),
                write_sentence(rng, scene),
                write_sentence(rng, scene, quality="wrong"),
            )
        )
    return scenes
