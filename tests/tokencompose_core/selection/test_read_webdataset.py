"""Tars of images and captions."""

import io
import tarfile

import pytest
from PIL import Image

from tests.tokencompose_core.selection.caption_sets import read, reasons, source


def image_bytes(colour):
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(stream, format="PNG")
    return stream.getvalue()


def write_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return str(path)


def test_webdataset_tars_are_unpacked_once(tmp_path):
    first = write_tar(
        tmp_path / "0.tar",
        [
            ("train/0.png", image_bytes("red")),
            ("train/0.txt", b"A red square."),
            ("train/1.json", b'{"caption": ["Blue.", "A blue square."]}'),
            ("train/1.PNG", image_bytes("blue")),
            ("2.txt", b"no image"),
            ("3.png", image_bytes("green")),
            ("4.png", image_bytes("white")),
            ("4.txt", b"\xff"),
            ("5.png", image_bytes("white")),
            ("5.json", b'{"text": "x"}'),
            ("6.png", image_bytes("white")),
            ("6.json", b"{"),
        ],
    )
    second = write_tar(
        tmp_path / "1.tar",
        [
            ("train/0.png", image_bytes("black")),
            ("train/0.txt", b"A black square."),
            ("train/0b.png", image_bytes("red")),
            ("train/0b.txt", b"Red again."),
        ],
    )
    settings = source("webdataset", tmp_path, paths=[first, second], images_dir=str(tmp_path / "i"))
    candidates, rejected = read(settings)
    assert [candidate.captions for candidate in candidates] == [
        ["A red square."],
        ["Blue.", "A blue square."],
        [],
        ["A black square."],
        ["Red again."],
    ]
    assert len({candidate.key for candidate in candidates}) == 5
    contents = [(tmp_path / "i" / candidate.image).read_bytes() for candidate in candidates]
    colours = ("red", "blue", "green", "black", "red")
    assert contents == [image_bytes(colour) for colour in colours]
    assert sorted(reasons(rejected)) == [
        ("row-broken", rejected[3].detail),
        ("row-field-missing", "0.tar, sample 2: no image among ['txt']"),
        ("row-field-missing", "0.tar, sample 5: its JSON has no field 'caption'"),
        ("row-not-utf8", "0.tar, sample 4: caption is not UTF-8 at byte 0"),
    ]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "i").rglob("*")}
    assert read(settings) == (candidates, rejected)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "i").rglob("*")} == before


def test_tar_that_is_cut_anywhere_is_refused_and_loses_nothing_in_silence(tmp_path):
    files = [(f"{n}.{suffix}", b"x" * 700) for n in range(3) for suffix in ("png", "txt")]
    path = tmp_path / "0.tar"
    write_tar(path, files)
    whole = path.read_bytes()
    end = len(files) * (512 + 1024)  # each file's header, and its 700 bytes in two blocks
    assert not any(whole[end:])
    settings = source("webdataset", tmp_path, paths=[str(path)], images_dir=str(tmp_path / "i"))
    for cut in [*range(0, end + 512, 97), end, end + 511]:
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"0\.tar: not a readable tar"):
            read(settings)
    damaged = bytearray(whole)
    damaged[2 * 1536 + 100] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"0\.tar: not a readable tar \(bad checksum at byte 3072"):
        read(settings)
    path.write_bytes(whole[: end + 512])
    assert len(read(settings)[0]) == 3


@pytest.mark.parametrize("kind", ["cut", "text", "twice"])
def test_broken_tar_is_named(tmp_path, kind):
    files = [("0.png", image_bytes("red")), ("0.txt", b"x")]
    path = tmp_path / "0.tar"
    write_tar(path, [*files, files[1]] if kind == "twice" else files)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:560])
    if kind == "text":
        path.write_bytes(b"not a tar at all" * 100)
    with pytest.raises(ValueError, match=r"0\.tar: not a readable tar"):
        read(source("webdataset", tmp_path, paths=[str(path)]))
