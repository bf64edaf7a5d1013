"""An HTML page that needs no other file, made of sections with tables, charts and pictures."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from jinja2 import Environment, PackageLoader
from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """What a section is made of; all texts are plain, the page escapes them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = ""
    notes: list[str] = []


class Row(BaseModel):
    """A row of a table.

    Attributes:
        cells: A text for each column. Lines after the first are smaller; a first line that ends in
            "*" stands out.
        is_quoted: Whether others have measured it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cells: list[str]
    is_quoted: bool = False


class Table(Part):
    """A table; on a narrow screen it moves sideways below its first column."""

    kind: Literal["table"] = "table"
    columns: list[str]
    rows: list[Row]


class Chart(Part):
    """Percentages of some things, a dot for each model.

    Attributes:
        labels: The models.
        rows: A thing, and the percentages of all models; none where there is none.
    """

    kind: Literal["chart"] = "chart"
    labels: list[str]
    rows: list[tuple[str, list[float | None]]]


class Picture(BaseModel):
    """A picture with a line below it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    note: str = ""


class Grid(Part):
    """Pictures of the same thing below each other.

    Attributes:
        columns: What each column shows; a second line stands out.
        rows: A label, and a picture for each column.
    """

    kind: Literal["grid"] = "grid"
    columns: list[str]
    rows: list[tuple[str, list[Picture]]]


class Figures(Part):
    """Pictures as wide as the page."""

    kind: Literal["figures"] = "figures"
    urls: list[str]


class Section(BaseModel):
    """A heading and what is below it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    parts: list[Annotated[Table | Chart | Grid | Figures, Field(discriminator="kind")]]
    foot: str = ""


def facts_table(facts: dict[str, str]) -> Table:
    """Names and values as a table without column names."""
    return Table(columns=[], rows=[Row(cells=[name, value]) for name, value in facts.items()])


def figure(path: Path) -> str:
    """A picture as a data URL."""
    return data_url(path.read_bytes(), "png" if path.suffix == ".png" else "jpeg")


def data_url(content: bytes, kind: str) -> str:
    """The bytes of a picture as a data URL."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def render_page(title: str, warnings: Sequence[str], sections: Sequence[Section]) -> str:
    """The page of an evaluation or a reproduction."""
    return render("page.html", title=title, warnings=warnings, sections=sections)


def render(template: str, **values: Any) -> str:
    """A page from a template of this package; every text is escaped."""
    environment = Environment(
        loader=PackageLoader("tokencompose_core.reports", "."), autoescape=True
    )
    return environment.get_template(template).render(**values)
