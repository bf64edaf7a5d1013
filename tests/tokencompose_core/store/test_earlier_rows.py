import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_schemas.manifest import Manifest
from data_schemas.records import PARSED_SCHEMA, NounPhrase, ParsedCaption
from data_schemas.rejections import REJECTION_SCHEMA, Rejection, RejectionReason
from tokencompose_core.store import earlier_rows
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.earlier_rows import (
    QUESTIONS_NAME,
    RowTable,
    TakenRows,
    digest_questions,
    earlier_outputs,
    find_answers,
    has_settings,
    read_answered,
    read_columns,
    read_stored_columns,
    take_rows,
)
from tokencompose_core.store.keys import make_key
from tokencompose_core.store.rejections import REJECTIONS_NAME
from tokencompose_core.store.store_error import StoreError
from tokencompose_core.store.tables import write_table

NAME = "rows.parquet"
TABLE = RowTable(NAME, ("caption",))
NESTED = ("caption", "phrases.list.element.text")
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


def questions(**captions: str) -> dict[str, str]:
    return digest_questions({key: {"caption": caption} for key, caption in captions.items()})


def put(store: Store, number: int, lost: str = "", gone: str = "", **captions: str) -> Manifest:
    """An output, the newer the higher its number.

    A phrase of each sample in `lost` is rejected; samples in `gone` have no row.
    """

    def write(folder) -> dict:
        rows = [row for row in rows_of(**captions) if row.key not in gone]
        write_table(folder / NAME, rows, PARSED_SCHEMA)
        reason = RejectionReason.PHRASE_ON_STOP_LIST
        rejections = [Rejection(key=k, stage="parse", reason=reason, detail=k) for k in lost]
        write_table(folder / REJECTIONS_NAME, rejections, REJECTION_SCHEMA)
        TakenRows(questions(**captions)).write_questions(folder, captions.keys())
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


def suits(manifest: Manifest) -> bool:
    return has_settings(manifest, PARTS, [PARTS["source"]])


def look(store: Store, keys: tuple[str, ...] = ()) -> list[Manifest]:
    return earlier_outputs(store, "parse-v1-", keys, suits)


def take(store: Store, *keys: str, **captions: str) -> TakenRows[ParsedCaption]:
    return take_rows(store, TABLE, keys, questions(**captions), suits, ParsedCaption)


def test_rows_are_found_where_they_lie_and_the_newest_output_counts(store):
    first = put(store, 1, a="one", b="two", c="three")
    second = put(store, 2, a="one", b="other", d="four")
    asked = questions(a="one", b="two", c="3", z="four", e="five")
    found = find_answers(store, look(store), asked.values())
    assert found == {
        asked["a"]: second.key,
        asked["z"]: second.key,  # the sample was called otherwise then
        asked["b"]: first.key,
    }
    # What is made in the same run holds other samples.
    found = find_answers(store, look(store, (second.key,)), asked.values())
    assert found == {asked["a"]: first.key, asked["b"]: first.key}


def test_outputs_of_other_settings_and_versions_are_no_candidates(store):
    put(store, 1, a="one")
    assert len(look(store)) == 1
    assert earlier_outputs(store, "parse-v2-", (), suits) == []
    assert earlier_outputs(store, "rank-v1-", (), suits) == []
    other = PARTS | {"model": "b"}
    assert not any(has_settings(m, other, [PARTS["source"]]) for m in look(store))
    (manifest,) = look(store)
    assert not suits(manifest.model_copy(update={"parts": {}}))
    assert not suits(manifest.model_copy(update={"parts": manifest.parts | {"words": ["x"]}}))


def test_rows_come_with_their_rejections_and_say_whence(store):
    first = put(store, 1, lost="abx", gone="x", a="one", b="two", x="none")
    second = put(store, 2, lost="c", c="three")
    gone = "parse-v1-" + "0" * 32
    taken = take(store, second.key, first.key, gone, p="one", b="2", c="three", q="none")
    assert taken.rows == {"c": rows_of(c="three")[0], "p": rows_of(a="one")[0]}
    assert taken.left_out == {"q"}
    assert [sample in taken for sample in "pbcq"] == [True, False, True, True]
    # Rejections are those of the samples that ask.
    assert {key: [r.key for r in lost] for key, lost in taken.rejections.items()} == {
        "c": ["c"],
        "p": ["p"],
        "q": ["q"],
    }
    assert taken.facts == {
        "rows_taken_over": 3,
        "taken_over_from": {second.key: 1, first.key: 2},
    }
    assert TakenRows().facts == {}


def test_output_of_other_settings_is_not_taken_from_whoever_names_it(store):
    made = put(store, 1, a="one")
    wanted = questions(a="one")
    nothing = take_rows(store, TABLE, [made.key], wanted, lambda m: False, ParsedCaption)
    assert nothing == TakenRows(wanted)


