"""What docs/method.md and README.md point at is there."""

import ast
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("docs/method.md", "docs/peers.md", "docs/scaling.md", "docs/scribble.md"),
    *("docs/troubleshooting.md", "docs/own_images.md", "docs/use.md", "docs/formats.md"),
    *("docs/results/shapes.md", "docs/results/photographs.md", "results/studies/README.md"),
)
MADE_BY_RUNS = ("results", "runs", "data", "dvc_plots")
# A path, and after a colon names in that file; no placeholders such as <dataset>, NAME or {a,b}.
REFERENCE = re.compile(r"([\w.-]+(?:/[\w.-]+)*/?)(?:: ([\w.]+(?:, [\w.]+)*))?")
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)")
ANCHOR = re.compile(r"\]\(#([\w-]+)\)")
STUDY = re.compile(r"stud(?:y|ies) `(\w+)`|python -m studies ([a-z]\w*)")
SUFFIXES = {".py", ".yaml", ".md", ".toml", ".txt", ".j2"}


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def prose_of(document: str) -> str:
    """The text without indented and fenced blocks, which hold commands."""
    text = re.sub(r"^```.*?^```", "", text_of(document), flags=re.S | re.M)
    return "\n".join(line for line in text.split("\n") if not line.startswith("    "))


def references(prose: str) -> list[tuple[str, tuple[str, ...]]]:
    """(path, names) of what stands in backticks and looks like a file of the repository."""
    assert prose.count("`") % 2 == 0, "an odd backtick would turn the rest inside out"
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    found = []
    for code in CODE.findall(prose):
        match = REFERENCE.fullmatch(" ".join(code.split()))
        if not match:
            continue
        path = match[1]
        first, inside = path.split("/")[0], "/" in path
        if first in MADE_BY_RUNS or re.search(r"\bNAME\b", path):
            continue
        at_top = (ROOT / path).exists() or match[2] is not None or path == "params.yaml"
        if (inside and first in folders) or (Path(path).suffix in SUFFIXES and (inside or at_top)):
            found.append((path, tuple(match[2].split(", ")) if match[2] else ()))
    return found


def names_in(path: Path) -> set[str]:
    """Functions, classes, methods and assigned names of a module; dotted keys of a YAML file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        return set(_keys(yaml.safe_load(text), ""))
    if path.suffix != ".py":
        return set()
    return set(_definitions(ast.parse(text).body, ""))


def _keys(values, prefix):
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")


def _definitions(body, prefix):
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node.body, f"{prefix}{node.name}.")
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        yield from (prefix + t.id for t in targets if isinstance(t, ast.Name))


CASES = sorted({(d, *reference) for d in DOCUMENTS for reference in references(prose_of(d))})


@pytest.mark.parametrize(("document", "path", "names"), CASES)
def test_what_is_named_is_there(document, path, names):
    assert (ROOT / path).exists(), f"{document}: {path} does not exist"
    if names:
        missing = set(names) - names_in(ROOT / path)
        assert not missing, f"{document}: {path} has no {', '.join(sorted(missing))}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    folder = (ROOT / document).parent
    for target in LINK.findall(text_of(document)):
        made = target.split("/")[0] in MADE_BY_RUNS
        assert made or (folder / target).exists(), f"{document}: {target} does not exist"
    headings = re.findall(r"^#+ (.+)$", text_of(document), flags=re.M)
    anchors = {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}
    assert set(ANCHOR.findall(text_of(document))) <= anchors


@pytest.mark.parametrize("document", DOCUMENTS)
def test_studies_exist(document):
    for named in STUDY.findall(text_of(document)):
        name = "".join(named)
        assert (ROOT / f"studies/{name}.yaml").is_file(), f"{document}: no study {name}"


def test_every_study_is_in_the_map():
    known = {path.stem for path in (ROOT / "studies").glob("*.yaml")}
    assert known - {"".join(named) for named in STUDY.findall(text_of("docs/method.md"))} == set()


MEASURED = re.compile(r"-?\d+\.\d+ ± \d+\.\d+|[+-]\d+\.\d+ \([+-]\d+\.\d+ to [+-]\d+\.\d+\)")


IN_PROSE = re.compile(
    r"([+-]\d+\.\d+)(?: mIoU| Boundary IoU)? \(([+-]\d+\.\d+) to ([+-]\d+\.\d+)[);]"
)
SHAPES, STUDIES = "docs/results/shapes", "results/studies"
PHOTOGRAPHS = ("docs/results/photographs_280", "docs/results/photographs")


def tables_of(text):
    """Yield the (heading, cell)s of each row, the first one's heading as "", "−" as a hyphen."""
    heads = None
    for line in text.replace("−", "-").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            heads = None
        elif heads is None:
            heads = ["", *cells[1:]]
        elif not set(line) <= set("|-: "):
            yield list(zip(heads, cells, strict=True))


def stray_numbers(text, made, labels):
    """Name the numbers of a document's tables that the committed tables do not have there.

    A mean with its deviation must stand under its heading in the variant's own row; a difference
    with its interval in a row that names the variant.
    """
    for (_, first), *cells in tables_of(text):
        variant = re.match(r"`(\w+)`", first)
        name = labels[variant[1]] if variant else ""
        for heading, cell in cells:
            for number in MEASURED.findall(cell):
                places = [
                    (row[0][1], column) for row in made for column, other in row if number == other
                ]
                if "±" in number and name:
                    found = (name, heading) in places
                else:
                    found = any(name in system for system, _ in places)
                if not found:
                    yield f"{first}: {heading}: {number}"


