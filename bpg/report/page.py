"""One page with everything: index.html beside the images that it shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from bpg.atomic import write_text
from bpg.report.columns import Table
from bpg.report.setting import Setting


@dataclass(frozen=True)
class Figure:
    """An image that lies beside the page under the name `file`."""

    file: str
    title: str
    caption: str


def write_page(
    folder: Path,
    setting: Setting,
    tables: Sequence[Table],
    figures: Sequence[Figure],
    made_with: Sequence[str],
) -> None:
    """Write index.html; it needs no script and nothing from the network.

    Args:
        folder: Where to write it; the images must already be there.
        setting: What our numbers were made on.
        tables: In the order of the page.
        figures: In the order of the page.
        made_with: Lines on versions and hardware that every table shows.

    Raises:
        FileNotFoundError: An image is not there.
    """
    for figure in figures:
        if not (folder / figure.file).is_file():
            raise FileNotFoundError(folder / figure.file)
    environment = Environment(
        loader=PackageLoader("bpg.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template("page.html.j2")
    html = template.render(
        setting=str(setting), tables=tables, figures=figures, made_with=made_with
    )
    write_text(folder / "index.html", html)
