"""Shards of any samples: what comes back, and the bytes."""

import io
import json
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from data_schemas.records import GroundedCaption, GroundedPhrase, IndexedCaption
from tokencompose_core.shards.read_shard import read_shard
from tokencompose_core.shards.write_shard import INDEX_NAME, SHARD_NAME, write_shard
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.run_lengths import encode_mask
from tokencompose_core.store.tables import read_table

TEXT = st.text(max_size=30) | st.sampled_from(
    ["He said \"cat\" \\ 'dog'", "😀 👩‍👩‍👧 é ﷽", '{"a": 1}\n\t', "\x00\x1f\u2028", "a" * 2000]
)
FORMATS = st.sampled_from([("JPEG", "jpg"), ("JPEG", "jpeg"), ("PNG", "png"), ("WEBP", "webp")])
SCORES = st.floats(0, 1, width=32)


@st.composite
def samples(draw: st.DrawFn) -> list[tuple[GroundedCaption, bytes, str, list[np.ndarray]]]:
    """Samples with their images' bytes and suffixes, and the masks that are not empty."""
    made = []
    for number in range(draw(st.integers(0, 3))):
        width, height = draw(st.integers(1, 24)), draw(st.integers(1, 24))
        pixels = draw(npst.arrays(np.uint8, (height, width, 3), fill=st.integers(0, 255)))
        kind, suffix = draw(FORMATS)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format=kind)
        caption = draw(TEXT)
        phrases, masks = [], []
        for _ in range(draw(st.integers(0, 3))):
            start = draw(st.integers(0, len(caption)))
            end = draw(st.integers(start, len(caption)))
            mask = draw(npst.arrays(bool, (height, width), fill=st.booleans()))
            if mask.any():
                masks.append(mask)
            boxes = draw(st.lists(st.lists(SCORES, min_size=4, max_size=4), max_size=2))
            phrases.append(
                GroundedPhrase(
                    text=caption[start:end],
                    start=start,
                    end=end,
                    boxes=boxes,
                    scores=[0.5] * len(boxes),
                    mask_counts=encode_mask(mask) if mask.any() else "",
                )
            )
        sample = GroundedCaption(
            key=f"{number:03d}",
            image_path=f"images/{number}.{suffix}",
            image_sha256="",
            width=width,
            height=height,
            caption=caption,
            phrases=phrases,
        )
        made.append((sample, stream.getvalue(), suffix, masks))
    return made


def write(folder: Path, made: list) -> list[GroundedCaption]:
    (folder / "images").mkdir(parents=True)
    written = []
    for sample, content, _, _ in made:
        path = folder / sample.image_path
        path.write_bytes(content)
        written.append(sample.model_copy(update={"image_sha256": file_digest(path)}))
    write_shard(folder, written, folder)
    return written


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(samples())
def test_whatever_is_written_comes_back_and_equal_samples_give_equal_bytes(made):
    with TemporaryDirectory() as name:
        folder = Path(name)
        written = write(folder / "a", made)
        write(folder / "b", made)
        for file in (SHARD_NAME, INDEX_NAME):
            assert (folder / "a" / file).read_bytes() == (folder / "b" / file).read_bytes()
        index = read_table(folder / "a" / INDEX_NAME, IndexedCaption)
        assert [row.image for row in index] == [suffix for _, _, suffix, _ in made]
        # A row of the index is the sample, and some figures besides.
        shared = [
            GroundedCaption(
                **row.model_dump(exclude={"image", "phrases"}),
                phrases=[
                    GroundedPhrase(**p.model_dump(include=set(GroundedPhrase.model_fields)))
                    for p in row.phrases
                ],
            )
            for row in index
        ]
        assert shared == written
        read = list(read_shard(folder / "a" / SHARD_NAME))
        assert [one.key for one in read] == [sample.key for sample in written]
        for one, (sample, content, _, masks) in zip(read, made, strict=True):
            assert one.caption == sample.caption
            grounded = [phrase for phrase in sample.phrases if phrase.mask_counts]
            assert one.spans == [(phrase.start, phrase.end) for phrase in grounded]
            assert len(one.masks) == len(masks)
            for found, mask in zip(one.masks, masks, strict=True):
                assert found.dtype == bool
                assert np.array_equal(found, mask)
            with Image.open(io.BytesIO(content)) as image:
                assert np.array_equal(np.asarray(one.image), np.asarray(image.convert("RGB")))
        # Python's own tar reader sees the members that the docstring of `write_shard` names.
        with tarfile.open(folder / "a" / SHARD_NAME) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
            assert {member.mtime for member in tar} <= {0}
        expected = {}
        for sample, content, suffix, _ in made:
            expected[f"{sample.key}.{suffix}"] = content
            described = json.loads(members.pop(f"{sample.key}.json").decode("utf-8"))
            assert described["caption"] == sample.caption
            for number, phrase in enumerate(sample.phrases):
                name = f"{number}.png" if phrase.mask_counts else None
                assert described["phrases"][number]["mask"] == name
                assert described["phrases"][number]["text"] == phrase.text
                if name:
                    assert members.pop(f"{sample.key}.{name}").startswith(b"\x89PNG")
        assert members == expected
