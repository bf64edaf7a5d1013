"""Cards of stages: what was left out, texts of strangers, links, and how large they get."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_schemas.rejections import Rejection, RejectionReason, describe_reason
from tasks.cards import close_stage, stage_card
from tasks.links import REPORTS_URL, link_to_maker, link_to_output, link_to_report
from tasks.markdown import plain_text
from tasks.stage import Outcome, open_store
from tests.shown_markdown import shown
from tokencompose_core.store.rejections import (
    REJECTIONS_NAME,
    TooManyRejectedError,
    write_rejections,
)

pytestmark = pytest.mark.usefixtures("store_dir")
HOSTILE = "a | b\n<script>alert(1)</script> [x](javascript:alert(1)) ![y](z) `c` https://a.b **d**"


def outcome(number: int, lost: list[Rejection], pictures: dict[str, int] | None = None) -> Outcome:
    """An output of the stage `mask` with pictures of so many pixels a side, hard to compress."""

    def write(folder: Path) -> dict:
        rng = np.random.default_rng(number)
        for name, side in (pictures or {}).items():
            pixels = rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)
        return {"num_in": 9, "num_out": 9, "rejected": write_rejections(folder, lost)}

    key = f"mask-v1-{number:032x}"
    made = open_store().publish(key, "mask", write, provenance={"flow_run": "some-id"})
    return Outcome(made, "Completed")


def lost(key: str, reason: RejectionReason, detail: str = "") -> Rejection:
    return Rejection(key=key, stage="mask", reason=reason, detail=detail)


def test_first_of_each_reason_are_shown_with_what_exactly():
    outcomes = [
        outcome(1, [lost(f"one-{i}", RejectionReason.NO_BOX, f"caption {i}") for i in range(8)]),
        outcome(2, [lost(f"two-{i}", RejectionReason.NO_BOX, "later") for i in range(8)]),
        outcome(3, [lost("lone", RejectionReason.PHRASE_WITHOUT_BOX, "a cat")]),
    ]
    card = shown(stage_card(outcomes))
    assert "| no-box | 16 |" in card
    assert "- **no-box** A caption of which no phrase was found." in card
    assert "| one-7 | no-box | caption 7 |" in card
    assert "| two-1 | no-box | later |" in card
    assert "two-2" not in card  # the first ten
    assert "| lone | phrase-without-box | a cat |" in card


def test_counts_by_name_are_shown_as_a_list():
    other = "mask-v2-0000"
    facts = {"rows_taken_over": 41, "taken_over_from": {other: 37, "mask-v2-0001": 4}}
    made = open_store().publish(
        f"mask-v2-{4:032x}", "mask", lambda folder: {"num_in": 41, "num_out": 41, "facts": facts}
    )
    card = shown(stage_card([Outcome(made, "Completed")]))
    assert f"| taken_over_from | {other}: 37, mask-v2-0001: 4 |" in card


@pytest.mark.usefixtures("prefect_server")
def test_error_names_some_that_were_left_out_for_each_reason_and_where_all_are_listed():
    missing = [lost(f"m{i}", RejectionReason.IMAGE_MISSING, f"wrong/{i}.jpg") for i in range(8)]
    phrase = lost("p", RejectionReason.PHRASE_WITHOUT_BOX, "a cat")
    evil = lost("n", RejectionReason.NO_BOX, "\x1b[2J\n\x9b" + "long " * 900)
    row = lost("c.csv, row 3", RejectionReason.ROW_BROKEN, "c.csv, row 3: too few cells")
    outcomes = [outcome(1, [phrase]), outcome(2, [phrase, *missing]), outcome(3, [evil, row])]
    with pytest.raises(TooManyRejectedError) as caught:
        close_stage(outcomes, "photos", 0.2)
    first, *examples, where, remedy = str(caught.value).split("\n")
    assert first == (
        "mask: 10 of 27 samples were left out (8 image-missing, 1 no-box, 1 row-broken), more than"
        " max_rejected_fraction = 0.2."
    )
    assert examples[0] == "  image-missing  m0  wrong/0.jpg"
    assert examples[1].startswith("  no-box  n  ␛[2J␊\ufffdlong long")
    assert examples[2:] == [
        "  row-broken  c.csv, row 3: too few cells",
        "  phrase-without-box  p  a cat",
    ]
    assert max(map(len, examples)) < 230
    path = re.match(
        "All are listed in (.*) and in 1 more of its outputs; the card mask-photos ", where
    )
    assert path is not None
    assert Path(path[1]).is_file()
    assert Path(path[1]).name == REJECTIONS_NAME
    assert Path(path[1]).parent.name == outcomes[1].manifest.key
    assert remedy == "Mend the source, or raise the limit"
    with pytest.raises(TooManyRejectedError) as caught:
        close_stage(outcomes[:2], "photos", 0.2)
    assert [f"wrong/{i}.jpg" in str(caught.value) for i in range(8)] == [True] * 5 + [False] * 3


def test_texts_of_strangers_stay_in_their_cell_and_are_no_markup():
    row = next(
        line
        for line in stage_card([outcome(1, [lost("k", RejectionReason.NO_BOX, HOSTILE)])]).split(
            "\n"
        )
        if "script" in line
    )
    bare = re.sub(r"\\.", "", row)  # without what is escaped
    assert bare.count("|") == 4
    assert not set(bare) & set("<>[]()`*!:")
    assert HOSTILE.replace("\n", "␊") in shown(row)
    assert plain_text("x" * 999) == "x" * 200 + "…"


def test_card_stays_small_whatever_was_left_out_and_drawn():
    reasons = list(RejectionReason)
    rejections = [lost("k" * 80, reason, "|" * 999) for reason in reasons for _ in range(20)]
    pictures = {"distributions.png": 190, "sheet.jpg": 340, "losses.png": 190, "samples.jpg": 340}
    many = [outcome(1, rejections, pictures), *(outcome(n, []) for n in range(2, 140))]
    card = stage_card(many)
    assert len(card.encode()) < 200_000
    assert card.count("data:image/") == 4


def test_links_lead_to_runs_and_where_they_are_served_to_outputs_and_pages(monkeypatch):
    manifest = outcome(1, []).manifest
    page = Path("/store") / manifest.key / "report.html"
    monkeypatch.delenv(REPORTS_URL, raising=False)
    assert link_to_maker(manifest) == "[run](/runs/flow-run/some-id)"
    assert link_to_output(manifest.key) == f"`{manifest.key}`"
    assert plain_text(str(page)) in link_to_report(manifest, page)
    assert "http" not in link_to_report(manifest, page)
    monkeypatch.setenv(REPORTS_URL, "http://127.0.0.1:4281/")
    at = f"http://127.0.0.1:4281/{manifest.key}"
    assert link_to_output(manifest.key) == f"[{manifest.key}]({at}/manifest.json)"
    assert f"({at}/report.html)" in link_to_report(manifest, page)


@pytest.mark.parametrize("reason", list(RejectionReason))
def test_every_reason_says_what_it_means(reason: RejectionReason):
    assert describe_reason(reason)[0].isupper()
    assert describe_reason(reason)[-1] == "."
