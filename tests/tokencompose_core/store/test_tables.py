from data_schemas.records import GROUNDED_SCHEMA, GroundedCaption, GroundedPhrase
from tokencompose_core.store.tables import read_table, write_table

CAPTION = GroundedCaption(
    key="000000000142",
    image_path="train2017/000000000142.jpg",
    image_sha256="0" * 64,
    width=4,
    height=3,
    caption="A café 😀 cat",
    phrases=[
        GroundedPhrase(
            text="cat", start=9, end=12, boxes=[[0, 0, 2, 2.5]], scores=[0.5], mask_counts="x"
        ),
        GroundedPhrase(text="café", start=2, end=6, boxes=[], scores=[], mask_counts=""),
    ],
)


def test_records_survive_parquet_and_equal_records_give_equal_bytes(tmp_path):
    write_table(tmp_path / "a.parquet", [CAPTION], GROUNDED_SCHEMA)
    write_table(tmp_path / "b.parquet", [CAPTION], GROUNDED_SCHEMA)
    assert read_table(tmp_path / "a.parquet", GroundedCaption) == [CAPTION]
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_no_records_are_a_table_without_rows(tmp_path):
    write_table(tmp_path / "a.parquet", [], GROUNDED_SCHEMA)
    assert read_table(tmp_path / "a.parquet", GroundedCaption) == []
