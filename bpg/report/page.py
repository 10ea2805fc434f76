"""One page with everything: index.html beside the pictures that it shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from bpg.atomic import write_text
from bpg.report.tables import Setting, Table


@dataclass(frozen=True)
class Picture:
    """A picture that lies beside the page under the name `file`."""

    file: str
    title: str
    caption: str


def write_page(
    folder: Path,
    setting: Setting,
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    made_with: Sequence[str],
) -> None:
    """Write `folder`/index.html with the tables and the pictures, which must already lie there.

    `made_with` are the lines on commit, versions and hardware that every table shows.

    No script and nothing from the network. A picture that is not there raises FileNotFoundError.
    """
    for picture in pictures:
        if not (folder / picture.file).is_file():
            raise FileNotFoundError(folder / picture.file)
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
        setting=str(setting), tables=tables, pictures=pictures, made_with=made_with
    )
    write_text(folder / "index.html", html)
