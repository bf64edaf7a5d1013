"""Digest of all that is imported for a list of images."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data_schemas.rejections import Rejection
from tokencompose_core.importing.open_mask import BadMaskError, find_mask
from tokencompose_core.importing.read_rows import ListedRow
from tokencompose_core.selection.candidates import roots_of
from tokencompose_core.store.keys import canonical_json, file_digest


def digest_rows(
    keys: Iterable[str], rows: Mapping[str, Sequence[ListedRow | Rejection]], masks_dir: Path
) -> str:
    """Digest of the images' rows and of the masks that they name, by content.

    A mask that is not there counts as missing, so that its arrival changes the digest. Where a row
    stands in its file does not count, unless a rejection says it.
    """
    roots = roots_of(masks_dir)

    def describe_mask(mask: str | None) -> str:
        try:
            return file_digest(find_mask(mask, roots)) if mask is not None else ""
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
    with ThreadPoolExecutor() as executor:
        for described in executor.map(describe_rows, keys):
            whole.update(canonical_json(described).encode("utf-8"))
    return whole.hexdigest()
