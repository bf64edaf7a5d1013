"""CLIP's own tokenizer as files, written from the vocabulary that open_clip carries."""

import gzip
import json
from pathlib import Path

import open_clip.tokenizer
from transformers import CLIPTokenizer

_NUM_MERGES = 49152 - 256 - 2


def write_clip_tokenizer(folder: Path, *, model_max_length: int) -> CLIPTokenizer:
    """Write `vocab.json`, `merges.txt` and the settings, and load the tokenizer from them.

    The vocabulary is built as open_clip's `SimpleTokenizer` builds it: 256 bytes, the same as word
    ends, 48,894 merges, and the two special tokens.

    Args:
        folder: Where to write; made if it is not there.
        model_max_length: Length to which texts are padded and cut.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(open_clip.tokenizer.default_bpe(), "rt", encoding="utf-8") as stream:
        merges = stream.read().split("\n")[1 : _NUM_MERGES + 1]
    letters = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = letters + [f"{letter}</w>" for letter in letters]
    words += ["".join(merge.split()) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", "utf-8")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        model_max_length=model_max_length,
        pad_token="<|endoftext|>",
    )
    tokenizer.save_pretrained(folder)
    return tokenizer
