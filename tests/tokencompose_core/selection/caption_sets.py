"""Sources of captions, and what their readers return, in short."""

from pathlib import Path
from tempfile import TemporaryDirectory

from data_schemas.configs.curate_config import CurateConfig
from tokencompose_core.selection.joined_rows import join_rows
from tokencompose_core.selection.read_source import read_source


def source(kind, tmp_path, **settings):
    settings.setdefault("images_dir", str(tmp_path))
    return CurateConfig.load(source={"kind": kind, **settings}).source


def found(candidates):
    return [(candidate.image, candidate.captions) for candidate in candidates]


def reasons(rejections):
    return [(str(rejection.reason), rejection.detail) for rejection in rejections]


def read(settings):
    """Images and rejections of a source."""
    with TemporaryDirectory() as folder, read_source(settings, Path(folder) / "rows") as rows:
        return list(rows.candidates()), list(rows.rejections())


def join(rows, images_dir):
    """Images and rejections of some rows."""
    with TemporaryDirectory() as folder, join_rows(rows, images_dir, Path(folder) / "r") as joined:
        return list(joined.candidates()), list(joined.rejections())
