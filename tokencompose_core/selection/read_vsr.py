"""Read Visual Spatial Reasoning (arXiv:2205.00363) files."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import urlparse

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


def _check_url(text: str) -> str:
    urlparse(text)  # raises a ValueError, which pydantic reports with the field
    return text


class VsrLine(BaseModel):
    """One statement about an image; fields that the selection does not use are left out.

    Attributes:
        image: File name of the COCO image.
        image_link: Address of the image, whose folder is the COCO split.
        caption: The statement.
        label: 1 if the statement is true.
        relation: The spatial relation that it claims.
    """

    model_config = ConfigDict(frozen=True)

    image: Annotated[str, Field(pattern=r"^[^/\\\x00]+$")]  # it may not leave the split's folder
    image_link: Annotated[str, AfterValidator(_check_url)]
    caption: str
    label: int
    relation: str

    @property
    def split(self) -> str:
        """Folder of the image: `train2017` or `val2017`."""
        return PurePosixPath(urlparse(self.image_link).path).parent.name


def read_vsr_lines(path: Path) -> Iterator[VsrLine]:
    """The lines of a VSR file of JSON lines.

    Raises:
        ValueError: If a line is not UTF-8, not JSON or lacks a field, naming file, line and field.
    """
    with path.open("rb") as stream:
        # Lines may also end in a carriage return alone.
        lines = chain.from_iterable(line.splitlines() for line in stream)
        for number, text in enumerate(lines, start=1):
            if text.strip():
                yield _read_line(text, f"{path}, line {number}")


def _read_line(text: bytes, place: str) -> VsrLine:
    try:
        return VsrLine.model_validate(json.loads(text.decode("utf-8")))
    except UnicodeDecodeError as error:
        raise ValueError(f"{place}: not UTF-8 at byte {error.start}") from error
    except ValidationError as error:
        raise ValueError(f"{place}: {describe_fields(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: not JSON ({error})") from error


def describe_fields(error: ValidationError) -> str:
    """The fields that pydantic refused, in one line."""
    return "; ".join(
        f"field {'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors()
    )
