"""Parameters that say how much would have been enough."""

import numpy as np

from bpg.data.ids import read_ids
from bpg.data.masks import read_mask
from bpg.evaluation.bootstrap import Difference
from bpg.report.studies import StudyDifference, StudyResult, StudyRow

SHAPES = "params/dataset/shapes.yaml"


def done(workspace, tools, *stages):
    for stage in stages:
        outcome = tools.call(workspace, stage)
        assert outcome.code == 0, outcome.error


def test_a_share_of_the_images_is_trained_on_and_lies_in_every_larger_share(workspace, tools):
    data = workspace / "data/shapes"
    val, found = read_ids(data / "val.txt"), {}
    for share in (1.0, 0.5, 0.25):
        tools.edit(workspace / SHAPES, {"train_share": share})
        done(workspace, tools, "prepare", "scribbles")
        found[share] = set(read_ids(data / "train.txt"))
        assert {path.stem for path in (data / "scribbles").iterdir()} == found[share]
        assert read_ids(data / "val.txt") == val
    assert found[0.25] < found[0.5] < found[1.0]
    assert [len(names) for names in found.values()] == [8, 4, 2]


def test_a_share_of_each_stroke_is_drawn(workspace, tools):
    data = workspace / "data/shapes"
    names = read_ids(data / "train.txt")
    drawn = {}
    for share in (1.0, 0.5):
        tools.edit(workspace / SHAPES, {"scribbles.length": share})
        done(workspace, tools, "scribbles")
        drawn[share] = np.stack([read_mask(data / f"scribbles/{name}.png") for name in names])
    whole, half = drawn[1.0], drawn[0.5]
    there = half != 255
    assert (whole[there] != 255).mean() > 0.99  # but for the round ends of lines
    assert 0.4 < there.sum() / (whole != 255).sum() < 0.8


def test_the_page_shows_the_studies_of_its_data_set_and_recipe(workspace, tools):
    studies = workspace / "results/studies"
    studies.mkdir()
    for name, dataset in (("effort_length", "shapes"), ("lambda", "shapes"), ("epochs", "voc")):
        rows = [
            StudyRow(setting=setting, variant="bpg", metrics={"miou": miou, "miou_std": 0.5})
            for setting, miou in (("0.5", 41.25), ("1", 42.75))
        ]
        study = StudyResult(
            name=name,
            title=f"Study of {name}",
            command=f"python -m studies {name}",
            dataset=dataset,
            recipe="tiny",
            seeds=[0, 1],
            rows=rows,
            reference="1",
            differences=[
                StudyDifference(
                    first=("1", "bpg"),
                    second=("0.5", "bpg"),
                    differences={"miou": Difference(-1.5, -2.25, -0.75, 0.25)},
                )
            ],
            trained_with={"commit 1234": ["0.5", "1"]},
        )
        (studies / f"{name}.json").write_text(study.model_dump_json())
    done(workspace, tools, "report")
    text = (workspace / "results/report/index.html").read_text(encoding="utf-8")
    first, _, rest = text.partition(">How much annotation is enough</h2>")
    effort, _, others = rest.partition(">Studies</h2>")
    assert "Study of" not in first
    assert "Study of effort_length" in effort and "Study of lambda" in others
    assert "42.8 ± 0.5" in effort and "python -m studies effort_length" in effort
    note = effort.index("No interval is corrected")  # not folded with what was trained
    assert effort.rindex("<details", 0, note) == effort.rindex(
        "<details", 0, effort.index("BPG: 1 → 0.5")
    )
    assert "BPG: 1 → 0.5" in effort and "-2.25 to -0.75" in effort and "yes, lower" in effort
    assert 'id="study_lambda-figure_1"' in others  # a chart
    assert "Study of epochs" not in text
