"""Who may import whom: `stages → pipeline → bpg`, and inside bpg one way only (CONTRIBUTING.md)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Of each room in bpg, the rooms it may import from; single files at the top of bpg are for all.
ROOMS = {
    "data": {"download"},  # VOC is read from its archives
    "download": set(),
    "models": set(),
    "losses": set(),
    "edges": {"data", "download"},
    "propagation": {"data"},
    "forest": {"data"},
    "evaluation": {"data"},
    "inference": {"data", "forest", "models"},
    "training": {"data", "models", "losses"},
    "report": {"data", "evaluation"},
    "draw": {"data", "evaluation", "forest", "inference"},
}
# Single files, which every room may import. They import none, but for two.
# `cost` measures the training's own step, for which no room is the right one: it is in none.
TOP = {"variants": {"losses"}, "cost": {"losses", "models", "training"}}
# Where users come in: these import any room, and no room imports them.
ENTRANCES = {"__main__", "api", "check", "cli"}
COMMON = {
    *(
        "atomic",
        "cost",
        "compiled",
        "constants",
        "devices",
        "distributed",
        "errors",
        "files",
        "grid",
        "opencv",
        "options",
        "ranks",
        "resize",
        "resumable",
    ),
    *("strict_yaml", "variants"),
}
FILES = [*ROOT.glob("bpg/**/*.py"), *ROOT.glob("pipeline/*.py"), *ROOT.glob("stages/*.py")]


def imported(path: Path) -> set[str]:
    """The modules of this repository that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    own = ("bpg", "pipeline", "stages", "studies", "bench", "tests")
    return {name for name in found if name.split(".")[0] in own}


def test_every_room_is_listed():
    rooms = {p.name for p in (ROOT / "bpg").iterdir() if (p / "__init__.py").exists()}
    assert rooms == set(ROOMS)
    assert {p.stem for p in (ROOT / "bpg").glob("*.py")} - {"__init__"} == COMMON | ENTRANCES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path):
    layer, *rest = path.relative_to(ROOT).parts
    allowed = {"bpg": {"bpg"}, "pipeline": {"bpg", "pipeline"}, "stages": {"bpg", "pipeline"}}
    names = imported(path)
    assert {name.split(".")[0] for name in names} <= allowed[layer]
    if layer != "bpg":
        return
    used = {name.split(".")[1] for name in names if name.count(".") and name != "bpg"}
    rooms = {name for name in used if name in ROOMS}
    if len(rest) == 1 and path.stem in ENTRANCES:
        return
    assert not used & ENTRANCES
    if len(rest) == 1:
        assert rooms <= TOP.get(path.stem, set())
    else:
        assert rooms <= ROOMS[rest[0]] | {rest[0]}