def test_samples_with_one_question_have_one_answer(store):
    made = put(store, 1, lost="a", a="one", b="two")
    taken = take(store, made.key, c="one", d="one")
    assert list(taken.rows) == ["c", "d"]
    assert [taken.rejections[key][0].key for key in "cd"] == ["c", "d"]


@pytest.mark.parametrize("name", [NAME, QUESTIONS_NAME, REJECTIONS_NAME])
def test_what_is_damaged_by_now_is_passed_over(store, name):
    whole, made = put(store, 1, a="one", lost="a"), put(store, 2, a="one", lost="a")
    path = f"{store.root}/{made.key}/{name}"
    with store.filesystem.open(path, "rb") as stream:
        content = stream.read()
    store.check = "size"  # one that looks at sizes only finds out when it reads
    assert take(store, whole.key, a="one").rows
    store.filesystem.pipe_file(path, b"PAR1" + content[4:-9] + b"123456789")
    assert take(store, made.key, a="one") == TakenRows(questions(a="one"))


@pytest.mark.parametrize("damage", ["end", "text", "gone"])
def test_search_passes_over_what_is_damaged(store, damage):
    made, whole = put(store, 2, a="one"), put(store, 1, a="one")
    asked = questions(a="one")
    path = f"{store.root}/{made.key}/{QUESTIONS_NAME}"
    if damage == "gone":
        store.filesystem.rm_file(path)
    elif damage == "end":
        store.filesystem.pipe_file(path, b"PAR1 is no table")
    else:  # bytes that are no text
        file = io.BytesIO()
        broken = pa.array([asked["a"].encode()[:-1] + b"\xff"]).view(pa.string())
        pq.write_table(pa.table({"key": ["a"], "question": broken}), file)
        store.filesystem.pipe_file(path, file.getvalue())
    assert read_answered(store, made.key) == {}
    assert find_answers(store, [made, whole], asked.values()) == {asked["a"]: whole.key}


def test_store_that_does_not_answer_is_no_store_without_rows(store, monkeypatch):
    made = put(store, 1, a="one")

    def fail(*args, **options):
        raise TimeoutError("no answer")

    for name in ("open", "cat_file"):
        monkeypatch.setattr(store.filesystem, name, fail)
    with pytest.raises(StoreError, match="no answer"):
        read_stored_columns(store, made.key, NAME, TABLE.decided_by)
    with pytest.raises(StoreError, match="no answer"):
        find_answers(store, [made], ["x"])
    with pytest.raises(StoreError, match="no answer"):
        look(store)


@pytest.mark.parametrize("schema", [{"key": ["a"]}, {"caption": ["one"]}, {"other": [1]}])
def test_table_without_a_column_answers_nothing(store, schema):
    manifest = store.publish(
        "parse-v1-x", "parse", lambda folder: pq.write_table(pa.table(schema), folder / NAME) or {}
    )
    assert read_stored_columns(store, manifest.key, NAME, TABLE.decided_by) == {}
    some = read_stored_columns(store, manifest.key, NAME, TABLE.decided_by, all_or_nothing=False)
    assert some == ({"a": {}} if "key" in schema else {})
    assert read_stored_columns(store, "parse-v1-y", NAME, TABLE.decided_by) == {}


def test_only_the_columns_asked_for_decide(tmp_path):
    def ask(row: ParsedCaption, columns: tuple[str, ...]) -> dict[str, str]:
        write_table(tmp_path / NAME, [row], PARSED_SCHEMA)
        with (tmp_path / NAME).open("rb") as file:
            return digest_questions(read_columns(file, columns))

    (row,) = rows_of(a="one")
    moved = row.model_copy(update={"image_path": "y", "phrases": []})
    assert ask(moved, TABLE.decided_by) == ask(row, TABLE.decided_by) == questions(a="one")
    assert ask(moved, NESTED) != ask(row, NESTED)
    assert ask(row, ("caption", "phrases.text")) == {}


def test_output_that_is_removed_while_it_is_read_is_passed_over(store, monkeypatch):
    older, newer = put(store, 1, lost="a", a="one"), put(store, 2, lost="a", a="one")
    read = earlier_rows.read_rows_of

    def remove_and_read(path, keys):
        if store.filesystem.exists(f"{store.root}/{newer.key}"):
            store.filesystem.rm(f"{store.root}/{newer.key}", recursive=True)
            path.unlink(missing_ok=True)
        return read(path, keys)

    monkeypatch.setattr(earlier_rows, "read_rows_of", remove_and_read)
    assert take(store, newer.key, older.key, a="one").sources == {older.key: 1}
