"""Rejections written one by one."""

import pyarrow.parquet as pq
import pytest

from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.store.rejections import REJECTIONS_NAME, RejectionWriter, write_rejections
from tokencompose_core.store.tables import read_table


@pytest.mark.parametrize("count", [0, 1, 500])
def test_few_rejections_are_written_as_all_at_once(tmp_path, count):
    reasons = [RejectionReason.NO_NOUN, RejectionReason.IMAGE_MISSING]
    rejections = [
        Rejection(key=str(n), stage="select", reason=reasons[n % 2], detail="x" * (n % 9))
        for n in range(count)
    ]
    with RejectionWriter(tmp_path) as writer:
        for rejection in rejections:
            writer.write(rejection)
    (tmp_path / "once").mkdir()
    assert writer.counts == write_rejections(tmp_path / "once", rejections)
    written = (tmp_path / REJECTIONS_NAME).read_bytes()
    assert written == (tmp_path / "once" / REJECTIONS_NAME).read_bytes()


def test_many_rejections_are_written_in_groups(tmp_path):
    rejection = Rejection(key="a", stage="select", reason=RejectionReason.NO_NOUN)
    with RejectionWriter(tmp_path) as writer:
        for number in range(40_000):
            writer.write(rejection.model_copy(update={"key": str(number)}))
    path = tmp_path / REJECTIONS_NAME
    assert [row.key for row in read_table(path, Rejection)] == [str(n) for n in range(40_000)]
    assert pq.ParquetFile(path).num_row_groups == 3
    assert writer.counts == {"no-noun": 40_000}
