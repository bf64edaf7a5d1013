import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_schemas.manifest import Manifest
from data_schemas.records import PARSED_SCHEMA, NounPhrase, ParsedCaption
from data_schemas.rejections import REJECTION_SCHEMA, Rejection, RejectionReason
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.earlier_rows import (
    RowTable,
    TakenRows,
    earlier_outputs,
    find_rows,
    has_settings,
    read_questions,
    take_rows,
)
from tokencompose_core.store.keys import make_key
from tokencompose_core.store.rejections import REJECTIONS_NAME
from tokencompose_core.store.tables import write_table

NAME = "rows.parquet"
TABLE = RowTable(NAME, ("caption",))
NESTED = RowTable(NAME, ("caption", "phrases.list.element.text"))
PARTS = {"source": "d" * 64, "model": "a"}


def rows_of(**captions: str) -> list[ParsedCaption]:
    return [
        ParsedCaption(
            key=key,
            image_path="x",
            image_sha256="",
            width=1,
            height=1,
            caption=caption,
            phrases=[NounPhrase(text=caption[:3], start=0, end=3)],
        )
        for key, caption in captions.items()
    ]


def put(store: Store, number: int, rows: list[ParsedCaption], lost: str = "") -> Manifest:
    """An output, the newer the higher its number, with a rejected phrase of each sample."""

    def write(folder) -> dict:
        write_table(folder / NAME, rows, PARSED_SCHEMA)
        reason = RejectionReason.PHRASE_ON_STOP_LIST
        rejections = [Rejection(key=k, stage="parse", reason=reason, detail="x") for k in lost]
        write_table(folder / REJECTIONS_NAME, rejections, REJECTION_SCHEMA)
        return {"rejected": {str(reason): len(lost)} if lost else {}}

    parts = PARTS | {"source": f"{number:064x}"}
    return store.publish(
        make_key("parse", 1, parts),
        "parse",
        write,
        inputs={f"rank-v1-{number:032x}": parts["source"]},
        parts=parts,
        provenance={"created": f"{2000 + number}"},
    )


def questions(rows: list[ParsedCaption], store: Store, table: RowTable = TABLE) -> dict[str, str]:
    made = put(store, 900 + len(rows), rows)
    found = read_questions(store, made.key, NAME, table)
    store.filesystem.rm(f"{store.root}/{made.key}", recursive=True)
    return found


def suits(manifest: Manifest) -> bool:
    return has_settings(manifest, PARTS, [PARTS["source"]])


def look(store: Store, keys: tuple[str, ...] = ()) -> list[Manifest]:
    return earlier_outputs(store, "parse-v1-", keys, suits)


def test_rows_are_found_where_they_lie_and_the_newest_output_counts(store):
    first = put(store, 1, rows_of(a="one", b="two", c="three"))
    second = put(store, 2, rows_of(a="one", b="other", d="four"))
    wanted = questions(rows_of(a="one", b="two", c="3", d="four", e="five"), store)
    found = find_rows(store, TABLE, look(store), wanted)
    assert found == {"a": second.key, "d": second.key, "b": first.key}
    # What is made in the same run holds other samples.
    found = find_rows(store, TABLE, look(store, (second.key,)), wanted)
    assert found == {"a": first.key, "b": first.key}


def test_outputs_of_other_settings_and_versions_are_no_candidates(store):
    put(store, 1, rows_of(a="one"))
    assert len(look(store)) == 1
    assert earlier_outputs(store, "parse-v2-", (), suits) == []
    assert earlier_outputs(store, "rank-v1-", (), suits) == []
    other = PARTS | {"model": "b"}
    assert not any(has_settings(m, other, [PARTS["source"]]) for m in look(store))
    (manifest,) = look(store)
    assert not suits(manifest.model_copy(update={"parts": {}}))
    assert not suits(manifest.model_copy(update={"parts": manifest.parts | {"words": ["x"]}}))


def test_rows_come_with_their_rejections_and_say_whence(store):
    first = put(store, 1, rows_of(a="one", b="two"), lost="ab")
    second = put(store, 2, rows_of(c="three"), lost="c")
    wanted = questions(rows_of(a="one", b="2", c="three"), store)
    keys = (second.key, first.key, "parse-v1-" + "0" * 32)
    taken = take_rows(store, TABLE, keys, wanted, suits, ParsedCaption)
    assert list(taken.rows.values()) == rows_of(c="three", a="one")
    assert [rejection.key for rejection in taken.rejections] == ["c", "a"]
    assert taken.facts == {
        "rows_taken_over": 2,
        "taken_over_from": {second.key: 1, first.key: 1},
    }
    assert TakenRows().facts == {}
    assert take_rows(store, TABLE, keys, wanted, lambda m: False, ParsedCaption).rows == {}


def test_what_is_damaged_by_now_is_passed_over(store):
    made = put(store, 1, rows_of(a="one"))
    wanted = questions(rows_of(a="one"), store)
    with store.filesystem.open(f"{store.root}/{made.key}/{NAME}", "rb") as stream:
        content = stream.read()
    assert take_rows(store, TABLE, [made.key], wanted, suits, ParsedCaption).rows
    store.filesystem.pipe_file(
        f"{store.root}/{made.key}/{NAME}", b"PAR1" + content[4:-9] + b"123456789"
    )
    assert take_rows(store, TABLE, [made.key], wanted, suits, ParsedCaption) == TakenRows()
    # A store that looks at sizes only finds out when it reads.
    store.check = "size"
    assert take_rows(store, TABLE, [made.key], wanted, suits, ParsedCaption) == TakenRows()
    assert find_rows(store, TABLE, [made], wanted) == {}


@pytest.mark.parametrize("schema", [{"key": ["a"]}, {"caption": ["one"]}, {"other": [1]}])
def test_table_without_a_column_answers_nothing(store, schema):
    manifest = store.publish(
        "parse-v1-x", "parse", lambda folder: pq.write_table(pa.table(schema), folder / NAME) or {}
    )
    assert read_questions(store, manifest.key, NAME, TABLE) == {}


def test_only_the_columns_asked_for_decide(store):
    rows = rows_of(a="one")
    (other,) = rows
    moved = other.model_copy(update={"image_path": "y", "phrases": []})
    assert questions([moved], store) == questions(rows, store)
    assert questions([moved], store, NESTED) != questions(rows, store, NESTED)
    flat = RowTable(NAME, ("caption", "phrases.text"))
    assert questions(rows, store, flat) == {}
