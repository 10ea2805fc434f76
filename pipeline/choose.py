"""Choose what to train, and on whose images: writes it into the parameter files."""

import argparse
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bpg.errors import BPGError
from pipeline.edit_yaml import edit_yaml
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
        try:
            for path, values in files.items():
                edit_yaml(trial / path, values)
            read_parameters(trial)
        except BPGError as error:
            raise BPGError(str(error).replace(f"{trial}/", "")) from error
    for path, values in files.items():
        edit_yaml(root / path, values)


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
