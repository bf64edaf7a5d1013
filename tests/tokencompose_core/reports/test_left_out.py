"""What was left out, with examples."""

from data_schemas.manifest import Manifest, StageTotals
from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.reports.left_out import find_examples, list_left_out
from tokencompose_core.store.rejections import REJECTIONS_NAME, write_rejections


def test_every_reason_has_its_count_and_its_first_examples(tmp_path):
    lost = [
        *(("rank", RejectionReason.IMAGE_UNREADABLE, f"r{i}") for i in range(2)),
        *(("mask", RejectionReason.PHRASE_WITHOUT_BOX, f"m{i}") for i in range(5)),
        ("mask", RejectionReason.NO_BOX, "n"),
    ]
    manifests, paths = [], []
    for number, rows in enumerate((lost[:4], lost[4:])):
        folder = tmp_path / str(number)
        folder.mkdir()
        rejections = [Rejection(key=k, stage=s, reason=r, detail="d") for s, r, k in rows]
        paths.append(folder / REJECTIONS_NAME)
        for stage in ("rank", "mask"):
            own = [rejection for rejection in rejections if rejection.stage == stage]
            counts = write_rejections(folder, own)
            manifests.append(
                Manifest(stage=stage, key="", digest="0" * 64, files=(), num_in=10, rejected=counts)
            )
        write_rejections(folder, rejections)
    stages = [
        StageTotals.of([m for m in manifests if m.stage == stage]) for stage in ("rank", "mask")
    ]
    assert stages[1].model_dump() == {
        "stage": "mask",
        "num_in": 20,
        "num_out": 0,
        "rejected": {"no-box": 1, "phrase-without-box": 5},
    }
    listed = list_left_out(stages, find_examples(paths, 3))
    assert [
        (row.stage, row.reason, row.count, row.loses_sample, [e.key for e in row.examples])
        for row in listed
    ] == [
        ("rank", "image-unreadable", 2, True, ["r0", "r1"]),
        ("mask", "phrase-without-box", 5, False, ["m0", "m1", "m2"]),
        ("mask", "no-box", 1, True, ["n"]),
    ]


def test_nothing_left_out_is_an_empty_list(tmp_path):
    write_rejections(tmp_path, [])
    examples = find_examples([tmp_path / REJECTIONS_NAME], 3)
    totals = StageTotals(stage="mask", num_in=1, num_out=1, rejected={})
    assert list_left_out([totals], examples) == []
