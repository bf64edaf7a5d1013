"""Read captioned images from WebDataset tars."""

import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Self

from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.caption_row import CaptionRow, Columns, read_row, reject_row
from tokencompose_core.selection.unpack_image import UNPACKED_NAME, unpack_image

_IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "avif")
_TEXT_SUFFIXES = ("txt", "caption", "text")
_META = re.compile(r"__[^/]*__($|/)")  # what webdataset takes for no sample
_SUFFIXES = frozenset((*_IMAGE_SUFFIXES, *_TEXT_SUFFIXES, "json"))


def read_webdataset(
    path: Path, images_dir: Path, caption_field: str, max_bytes: int
) -> Iterator[CaptionRow | Rejection]:
    """The samples of a tar, in order; their images are unpacked below `images_dir`.

    An image is stored under the digest of its bytes, so that unpacking again, or the same image
    from another tar, writes nothing; the names in the tar are no paths. Links, devices and members
    of other kinds are not read.

    Args:
        path: The tar.
        images_dir: Where to unpack, to `unpacked/`.
        caption_field: Field of the caption in `<key>.json`, for samples that have no `<key>.txt`.
        max_bytes: Most bytes of an image, or of a caption's file, in memory at a time.

    Raises:
        ValueError: If the tar is broken, is cut short or has one name twice.
    """
    (images_dir / UNPACKED_NAME).mkdir(parents=True, exist_ok=True)
    for sample in _samples(path, max_bytes):
        yield _read_sample(sample, images_dir, caption_field, path.name)


@dataclass(frozen=True)
class _TooLarge:
    """Stands for the bytes of a file that was not read."""

    num_bytes: int
    max_bytes: int


class _StrictHeader(tarfile.TarInfo):
    """A header that must be whole: only the block of zeros that closes a tar may end it.

    `tarfile` takes any header but the first that cannot be read for the end of the tar.
    """

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the block of zeros
            raise
        except tarfile.HeaderError as error:
            detail = f"{error} at byte {tarfile_.offset}, where a file or the tar's end should be"
            raise tarfile.ReadError(detail) from error


def _samples(path: Path, max_bytes: int) -> Iterator[Mapping[str, Any]]:
    # Here, as it imports PyTorch, which a run that finds everything stored need not wait for.
    import webdataset

    with path.open("rb") as stream:
        try:
            yield from webdataset.tariterators.group_by_keys(_files(path.name, stream, max_bytes))
        except (tarfile.TarError, EOFError, ValueError, OSError, zlib.error, LZMAError) as error:
            raise ValueError(f"{path}: not a readable tar ({error.args[0]})") from error


def _files(tar_name: str, stream: BinaryIO, max_bytes: int) -> Iterator[dict[str, Any]]:
    """The files of a tar, as webdataset groups them to samples.

    Its own reader would read every file whole, of any kind and however large it says to be. Here a
    file that is neither image nor caption has a name only.
    """
    with tarfile.open(fileobj=stream, mode="r|*", tarinfo=_StrictHeader) as tar:
        for member in tar:
            if not member.isreg() or _META.match(member.name):
                continue
            suffix = PurePosixPath(member.name).name.partition(".")[2].lower()
            content: bytes | _TooLarge | None = None
            if suffix in _SUFFIXES and member.size > max_bytes:
                content = _TooLarge(member.size, max_bytes)
            elif suffix in _SUFFIXES and (file := tar.extractfile(member)) is not None:
                content = file.read()
            yield {"fname": member.name, "data": content, "__url__": tar_name}
            tar.members = []  # type: ignore[attr-defined]  # of which it would keep all


def _read_sample(
    sample: Mapping[str, Any], images_dir: Path, caption_field: str, tar_name: str
) -> CaptionRow | Rejection:
    place = f"{tar_name}, sample {sample['__key__']}"
    image = next(((s, sample[s]) for s in _IMAGE_SUFFIXES if s in sample), None)
    if image is None:
        detail = f"no image among {[name for name in sample if not name.startswith('__')]}"
        return reject_row(place, RejectionReason.ROW_FIELD_MISSING, detail)
    for name, content in sample.items():
        if isinstance(content, _TooLarge):
            detail = (
                f"its {name} has {content.num_bytes} bytes, more than"
                f" image_limits.max_bytes = {content.max_bytes}"
            )
            return reject_row(place, RejectionReason.IMAGE_TOO_MANY_BYTES, detail)
    text = _read_caption(sample, caption_field, place)
    if isinstance(text, Rejection):
        return text
    suffix, content = image
    path = unpack_image(images_dir, content, f".{suffix}")
    digest = PurePosixPath(path).stem
    values = {
        "image": path,
        "caption": text,
        # Tars often count their samples from zero, each for itself.
        "name": f"{sample['__key__']}-{digest[:12]}",
    }
    return read_row(values, Columns(image="image", caption="caption", name="name"), place)


def _read_caption(sample: Mapping[str, Any], caption_field: str, place: str) -> Any:
    try:
        for suffix in _TEXT_SUFFIXES:
            if suffix in sample:
                return sample[suffix].decode("utf-8")
        if "json" not in sample:
            return None
        described = json.loads(sample["json"].decode("utf-8"))
    except UnicodeDecodeError as error:
        detail = f"caption is not UTF-8 at byte {error.start}"
        return reject_row(place, RejectionReason.ROW_NOT_UTF8, detail)
    except (ValueError, RecursionError) as error:
        return reject_row(place, RejectionReason.ROW_BROKEN, f"not JSON ({error})")
    if not isinstance(described, dict) or caption_field not in described:
        detail = f"its JSON has no field {caption_field!r}"
        return reject_row(place, RejectionReason.ROW_FIELD_MISSING, detail)
    return described[caption_field]
