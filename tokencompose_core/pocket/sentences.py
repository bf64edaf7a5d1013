"""Write captions of scenes, with the Penn Treebank tag of every word.

A template is a line of words as `word/TAG` with slots for what the scene decides. Templates of
`HELD_OUT_TEMPLATES` are never used for training, so that the tagger can be judged on them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tokencompose_core.pocket.categories import CATEGORIES, Category
from tokencompose_core.pocket.scenes import Scene, SceneObject, relation_of

Quality = Literal["full", "partial", "vague", "wrong"]
TaggedWord = tuple[str, str]


@dataclass(frozen=True)
class Sentence:
    """Words with their tags; `text` joins them as people write."""

    words: tuple[TaggedWord, ...]

    @property
    def text(self) -> str:
        """The sentence with a space between words and none before punctuation."""
        text = ""
        for word, _ in self.words:
            text += word if not text or word in ",." else f" {word}"
        return text


TEMPLATES: tuple[str, ...] = (
    "a/DT photo/NN of/IN {list} ./.",
    "a/DT photo/NN of/IN {list}",
    "a/DT picture/NN of/IN {list} ./.",
    "an/DT image/NN showing/VBG {list} ./.",
    "{list} on/IN {surface} ./.",
    "there/EX {be} {list} on/IN {surface} ./.",
    "{relation} ./.",
    "{relation} on/IN {surface} ./.",
    "{list} {stand} on/IN {surface} ./.",
    "a/DT photo/NN of/IN {list} on/IN {surface} ./.",
    "we/PRP can/MD see/VB {list} ./.",
    "this/DT is/VBZ a/DT picture/NN with/IN {list} ./.",
    "on/IN {surface} {be} {list} ./.",
    "a/DT view/NN of/IN {list} outside/RB ./.",
    "someone/NN left/VBD {list} behind/RB ./.",
    "they/PRP put/VBD {list} there/RB ./.",
    "here/RB we/PRP have/VBP {list} ./.",
    "the/DT photo/NN shows/VBZ {list} ./.",
    "{list} seen/VBN outside/RB ./.",
    "a/DT small/JJ view/NN of/IN {list} ./.",
    "nothing/NN but/IN {list} on/IN {surface} ./.",
    "{list} standing/VBG outside/RB",
    "{list} can/MD be/VB found/VBN here/RB ./.",
    "{list} in/IN this/DT picture/NN ./.",
    "something/NN else/RB and/CC {list} ./.",
)
HELD_OUT_TEMPLATES: tuple[str, ...] = (
    "{list} can/MD be/VB seen/VBN on/IN {surface} ./.",
    "someone/NN put/VBD {list} on/IN {surface} ./.",
    "on/IN {surface} we/PRP see/VBP {list} ./.",
    "this/DT image/NN shows/VBZ {list} ./.",
    "a/DT small/JJ picture/NN of/IN {list} outside/RB",
    "{relation} in/IN this/DT photo/NN ./.",
    "{list} standing/VBG on/IN {surface}",
    "here/RB {be} {list} and/CC nothing/NN else/RB ./.",
)
VAGUE_TEMPLATES: tuple[str, ...] = (
    "some/DT things/NNS on/IN {surface} ./.",
    "a/DT colorful/JJ picture/NN ./.",
    "a/DT few/JJ objects/NNS in/IN a/DT scene/NN ./.",
    "this/DT was/VBD taken/VBN outside/RB ./.",
    "something/NN is/VBZ standing/VBG here/RB ./.",
    "a/DT nice/JJ view/NN of/IN {surface} in/IN {place} ./.",
)
_PLACES = ("London", "Paris", "Oslo", "Lima", "Kyoto")
_RELATION_WORDS: dict[str, tuple[str, ...]] = {
    "left of": ("to/TO the/DT left/NN of/IN", "left/RB of/IN"),
    "right of": ("to/TO the/DT right/NN of/IN", "right/RB of/IN"),
    "above": ("above/IN", "over/IN"),
    "below": ("below/IN", "under/IN"),
    "in front of": ("in/IN front/NN of/IN", "before/IN"),
    "behind": ("behind/IN", "in/IN back/NN of/IN"),
}
_OPPOSITE = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "in front of": "behind",
    "behind": "in front of",
}
_IRREGULAR_PLURALS = {"wine glass": "wine glasses"}


@dataclass(frozen=True)
class _Mention:
    """What a caption says of one category: its name, how many there are, perhaps a colour."""

    category: Category
    count: int
    colour: str | None
    item: SceneObject


def write_sentence(
    rng: random.Random,
    scene: Scene,
    *,
    quality: Quality = "full",
    templates: Sequence[str] = TEMPLATES,
    colour_share: float = 0.4,
) -> Sentence:
    """Caption a scene.

    Args:
        rng: Source of all randomness.
        scene: What is in the picture.
        quality: `full` names every category, `partial` some of them, `vague` none, and `wrong`
            names one that is not there in the place of one that is.
        templates: Lines to choose from; `vague` has its own.
        colour_share: Chance that an object's colour is told.
    """
    if quality == "vague":
        return _fill(rng, rng.choice(VAGUE_TEMPLATES), scene, [])
    mentions = _mentions(rng, scene, colour_share)
    if quality == "partial" and len(mentions) > 1:
        mentions = mentions[: rng.randint(1, len(mentions) - 1)]
    if quality == "wrong":
        absent = [category for category in CATEGORIES if category.name not in scene.names]
        place = rng.randrange(len(mentions))
        old = mentions[place]
        mentions[place] = _Mention(rng.choice(absent), old.count, old.colour, old.item)
    if len(mentions) < 2:
        templates = [t for t in templates if "{relation}" not in t]
    return _fill(rng, rng.choice(templates), scene, mentions)


def write_relation(
    rng: random.Random, scene: Scene, *, truth: bool
) -> tuple[str, str, SceneObject, SceneObject]:
    """A statement about two objects of a scene, as VSR makes them.

    Returns:
        The caption ("The cat is left of the boat."), the relation, and the two objects.

    Raises:
        ValueError: If the scene holds fewer than two objects of different categories.
    """
    if len(scene.names) < 2:
        raise ValueError("a relation needs two objects of different categories")
    while True:
        subject, other = rng.sample(scene.objects, 2)
        if subject.category != other.category:
            break
    relation = relation_of(subject, other, subject_in_front=_in_front(scene, subject, other))
    said = relation if truth else _OPPOSITE[relation]
    return f"The {subject.category.name} is {said} the {other.category.name}.", said, subject, other


def plural(name: str) -> str:
    """The plural of a category's name."""
    return _IRREGULAR_PLURALS.get(name, f"{name}s")


