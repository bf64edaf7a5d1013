"""A server that answered with a page, or with nothing, is asked again by a retry and only by it."""

import json

import fsspec
import pytest

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.rejections import Rejection
from tasks.prepare_source import Source, prepare_source
from tasks.retry_rejected import LeftOut, find_left_out, forget_selection, prepare_again
from tasks.select_images import SelectSpec, select_from_source
from tests.hostile_inputs import CAPTION, encoded, picture
from tokencompose_core.selection.fetch_images import fetched_path
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.left_out import read_left_out
from tokencompose_core.store.open_image import BadImageError, open_image

IMAGE = encoded(picture(), format="JPEG", quality=92)
PAGE = b"<html><title>We are down, back soon</title></html>"


def select(source: Source, config: CurateConfig, store: Store) -> list[tuple[str, str]]:
    """What the selection leaves out: the file's or URL's name, and the reason."""
    spec = SelectSpec(source=source, settings=config.select)
    select_from_source.fn(spec)
    return [
        (rejection.detail.partition(": ")[0], rejection.reason)
        for rejection in read_left_out(store, [store.find(spec.key)])
    ]


@pytest.fixture
def config(tmp_path):
    rows = [
        {"img_path": f"memory://retried/{name}.jpg", "caption": CAPTION}
        for name in ("page", "empty", "good")
    ]
    (tmp_path / "set").mkdir()
    (tmp_path / "set/c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = {
        "kind": "json",
        "paths": [str(tmp_path / "set/c.jsonl")],
        "images_dir": str(tmp_path / "set"),
        "image_limits": {"url_schemes": ["memory"], "num_retries": 0},
    }
    return CurateConfig.load(caption_set="retried", source=source)


def test_page_in_place_of_an_image_is_asked_for_again_by_a_retry(tmp_path, store_dir, config):
    memory, store = fsspec.filesystem("memory"), Store(str(store_dir))
    for name, content in {"page": PAGE, "empty": b"", "good": IMAGE}.items():
        memory.pipe_file(f"/retried/{name}.jpg", content)
    lost = select(prepare_source(config), config, store)
    assert [reason for _, reason in lost] == ["image-unknown-format", "image-empty"]
    kept = {path.name for path in (tmp_path / "set/fetched").iterdir()}

    # The server still says so: nothing is lost by asking.
    source = prepare_again(config, find_left_out(config))
    assert select(source, config, store) == lost
    assert {path.name for path in (tmp_path / "set/fetched").iterdir()} == kept

    for name in ("page", "empty", "good"):
        memory.pipe_file(f"/retried/{name}.jpg", IMAGE if name != "good" else PAGE)
    # A run asks for what was never copied, and a retry for what is no image too. The good copy
    # stays.
    assert select(prepare_source(config), config, store) == lost[:1]
    found = find_left_out(config)
    source = prepare_again(config, found)
    assert [rejection.reason for rejection in found.rejections] == ["image-unknown-format"]
    forget_selection(source, config, found)
    assert select(source, config, store) == []
    copies = [path.read_bytes() for path in (tmp_path / "set/fetched").iterdir()]
    assert copies == [IMAGE] * 3


def test_image_that_a_later_stage_found_cut_short_is_asked_for_again(tmp_path, store_dir, config):
    memory = fsspec.filesystem("memory")
    for name in ("page", "empty", "good"):
        content = IMAGE[:-200] if name == "page" else IMAGE
        memory.pipe_file(f"/retried/{name}.jpg", content)
    assert select(prepare_source(config), config, Store(str(store_dir))) == []
    cut = fetched_path("memory://retried/page.jpg", tmp_path / "set")
    with pytest.raises(BadImageError) as caught:
        open_image(tmp_path / "set" / cut)
    rejection = Rejection(
        key="k", stage="rank", reason=caught.value.reason, detail=f"{caught.value}"
    )

    memory.pipe_file("/retried/page.jpg", IMAGE)
    prepare_again(config, LeftOut(rejections=[rejection]))
    assert (tmp_path / "set" / cut).read_bytes() == IMAGE