def committed_tables(*folders):
    made = [
        row
        for folder in folders
        for path in sorted((ROOT / folder).glob("*.md"))
        for row in tables_of(path.read_text("utf-8"))
    ]
    # Some tables have a difference and its interval in two columns.
    joined = [
        [row[0], *((h, f"{a.partition(' ±')[0]} ({b})") for (h, a), (_, b) in pairwise(row))]
        for row in made
    ]
    return made + joined


LABELS = yaml.safe_load((ROOT / "params/labels.yaml").read_text("utf-8"))


def photographs(folder):
    """The section of the photographs' page that tells of this run, named after its folder."""
    text = text_of("docs/results/photographs.md")
    (section,) = (part for part in text.split("\n## ")[1:] if f"]({folder}/summary.md)" in part)
    return section


@pytest.mark.parametrize(
    ("text", "folders", "at_least"),
    [
        (text_of("README.md"), [SHAPES], 20),
        (text_of("docs/results/shapes.md"), [SHAPES, STUDIES], 100),
        *((photographs(Path(folder).name), [folder], 8) for folder in PHOTOGRAPHS),
    ],
    ids=["README", "shapes", *PHOTOGRAPHS],
)
def test_measured_numbers_are_those_of_the_committed_tables(text, folders, at_least):
    assert len(MEASURED.findall(text.replace("−", "-"))) > at_least
    assert list(stray_numbers(text, committed_tables(*folders), LABELS)) == []


def test_the_readmes_photographs_are_those_of_the_committed_numbers():
    """Both runs in one paragraph: baseline, BPG, both differences of each, at 140 PRN and BRN."""
    text = " ".join(text_of("README.md").replace("−", "-").split())
    (paragraph,) = re.findall(r"\*\*On photographs\*\*.*?\*\*On the embedded", text)
    parts = paragraph.split("At 140 pixels")
    for folder, part, count in zip(PHOTOGRAPHS, parts, (2, 4), strict=True):
        metrics = json.loads((ROOT / folder / "metrics.json").read_text("utf-8"))
        baseline, bpg = (f"{metrics[name]['miou']:.1f}" for name in ("scribble", "bpg"))
        assert re.search(rf"baseline {baseline}(?: mIoU)?, BPG {bpg}, ", part)
        rows = committed_tables(folder)
        made = differences_in(" ".join(cell + ")" for row in rows for _, cell in row))
        made |= {(-value, -high, -low) for value, low, high in made}
        assert len(differences_in(part)) == count
        assert differences_in(part) <= made


def differences_in(text):
    """Every (difference, low, high) of a text, as numbers."""
    joined = " ".join(text.replace("−", "-").split())
    return {tuple(map(float, found)) for found in IN_PROSE.findall(joined)}


@pytest.mark.parametrize(
    ("text", "folders", "at_least"),
    [
        (text_of("README.md"), [SHAPES, *PHOTOGRAPHS, STUDIES], 5),
        (text_of("docs/results/shapes.md"), [SHAPES, STUDIES], 50),
        *((photographs(Path(folder).name), [folder], 5) for folder in PHOTOGRAPHS),
    ],
    ids=["README", "shapes", *PHOTOGRAPHS],
)
def test_a_signed_difference_with_an_interval_is_in_a_committed_table(text, folders, at_least):
    cells = (cell for row in committed_tables(*folders) for _, cell in row)
    made = differences_in(" ".join(cells))
    made |= {(-value, -high, -low) for value, low, high in made}
    found = differences_in(text)
    assert len(found) >= at_least
    assert found - made == set()


@pytest.mark.parametrize(
    ("heading", "variant", "cell", "strays"),
    [
        ("mIoU", "bpg", "59.6 ± 0.8", 0),
        ("mIoU", "bpg", "59.6 ± 0.9", 1),
        ("with CRF", "bpg", "59.6 ± 0.8", 1),
        ("mIoU", "prn", "59.6 ± 0.8", 1),
        ("gain", "bpg", "+3.09 (+1.76 to +4.42)", 0),
        ("gain", "prn", "+3.09 (+1.76 to +4.42)", 1),
    ],
)
def test_a_number_in_the_wrong_place_is_found(heading, variant, cell, strays):
    made = [
        [("", "BPG"), ("mIoU", "59.6 ± 0.8"), ("with CRF", "66.0 ± 0.9")],
        [("", "DeepLab-v2 [scri] → BPG"), ("mIoU", "+3.09 (+1.76 to +4.42)")],
    ]
    text = f"| variant | {heading} |\n| --- | --- |\n| `{variant}`: ours | {cell} |\n"
    assert len(list(stray_numbers(text, made, LABELS))) == strays


def test_the_check_itself_finds_what_is_wrong():
    prose = (
        "`bpg/nothing.py`, `bpg/models/brn.py: absent`, `results/x.md`, `lambda`, `stages/NAME.py`"
    )
    found = references(prose)
    assert found == [("bpg/nothing.py", ()), ("bpg/models/brn.py", ("absent",))]
    assert "absent" not in names_in(ROOT / "bpg/models/brn.py")
    assert {"BRN", "BRN.forward", "START"} <= names_in(ROOT / "bpg/models/brn.py")
    assert "model.prn" in names_in(ROOT / "params/recipe/paper.yaml")
    assert len([case for case in CASES if case[0] == "docs/method.md"]) > 50
