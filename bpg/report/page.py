"""One page with everything, in one file that needs nothing from elsewhere."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bpg.atomic import write_text
from bpg.report.answer import Line
from bpg.report.columns import EXCLUDES, INTERVAL, Cell, Table
from bpg.report.setting import Setting
from bpg.report.viewer import Shot


@dataclass(frozen=True)
class Figure:
    """An image of the page, which also lies beside it.

    Attributes:
        file: Its PNG's name in the page's folder.
        title: Above it, and what it is called where it cannot be seen.
        caption: Below it.
        svg: The same as an SVG element; the page has the PNG if there is none.
    """

    file: str
    title: str
    caption: str
    svg: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page: tables and what belongs to them.

    Attributes:
        title: Its heading.
        parts: Tables and figures in their order.
        folded: Whether it is closed until it is asked for.
    """

    title: str
    parts: tuple[Table | Figure, ...]
    folded: bool = False


@dataclass(frozen=True)
class Viewer:
    """Images to look at, layer by layer.

    Attributes:
        shots: The images.
        rule: By which they were chosen.
        first: Name of the layer beside the image at the start.
        classes: (name, "#rrggbb") of the labels, and of what has none.
    """

    shots: tuple[Shot, ...]
    rule: str
    first: str
    classes: tuple[tuple[str, str], ...]


def write_page(
    folder: Path,
    setting: Setting,
    answer: Sequence[Line],
    hero: Figure | None,
    viewer: Viewer | None,
    sections: Sequence[Section],
    made_with: Sequence[str],
) -> None:
    """Write index.html, whole or not at all.

    Args:
        folder: Where to write it; the images must already be there.
        setting: What our numbers were made on.
        answer: What the page opens with.
        hero: The image that shows it.
        viewer: Images to look at.
        sections: In the order of the page.
        made_with: Lines on versions and hardware.

    Raises:
        FileNotFoundError: An image is not there.
    """
    environment = Environment(
        loader=PackageLoader("bpg.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

    def source(figure: Figure) -> str:
        data = (folder / figure.file).read_bytes()
        return f"data:image/png;base64,{base64.b64encode(data).decode()}"

    def drawn(figure: Figure) -> Markup:
        if not (folder / figure.file).is_file():
            raise FileNotFoundError(folder / figure.file)
        # Our own chart, whose text the drawing library has escaped.
        return Markup(figure.svg)  # noqa: S704

    html = environment.get_template("page.html.j2").render(
        setting=setting,
        answer=answer,
        hero=hero,
        viewer=viewer,
        shots="" if viewer is None else _json(viewer.shots),
        sections=[
            replace(
                section,
                parts=tuple(
                    stacked(part) if isinstance(part, Table) else part for part in section.parts
                ),
            )
            for section in sections
        ],
        made_with=made_with,
        source=source,
        drawn=drawn,
        style=Markup(_own("page.css")),  # noqa: S704
        script=Markup(_own("page.js")),  # noqa: S704
    )
    write_text(folder / "index.html", html)


def _own(name: str) -> str:
    return files("bpg.report").joinpath(name).read_text(encoding="utf-8")


def _json(shots: Sequence[Shot]) -> Markup:
    """Return the images for the page's script, such that no text in them can end it."""
    found = [
        {
            "name": shot.name,
            "why": shot.why,
            "layers": [[layer.name, layer.note, layer.data] for layer in shot.layers],
        }
        for shot in shots
    ]
    text = json.dumps(found, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))  # noqa: S704


def stacked(table: Table) -> Table:
    """Put intervals and what they exclude below the numbers that they belong to.

    Args:
        table: Its columns "95 % interval" and "excludes 0?" follow those of their numbers.

    Returns:
        The same with fewer, narrower columns.
    """
    under = [heading in (INTERVAL, EXCLUDES) for heading in table.header]
    header = tuple(text for text, below in zip(table.header, under, strict=True) if not below)
    rows = []
    for row in table.rows:
        cells: list[Cell] = []
        for cell, below, heading in zip(row, under, table.header, strict=True):
            if not below:
                cells.append(cell)
            elif cell.text:
                text = f"excludes 0: {cell.text}" if heading == EXCLUDES else f"95 %: {cell.text}"
                cells[-1] = replace(cells[-1], below=(*cells[-1].below, text))
        rows.append(tuple(cells))
    return replace(table, header=header, rows=tuple(rows))
