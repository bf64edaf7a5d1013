"""What outputs left out, thing by thing, and whether an image can be used after all."""

from collections.abc import Iterable
from pathlib import Path

from data_schemas.manifest import Manifest
from data_schemas.rejections import PHRASE_REASONS, Rejection
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.open_image import BadImageError, open_image
from tokencompose_core.store.rejections import REJECTIONS_NAME
from tokencompose_core.store.tables import read_table


def read_left_out(store: Store, manifests: Iterable[Manifest]) -> list[Rejection]:
    """What some outputs left out, in their order.

    Args:
        store: The store.
        manifests: The outputs; of those that left nothing out no file is read.
    """
    return [
        rejection
        for manifest in manifests
        if manifest.rejected and REJECTIONS_NAME in manifest.names()
        for rejection in read_table(store.path(manifest, REJECTIONS_NAME), Rejection)
    ]


def place_of(rejection: Rejection) -> tuple[str, ...]:
    """What is the same for two rejections of one thing: a sample in a stage, or its phrase."""
    detail = rejection.detail if rejection.reason in PHRASE_REASONS else ""
    return rejection.stage, rejection.key, detail


def can_be_opened(path: Path, sha256: str) -> bool:
    """Whether a file has the content that was selected, and is decoded to the last pixel."""
    try:
        if file_digest(path) != sha256:
            return False
        open_image(path)
    except (OSError, BadImageError):
        return False
    return True
