"""Train a small part-of-speech tagger that flair loads."""

import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tokencompose_core.nouns.import_flair import flair

# isort: split
from flair.data import Corpus, Dictionary
from flair.data import Sentence as FlairSentence
from flair.datasets import FlairDatapointDataset
from flair.embeddings import CharacterEmbeddings, OneHotEmbeddings, StackedEmbeddings
from flair.models import SequenceTagger
from flair.trainers import ModelTrainer

from tokencompose_core.pocket.fitting import OnProgress
from tokencompose_core.pocket.scenes import sample_scene, sample_varied_names
from tokencompose_core.pocket.sentences import TEMPLATES, Quality, Sentence, write_sentence

FILE_NAME = "pytorch_model.bin"
_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"()-&/"
_QUALITIES: tuple[Quality, ...] = ("full", "full", "full", "full", "partial", "vague")


def train_tagger(
    folder: Path,
    *,
    seed: int,
    num_sentences: int,
    num_epochs: int,
    on_progress: OnProgress = lambda *_: None,
    checkpoint_path: Path | None = None,
) -> list[dict[str, float]]:
    """Fit a SequenceTagger with Penn Treebank tags on captions of the pocket world.

    Words are known by a one-hot embedding and by their letters; one word in six is hidden while
    training, so that the letters and the neighbours must do. It takes a minute, so it starts over
    after a crash instead of writing `checkpoint_path`.
    """
    flair.set_seed(seed)
    sentences = [to_flair(s) for s in draw_sentences(num_sentences, seed=seed, templates=TEMPLATES)]
    corpus = Corpus(
        train=FlairDatapointDataset(sentences),
        dev=FlairDatapointDataset(sentences[: num_sentences // 20]),
        sample_missing_splits=False,
    )
    tags = corpus.make_label_dictionary(label_type="pos", add_unk=False)
    characters = Dictionary(add_unk=True)
    for character in _CHARACTERS:
        characters.add_item(character)
    tagger = SequenceTagger(
        # Letters first: flair joins embeddings in the order of their names, and a one-hot
        # embedding loses the prefix "1-" of its name when it is loaded.
        embeddings=StackedEmbeddings(
            [
                CharacterEmbeddings(characters, char_embedding_dim=12, hidden_size_char=12),
                OneHotEmbeddings.from_corpus(corpus, embedding_length=24, min_freq=2),
            ]
        ),
        tag_dictionary=tags,
        tag_type="pos",
        hidden_size=48,
        use_crf=False,
        word_dropout=0.15,
        locked_dropout=0.0,
    )
    with TemporaryDirectory() as scratch:
        ModelTrainer(tagger, corpus).train(
            scratch,
            optimizer=torch.optim.AdamW,
            learning_rate=5e-3,
            mini_batch_size=32,
            max_epochs=num_epochs,
            embeddings_storage_mode="none",
            save_final_model=False,
            create_file_logs=False,
            create_loss_file=False,
        )
    folder.mkdir(parents=True, exist_ok=True)
    tagger.save(folder / FILE_NAME)
    on_progress(num_epochs, num_epochs, {})
    return []


def draw_sentences(count: int, *, seed: int, templates: Sequence[str]) -> list[Sentence]:
    """Tagged captions of random scenes."""
    sentences = []
    for number in range(count):
        rng = random.Random(f"sentence-{seed}-{number}")
        scene = sample_scene(rng, sample_varied_names(rng), width=200, height=200, twin_share=0.3)
        quality = rng.choice(_QUALITIES)
        sentences.append(write_sentence(rng, scene, quality=quality, templates=templates))
    return sentences


def to_flair(sentence: Sentence) -> FlairSentence:
    """The sentence with its tags as flair's gold labels."""
    words = FlairSentence([word for word, _ in sentence.words])
    for token, (_, tag) in zip(words, sentence.words, strict=True):
        token.add_label("pos", tag)
    return words
