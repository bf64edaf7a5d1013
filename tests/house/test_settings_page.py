"""The page of all settings is that of today's configs."""

from data_schemas.list_settings import list_settings
from tests.conftest import ROOT


def test_page_of_settings_is_up_to_date():
    page = (ROOT / "docs/settings.md").read_text("utf-8")
    assert page == list_settings(), (
        "run .venv/bin/python -m data_schemas.list_settings > docs/settings.md"
    )


def test_page_names_fields_of_every_depth_with_both_profiles():
    lines = list_settings().splitlines()
    start = "| `mask.nms_threshold` | `0.7` | `0.8` | number from 0 to 1 | IoU above which"
    assert any(line.startswith(start) for line in lines)
    assert not [line for line in lines if line.endswith("|  |")], "each field says what it is"
    starts = ("num_steps", "source.kind", "multigen.<name>.prompts.kind", "studies.<name>[].label")
    for start in starts:
        assert any(line.startswith(f"| `{start}` |") for line in lines), start
    assert "### `source` of kind `csv`" in lines
