"""An HTML page that needs no other file."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    return data_url(path.read_bytes(), "png" if path.suffix == ".png" else "jpeg")


def data_url(content: bytes, kind: str) -> str:
    """The bytes of a picture as a data URL."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def render_page(title: str, rows: Sequence[Row], sections: Sequence[Section]) -> str:
    """The page of a reproduction."""
    return render("page.html", title=title, rows=rows, sections=sections)


def render(template: str, **values: Any) -> str:
    """A page from a template of this package; every text is escaped."""
    environment = Environment(
        loader=PackageLoader("tokencompose_core.reports", "."), autoescape=True
    )
    return environment.get_template(template).render(**values)