def _mentions(rng: random.Random, scene: Scene, colour_share: float) -> list[_Mention]:
    mentions = []
    for name in scene.names:
        items = [item for item in scene.objects if item.category.name == name]
        colour = items[0].colour if len(items) == 1 and rng.random() < colour_share else None
        mentions.append(_Mention(items[0].category, len(items), colour, items[0]))
    rng.shuffle(mentions)
    return mentions


def _fill(rng: random.Random, template: str, scene: Scene, mentions: list[_Mention]) -> Sentence:
    definite = "{relation}" in template and rng.random() < 0.3
    phrases = [_phrase(mention, definite=definite) for mention in mentions]
    several = len(mentions) > 1 or (bool(mentions) and mentions[0].count > 1)
    words: list[TaggedWord] = []
    for slot in template.split():
        match slot:
            case "{list}":
                words += _listing(phrases)
            case "{relation}":
                words += _relation_clause(rng, scene, mentions, phrases)
            case "{surface}":
                words += [("the", "DT"), (scene.surface, "NN")]
            case "{place}":
                words.append((rng.choice(_PLACES), "NNP"))
            case "{be}":
                words.append(("are", "VBP") if several else ("is", "VBZ"))
            case "{stand}":
                words.append(("stand", "VBP") if several else ("stands", "VBZ"))
            case _:
                words.append(_tagged(slot))
    if rng.random() < 0.6:
        first, tag = words[0]
        words[0] = (first[:1].upper() + first[1:], tag)
    return Sentence(tuple(words))


def _relation_clause(
    rng: random.Random,
    scene: Scene,
    mentions: list[_Mention],
    phrases: list[list[TaggedWord]],
) -> list[TaggedWord]:
    subject, other = mentions[0].item, mentions[1].item
    relation = relation_of(subject, other, subject_in_front=_in_front(scene, subject, other))
    verb = (
        [] if rng.random() < 0.4 else [("are", "VBP") if mentions[0].count > 1 else ("is", "VBZ")]
    )
    words = phrases[0] + verb + [_tagged(w) for w in rng.choice(_RELATION_WORDS[relation]).split()]
    words = words + phrases[1]
    if len(phrases) > 2:
        words = [*words, (",", ","), ("with", "IN"), *_listing(phrases[2:])]
    return words


def _phrase(mention: _Mention, *, definite: bool) -> list[TaggedWord]:
    """An object with its determiner and perhaps its colour: "a red car", "two cats"."""
    name = plural(mention.category.name) if mention.count > 1 else mention.category.name
    *modifiers, head = name.split()
    described: list[TaggedWord] = [(mention.colour, "JJ")] if mention.colour else []
    described += [(word, "NN") for word in modifiers]
    described.append((head, "NNS" if mention.count > 1 else "NN"))
    if mention.count > 1:
        return [("two", "CD"), *described]
    if definite:
        return [("the", "DT"), *described]
    return [("an" if described[0][0][0] in "aeiou" else "a", "DT"), *described]


def _listing(phrases: list[list[TaggedWord]]) -> list[TaggedWord]:
    words: list[TaggedWord] = []
    for index, phrase in enumerate(phrases):
        if index and index == len(phrases) - 1:
            words.append(("and", "CC"))
        elif index:
            words.append((",", ","))
        words += phrase
    return words


def _tagged(slot: str) -> TaggedWord:
    word, _, tag = slot.rpartition("/")
    return word, tag


def _in_front(scene: Scene, subject: SceneObject, other: SceneObject) -> bool:
    return scene.objects.index(subject) > scene.objects.index(other)
