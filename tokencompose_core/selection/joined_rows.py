"""The rows of each image, joined in a file: memory does not grow with the set."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Self

from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.candidates import Candidate, is_url, name_row, roots_of
from tokencompose_core.selection.caption_row import STAGE, CaptionRow

# An image has the number of the first row that names it.
_TABLES = """
CREATE TABLE images (number INTEGER PRIMARY KEY, key TEXT UNIQUE, image TEXT, is_url INTEGER);
CREATE TABLE captions (
    image INTEGER, row INTEGER, place INTEGER, caption TEXT, PRIMARY KEY (image, row, place)
) WITHOUT ROWID;
CREATE TABLE rejections (row INTEGER PRIMARY KEY, key TEXT, reason TEXT, detail TEXT);
"""
_URLS = "SELECT DISTINCT image FROM images WHERE is_url"
# Rows of an image may be far apart where they are written, and lie together where they are read.
_WRITING_CACHE_KIB = 64 * 1024
_READING_CACHE_KIB = 4 * 1024
_ROWS_A_REPORT = 1000


class JoinedRows:
    """Images with all captions that any row has for them, and the rows that are left out.

    Args:
        path: A file that `join_rows` wrote.

    Raises:
        FileNotFoundError: If it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._connection = _connect(path, "ro", _READING_CACHE_KIB)
        except sqlite3.OperationalError as error:
            raise FileNotFoundError(f"{path} is not there, or cannot be read") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def num_images(self) -> int:
        """How many images there are."""
        return self._connection.execute("SELECT count(*) FROM images").fetchone()[0]

    @property
    def num_urls(self) -> int:
        """How many URLs there are among them, each counted once."""
        return self._connection.execute(f"SELECT count(*) FROM ({_URLS})").fetchone()[0]

    def candidates(self) -> Iterator[Candidate]:
        """The images in order of first mention."""
        images = self._connection.execute("SELECT number, key, image FROM images ORDER BY number")
        captions = self._connection.execute(
            "SELECT image, caption FROM captions ORDER BY 1, row, place"
        )
        by_image = groupby(captions, key=itemgetter(0))
        described, own = next(by_image, (None, iter(())))
        for number, key, image in images:
            texts: list[str] = []
            if number == described:
                texts = list(dict.fromkeys(text for _, text in own))
                described, own = next(by_image, (None, iter(())))
            yield Candidate(key, image, texts)

    def urls(self) -> Iterator[str]:
        """The URLs among the images, each once."""
        return (url for (url,) in self._connection.execute(_URLS))

    def rejections(self) -> Iterator[Rejection]:
        """The rows that are left out, in their order."""
        rows = self._connection.execute("SELECT key, reason, detail FROM rejections ORDER BY row")
        return (
            Rejection(key=key, stage=STAGE, reason=RejectionReason(reason), detail=detail)
            for key, reason, detail in rows
        )


def join_rows(
    rows: Iterable[CaptionRow | Rejection],
    images_dir: Path,
    path: Path,
    on_rows: Callable[[int], None] = lambda count: None,
) -> JoinedRows:
    """Join the rows of each image.

    Left out are rows that were not readable, whose path leaves the image root, or whose id an
    earlier row gave to another image.

    Args:
        rows: What a reader gave; read once, and not kept in memory.
        images_dir: The image root.
        path: Where to write; a file that is not there yet.
        on_rows: Told how many more rows were read, from time to time.
    """
    roots = roots_of(images_dir)
    number = 0
    connection = _connect(path, "rwc", _WRITING_CACHE_KIB)
    try:
        connection.executescript(_TABLES)
        for row in rows:
            number += 1
            lost = row if isinstance(row, Rejection) else _add(connection, number, row, roots)
            if lost is not None:
                connection.execute(
                    "INSERT INTO rejections VALUES (?, ?, ?, ?)",
                    (number, lost.key, lost.reason, lost.detail),
                )
            if number % _ROWS_A_REPORT == 0:
                on_rows(_ROWS_A_REPORT)
        on_rows(number % _ROWS_A_REPORT)
        connection.commit()
    finally:
        connection.close()
    return JoinedRows(path)


def _add(
    connection: sqlite3.Connection, number: int, row: CaptionRow, roots: tuple[Path, ...]
) -> Rejection | None:
    named = name_row(row, roots)
    if isinstance(named, Rejection):
        return named
    key, image = named
    known = connection.execute("SELECT number, image FROM images WHERE key = ?", (key,)).fetchone()
    if known is None:
        known = number, image
        connection.execute(
            "INSERT INTO images VALUES (?, ?, ?, ?)", (number, key, image, is_url(image))
        )
    elif known[1] != image:
        detail = f"{row.place}: {row.name or image!r} is taken by {known[1]}, not {image}"
        return Rejection(key=key, stage=STAGE, reason=RejectionReason.ID_TAKEN, detail=detail)
    connection.executemany(
        "INSERT INTO captions VALUES (?, ?, ?, ?)",
        ((known[0], number, place, caption) for place, caption in enumerate(row.captions)),
    )
    return None


def _connect(path: Path, mode: str, cache_kib: int) -> sqlite3.Connection:
    """A connection without a journal: a file that was not written to its end is never read.

    Without locks too, which not every network file system has: nobody reads while it is written.
    """
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}&nolock=1", uri=True)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    return connection
