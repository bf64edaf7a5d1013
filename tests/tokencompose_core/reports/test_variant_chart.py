from pathlib import Path

import pytest
from PIL import Image

from tokencompose_core.reports.variant_chart import draw_variants


@pytest.mark.parametrize("shares", [[1], [2, 3, 4, 5]], ids=["one object", "five objects"])
def test_every_share_has_a_panel(shares: list[int], tmp_path: Path) -> None:
    path = tmp_path / "chart.png"
    draw_variants(
        {label: dict.fromkeys(shares, (50.0, 40.0, 60.0)) for label in ("frozen", "tuned")},
        {label: {k: [45.0, 55.0] for k in shares} for label in ("frozen", "tuned")},
        {"tuned": {shares[-1]: 48.5}},
        path,
    )
    with Image.open(path) as picture:
        assert picture.size == (1100, 182)
