import pytest

from bpg.errors import BPGError
from pipeline.choose import choose
from pipeline.params import read_parameters


def test_rows_and_what_they_start_from_are_trained(parameter_files):
    before = (parameter_files / "params.yaml").read_text(encoding="utf-8")
    choose(parameter_files, ["bpg", "scribblesup", "bpg"], None, None)
    found = read_parameters(parameter_files)
    assert found.switches.variants.all == ["bpg", "scribblesup"]
    assert set(found.switches.variants.trained()) == {"bpg", "warm", "scribblesup_1", "scribblesup"}
    assert (found.switches.dataset, found.switches.recipe) == ("shapes", "tiny")
    after = (parameter_files / "params.yaml").read_text(encoding="utf-8")
    assert before.count("#") == after.count("#")  # comments stay


def test_the_rows_as_they_were_are_the_file_as_it_was(parameter_files):
    file = parameter_files / "params.yaml"
    before = file.read_text(encoding="utf-8")
    shipped = read_parameters(parameter_files).switches
    for rows in (["bpg"], ["scribblesup", "grabcut"], ["forest", "scribble"]):
        choose(parameter_files, rows, None, "small")
        text = file.read_text(encoding="utf-8")
        assert text.endswith("]\n")
        for line in text.splitlines():
            assert line == line.rstrip()
            assert "  " not in line.lstrip()
    choose(parameter_files, shipped.variants.all, None, shipped.recipe)
    assert file.read_text(encoding="utf-8") == before


def test_a_folder_becomes_the_data_set(parameter_files, tmp_path):
    folder = tmp_path / "mes photos d'été"
    folder.mkdir()
    choose(parameter_files, ["scribble"], str(folder), None)
    found = read_parameters(parameter_files)
    assert (found.switches.dataset, found.switches.recipe) == ("folder", "small")
    assert found.dataset.root == str(folder)
    choose(parameter_files, ["scribble"], str(folder), "tiny")
    assert read_parameters(parameter_files).switches.recipe == "tiny"


@pytest.mark.parametrize(
    ("rows", "folder", "recipe", "text"),
    [
        (["scrible"], None, None, "unknown variant 'scrible'; did you mean scribble"),
        (["bpg"], "/nowhere", None, "/nowhere: no such folder"),
        (["bpg"], "/tmp", "nonsense", "^params/recipe/nonsense.yaml: no such parameter file"),
        (["forest"], None, None, "^params.yaml: variants: "),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_written(
    parameter_files, rows, folder, recipe, text
):
    before = {path: path.read_bytes() for path in parameter_files.rglob("*.yaml")}
    with pytest.raises(BPGError, match=text):
        choose(parameter_files, rows, folder, recipe)
    assert {path: path.read_bytes() for path in parameter_files.rglob("*.yaml")} == before
