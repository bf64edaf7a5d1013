"""An HTML page that needs no other file."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader


@dataclass(frozen=True)
class Row:
    """A model in the MultiGen table."""

    label: str
    scores: dict[str, str]
    num_images: int


@dataclass(frozen=True)
class Section:
    """A heading with figures and pictures."""

    title: str
    facts: dict[str, str] = field(default_factory=dict)
    figures: list[str] = field(default_factory=list)


def figure(path: Path) -> str:
    """A picture as a data URL."""
    kind = "png" if path.suffix == ".png" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def render_page(title: str, rows: Sequence[Row], sections: Sequence[Section]) -> str:
    """The page of a reproduction; every text is escaped."""
    environment = Environment(
        loader=PackageLoader("tokencompose_core.reports", "."), autoescape=True
    )
    return environment.get_template("page.html").render(title=title, rows=rows, sections=sections)
