"""Sources of captions, and what their readers return, in short."""

from data_schemas.configs.curate_config import CurateConfig


def source(kind, tmp_path, **settings):
    settings.setdefault("images_dir", str(tmp_path))
    return CurateConfig.load(source={"kind": kind, **settings}).source


def found(candidates):
    return [(candidate.image, candidate.captions) for candidate in candidates]


def reasons(rejections):
    return [(str(rejection.reason), rejection.detail) for rejection in rejections]
