"""Digest of all that is imported for a list of images."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_schemas.rejections import Rejection
from tokencompose_core.importing.open_mask import BadMaskError, find_mask
from tokencompose_core.importing.read_rows import ListedRow
from tokencompose_core.selection.candidates import roots_of
from tokencompose_core.store.keys import canonical_json, file_digest
from tokencompose_core.store.map_in_threads import map_in_threads


def digest_rows(
    keys: Iterable[str],
    rows: Mapping[str, Sequence[ListedRow | Rejection]],
    masks_dir: Path,
    digest: Callable[[Path], str] = file_digest,
) -> str:
    """Digest of the images' rows and of the masks that they name, by content.

    A mask that is not there counts as missing, so that its arrival changes the digest. Where a row
    stands in its file does not count, unless a rejection says it.
    """
    roots = roots_of(masks_dir)

    def describe_mask(mask: str | None) -> str:
        try:
            return digest(find_mask(mask, roots)) if mask is not None else ""
        except BadMaskError as error:
            return str(error.reason)

    def describe_rows(key: str) -> list[Any]:
        described: list[Any] = [key]
        for row in rows.get(key, ()):
            if isinstance(row, Rejection):
                described.append(row.model_dump(mode="json"))
            else:
                nouns = [[n.text, n.mask, describe_mask(n.mask)] for n in row.nouns]
                described.append([row.caption, nouns])
        return described

    whole = hashlib.sha256()
    for described in map_in_threads(describe_rows, keys):
        whole.update(canonical_json(described).encode("utf-8"))
    return whole.hexdigest()
