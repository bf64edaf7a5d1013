from typing import Literal

import pytest

from data_schemas.configs.flow_config import Settings
from tasks.prepare_source import check_source


class SidecarSource(Settings):
    """A kind that someone adds: text files beside the images, and no list of paths."""

    kind: Literal["sidecar"] = "sidecar"
    images_dir: str


def test_source_of_an_added_kind_is_looked_for_by_its_folder(tmp_path):
    check_source(SidecarSource(images_dir=str(tmp_path)), "curate.source")
    with pytest.raises(FileNotFoundError, match=r"curate\.source needs .*elsewhere"):
        check_source(SidecarSource(images_dir=str(tmp_path / "elsewhere")), "curate.source")
