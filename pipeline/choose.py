"""Choose what to train, and on whose images: writes it into the parameter files."""

import argparse
import shutil
import sys
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from bpg.atomic import write_text
from bpg.errors import BPGError
from pipeline.params import read_parameters
from pipeline.paths import ROOT
from pipeline.variants import make_lists, read_variants, suggestion

ROWS = ["scribble", "bpg"]
FOLDER = Path("params/dataset/folder.yaml")


def choose(root: Path, rows: list[str], folder: str | None, recipe: str | None) -> None:
    """Write the lists of variants, and the user's folder, into the parameter files.

    Args:
        root: The folder of params.yaml.
        rows: The variants that are to be in the tables; what they start from is trained, too.
        folder: The user's images, which become the data set; None: the data set stays.
        recipe: None: small with a folder, else the recipe stays.

    Raises:
        BPGError: A variant or the folder is unknown, or the parameters are wrong.
    """
    variants = read_variants(root / "params/variants.yaml")
    for name in rows:
        if name not in variants:
            raise BPGError(f"unknown variant {name!r}; {suggestion(name, variants)}")
    files: dict[Path, dict[str, Any]] = {}
    changes: dict[str, Any] = {"variants": make_lists(list(dict.fromkeys(rows)), variants)}
    if folder is not None:
        images = Path(folder).expanduser().resolve()
        if not images.is_dir():
            raise BPGError(f"{images}: no such folder")
        files[FOLDER] = {"root": str(images)}
        changes |= {"dataset": "folder", "recipe": recipe or "small"}
    elif recipe is not None:
        changes["recipe"] = recipe
    files[Path("params.yaml")] = changes
    with TemporaryDirectory() as place:
        trial = Path(place)
        shutil.copytree(root / "params", trial / "params")
        shutil.copy(root / "params.yaml", trial / "params.yaml")
        for path, values in files.items():
            _edit(trial / path, values)
        try:
            read_parameters(trial)
        except BPGError as error:
            raise BPGError(str(error).replace(f"{trial}/", "")) from error
    for path, values in files.items():
        _edit(root / path, values)


def _edit(path: Path, changes: dict[str, Any]) -> None:
    """Change values of a YAML file; comments stay."""
    yaml = YAML()
    yaml.width = 200
    document = yaml.load(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        if isinstance(value, dict):
            for name, entry in value.items():
                document[key][name] = _in_one_line(entry)
        else:
            document[key] = value
    text = StringIO()
    yaml.dump(document, text)
    write_text(path, text.getvalue())


def _in_one_line(entries: list) -> CommentedSeq:
    found = CommentedSeq(CommentedMap(one) if isinstance(one, dict) else one for one in entries)
    found.fa.set_flow_style()
    return found


def main() -> None:
    """Read the command line; end with status 1 and one line where something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.choose", description=__doc__)
    parser.add_argument(
        "rows", nargs="*", metavar="VARIANT", help=f"rows of the tables; default: {' '.join(ROWS)}"
    )
    parser.add_argument("--folder", help="your images and strokes (bpg check FOLDER)")
    parser.add_argument("--recipe", help="tiny, small or paper; with --folder small by default")
    given = parser.parse_args()
    try:
        choose(ROOT, given.rows or ROWS, given.folder, given.recipe)
    except BPGError as error:
        sys.exit(f"choose: error: {error}")
    print("params.yaml is changed" + (f", and {FOLDER}" if given.folder else ""))
    print("now: make repro, or dvc exp run")


if __name__ == "__main__":
    main()
