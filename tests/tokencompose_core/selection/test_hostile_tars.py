"""Tars that want out of their folder, into memory or into a program."""

import gzip
import io
import os
import pickle
import tarfile
import tracemalloc

import pytest
from PIL import Image

from tests.tokencompose_core.selection.caption_sets import read, reasons, source

MOST_BYTES = 100_000


class Exploit:
    """What unpickles to a file that a test looks for."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


def image_bytes(side=40):
    stream = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(stream, format="PNG")
    return stream.getvalue()


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return str(path)


def read_tar(path, folder):
    limits = {"max_bytes": MOST_BYTES}
    images = str(folder / "set/images")
    return read(
        source("webdataset", folder, paths=[str(path)], images_dir=images, image_limits=limits)
    )


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name",
    ["/TMP/evil", "../../evil", "a/../../../evil", "./../evil", "evil/../..//x", "..", "C:\\evil"],
)
def test_names_in_a_tar_are_no_paths(tmp_path, name):
    name = name.replace("/TMP", str(tmp_path))
    tar = write_tar(
        tmp_path / "0.tar",
        [member(f"{name}.png", image_bytes()), member(f"{name}.txt", b"A red square.")],
    )
    before = files_of(tmp_path)
    candidates, rejected = read_tar(tar, tmp_path)
    assert len(candidates) + len(rejected) <= 1
    for new in files_of(tmp_path) - before:
        assert new.startswith("set/images/unpacked/")
    for candidate in candidates:
        assert candidate.image.startswith("unpacked/")
        assert not set("./\\ ") & set(candidate.key)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "../../secret.png"),
        (tarfile.LNKTYPE, "../../secret.png"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.DIRTYPE, ""),
    ],
)
def test_links_and_devices_are_not_read(tmp_path, kind, target):
    (tmp_path / "secret.png").write_bytes(image_bytes(60))
    tar = write_tar(
        tmp_path / "0.tar",
        [
            member("0.png", type=kind, linkname=target, devmajor=1, devminor=5),
            member("0.txt", b"What does it show?"),
        ],
    )
    candidates, rejected = read_tar(tar, tmp_path)
    assert candidates == []
    assert reasons(rejected) == [
        ("row-field-missing", "0.tar, sample 0: no image among ['txt']"),
    ]


@pytest.mark.parametrize("suffix", ["png", "txt", "json"])
def test_large_member_is_named_and_not_read(tmp_path, suffix):
    files = {"png": image_bytes(), "txt": b"A red square."} | {suffix: bytes(2_000_000)}
    members = [member(f"big.{name}", content) for name, content in files.items()]
    members += [member("ok.png", image_bytes(50)), member("ok.txt", b"Another.")]
    tar = write_tar(tmp_path / "0.tar", members)
    candidates, rejected = read_tar(tar, tmp_path)
    assert [candidate.captions for candidate in candidates] == [["Another."]]
    detail = f"its {suffix} has 2000000 bytes, more than image_limits.max_bytes = {MOST_BYTES}"
    assert reasons(rejected) == [("image-too-many-bytes", f"0.tar, sample big: {detail}")]


@pytest.mark.parametrize("suffix", ["png", "npy"])
def test_tar_bomb_does_not_fill_the_memory(tmp_path, suffix):
    size = 300_000_000
    path = tmp_path / "0.tar"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        info = tarfile.TarInfo(f"0.{suffix}")
        info.size = size
        stream.write(info.tobuf())
        for _ in range(size // 1_000_000):
            stream.write(bytes(1_000_000))
        stream.write(bytes(2048))
    assert path.stat().st_size < 3_000_000
    tracemalloc.start()
    candidates, rejected = read_tar(path, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert candidates == []
    assert len(rejected) == 1
    assert peak < 20_000_000


def test_sparse_member_of_a_terabyte_is_not_read(tmp_path):
    # GNU's old form of a sparse file: no data at all, and a true size of 2**40.
    info = tarfile.TarInfo("0.png")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:482] = bytes(96)
    header[386:410] = b"00000000000\x0000000000000\x00"[:24]
    header[483:495] = b"\x80" + (2**40).to_bytes(11, "big")
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header[:512])
    path = tmp_path / "0.tar"
    path.write_bytes(bytes(header) + bytes(1024))
    with tarfile.open(path) as tar:
        assert tar.getmembers()[0].size == 2**40
    candidates, rejected = read_tar(path, tmp_path)
    assert candidates == []
    assert [reason for reason, _ in reasons(rejected)] == ["image-too-many-bytes"]


@pytest.mark.parametrize("suffix", ["pkl", "pyd", "pth", "pickle", "npy", "npz", "cbor"])
def test_pickles_in_a_tar_are_not_opened(tmp_path, suffix):
    marker = tmp_path / "marker"
    content = pickle.dumps(Exploit(marker))
    tar = write_tar(
        tmp_path / "0.tar",
        [
            member(f"0.{suffix}", content),
            member("0.png", image_bytes()),
            member("0.txt", b"A red square."),
        ],
    )
    candidates, _ = read_tar(tar, tmp_path)
    assert [candidate.captions for candidate in candidates] == [["A red square."]]
    assert not marker.exists()
    pickle.loads(content)  # as webdataset's own decoder would
    assert marker.exists()
