"""The stage `select` with all of a set in memory, as it was first written: slow, plain, and what
the stage must agree with to the last byte."""

import hashlib
import io
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_schemas.records import SELECTED_SCHEMA, SelectedImage
from data_schemas.rejections import REJECTION_SCHEMA, Rejection, RejectionReason
from tokencompose_core.selection.candidates import Candidate, name_row, roots_of
from tokencompose_core.selection.fetch_images import FetchError, fetched_path
from tokencompose_core.store.keys import canonical_json, make_key, text_digest
from tokencompose_core.store.open_image import BadImageError, check_image


def join_plainly(rows, images_dir):
    """Images in order of first mention, and rows that are left out."""
    candidates: dict[str, Candidate] = {}
    rejected = []
    for row in rows:
        named = row if isinstance(row, Rejection) else name_row(row, roots_of(images_dir))
        if isinstance(named, Rejection):
            rejected.append(named)
            continue
        key, image = named
        known = candidates.setdefault(key, Candidate(key, image, []))
        if known.image != image:
            detail = f"{row.place}: {row.name or image!r} is taken by {known.image}, not {image}"
            rejected.append(reject(key, RejectionReason.ID_TAKEN, detail))
            continue
        for caption in row.captions:
            if caption not in known.captions:
                known.captions.append(caption)
    return list(candidates.values()), rejected


def digest_plainly(candidates, rejected, images_dir):
    """Digest of a source of a user's own."""
    whole = hashlib.sha256()
    for candidate in candidates:
        try:
            file = images_dir / path_of(candidate.image, images_dir)
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
        except FetchError as error:
            digest = str(error)
        except (OSError, ValueError):
            digest = ""
        parts = [candidate.key, candidate.image, candidate.captions, digest]
        whole.update(canonical_json(parts).encode())
    for rejection in rejected:
        whole.update(canonical_json(rejection.model_dump(mode="json")).encode())
    return whole.hexdigest()


def select_plainly(candidates, images_dir, min_side, max_pixels, max_ratio):
    """Images that can be used, and those that are left out."""
    selected, rejected, taken = [], [], {}
    for candidate in candidates:
        key, image, captions = candidate.key, candidate.image, candidate.captions
        kept = [text for text in captions if any(map(str.isalpha, text))]
        if taken.setdefault(key, image) != image:
            detail = f"{image}: the key is taken by {taken[key]}"
            rejected.append(reject(key, RejectionReason.ID_TAKEN, detail))
        elif not captions:
            rejected.append(reject(key, RejectionReason.CAPTION_MISSING, image))
        elif not any(map(str.strip, captions)):
            rejected.append(reject(key, RejectionReason.CAPTION_EMPTY, f"{len(captions)} blank"))
        elif not kept:
            detail = " | ".join(captions)
            rejected.append(reject(key, RejectionReason.CAPTION_WITHOUT_WORDS, detail))
        else:
            try:
                path = path_of(image, images_dir)
                file = images_dir / path
                if not exists(file):
                    raise BadImageError(RejectionReason.IMAGE_MISSING, path)
                check_image(file, min_side=min_side, max_pixels=max_pixels, max_ratio=max_ratio)
            except (BadImageError, FetchError) as error:
                rejected.append(reject(key, error.reason, str(error)))
                continue
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            selected.append(
                SelectedImage(key=key, image_path=path, image_sha256=digest, captions=kept)
            )
    return selected, rejected


def cut_plainly(keys, mean_size):
    """Ranges of indices of the partitions."""
    smallest = max(1, mean_size // 2)
    starts = [0]
    for index, key in enumerate(keys):
        size = index + 1 - starts[-1]
        chosen = int(text_digest(key)[:8], 16) % max(1, mean_size - smallest) == 0
        if (size >= smallest and chosen) or size >= 2 * mean_size:
            starts.append(index + 1)
    if starts[-1] != len(keys):
        starts.append(len(keys))
    return [range(a, b) for a, b in pairwise(starts)]


def entry(source_digest, candidates, rejected, images_dir, *, split, mean_size):
    """Key, counts and files of the output."""
    selected, unusable = select_plainly(candidates, images_dir, 32, 89_478_485, 30)
    rejected = [*rejected, *unusable]
    files = {"rejections.parquet": table_bytes(rejected, REJECTION_SCHEMA)}
    for number, part in enumerate(cut_plainly([image.key for image in selected], mean_size)):
        rows = selected[part.start : part.stop]
        files[f"part-{number:05d}.parquet"] = table_bytes(rows, SELECTED_SCHEMA)
    settings = {"split": split, "partition_size": mean_size}
    return {
        "key": make_key("select", 2, {"source": source_digest, "settings": settings}),
        "num_in": len(selected) + len(rejected),
        "num_out": len(selected),
        "rejected": dict(Counter(str(rejection.reason) for rejection in rejected)),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }


def table_bytes(records, schema):
    stream = io.BytesIO()
    rows = [record.model_dump(mode="json") for record in records]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), stream, compression="zstd")
    return stream.getvalue()


def path_of(image, images_dir):
    return fetched_path(image, images_dir) if "://" in image else image


def exists(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:
        return False


def reject(key, reason, detail):
    return Rejection(key=key, stage="select", reason=reason, detail=detail)
