from pathlib import Path

import numpy as np
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


@pytest.mark.parametrize(
    ("published", "named"), [({}, False), ({2: 48.5}, True), ({5: 48.5}, True)]
)
def test_the_legend_names_the_paper_wherever_it_has_a_figure(
    published: dict[int, float], named: bool, tmp_path: Path
) -> None:
    path = tmp_path / "chart.png"
    shares = range(2, 6)
    draw_variants(
        {"tuned": dict.fromkeys(shares, (50.0, 40.0, 60.0))},
        {"tuned": {k: [45.0, 55.0] for k in shares}},
        {"tuned": published},
        path,
    )
    with Image.open(path) as picture:
        width, height = picture.size
        legend = np.asarray(picture.convert("RGB").crop((0, height - 25, width, height)), int)
    # The brown of the paper's diamonds, or near it.
    assert (abs(legend - (154, 106, 31)).max(-1) < 40).any() == named
