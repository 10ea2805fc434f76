import json

import pytest

from bpg.atomic import write_rows
from bpg.errors import BPGError
from bpg.report.runs import (
    class_iou_rows,
    gather_curves,
    mean_curves,
    read_runs,
    summarise,
    trimap_rows,
)


def test_a_missing_run_is_named(runs_folder, write_run):
    write_run("bpg", 0, 50.0)
    with pytest.raises(BPGError, match=r"bpg/1/metrics\.json: missing"):
        read_runs(runs_folder, ["bpg"], [0, 1])


def _set(*keys):
    def change(content, value):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "value", "message"),
    [
        (_set("raw", "miou"), None, "raw.miou"),
        (_set("raw", "miou"), float("nan"), "raw.miou"),
        (_set("crf", "iou"), [1.0, 2.0], "one IoU per class"),
        (_set("crf"), None, "crf"),
        (_set("raw", "boundary_iou"), float("inf"), "raw.boundary_iou"),
        (_set("crf", "trimap"), None, "crf.trimap"),
        (_set("crf", "trimap"), ["wide"], "crf.trimap.0"),
        (_set("classes"), "cat", "classes"),
        (_set("edge_loss"), "low", "edge_loss"),
        (_set("seed"), 7, "made by bpg, 7"),
        (_set("variant"), "prn", "made by prn, 0"),
    ],
)
def test_an_ill_formed_file_is_named(runs_folder, write_run, change, value, message):
    path = write_run("bpg", 0, 50.0)
    content = json.loads(path.read_text())
    change(content, value)
    path.write_text(json.dumps(content))
    with pytest.raises(BPGError, match=message) as error:
        read_runs(runs_folder, ["bpg"], [0])
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_broken_json_is_named(runs_folder, write_run):
    path = write_run("bpg", 0, 50.0)
    path.write_text(path.read_text()[:40])
    with pytest.raises(BPGError, match=str(path)):
        read_runs(runs_folder, ["bpg"], [0])


def test_runs_scored_on_other_classes_do_not_mix(runs_folder, write_run):
    write_run("bpg", 0, 50.0)
    write_run("bpg", 1, 50.0, classes=["background", "cat", "dog"])
    with pytest.raises(BPGError, match=r"bpg/1/metrics\.json: its classes differ"):
        read_runs(runs_folder, ["bpg"], [0, 1])


def test_empty_lists_are_refused(runs_folder):
    with pytest.raises(BPGError, match="must not be empty"):
        read_runs(runs_folder, [], [0])


def test_summary_of_one_seed(runs_folder, write_run):
    write_run("scribble", 0, 51.234)
    write_run("bpg", 0, 54.0, edge_loss=0.051239)
    assert summarise(read_runs(runs_folder, ["scribble", "bpg"], [0])) == {
        "scribble": {
            "miou": 51.23,
            "miou_crf": 56.23,
            "boundary_iou": 41.23,
            "boundary_iou_crf": 46.23,
            "pixel_accuracy": 71.23,
            "pixel_accuracy_crf": 76.23,
        },
        "bpg": {
            "miou": 54.0,
            "miou_crf": 59.0,
            "boundary_iou": 44.0,
            "boundary_iou_crf": 49.0,
            "pixel_accuracy": 74.0,
            "pixel_accuracy_crf": 79.0,
            "edge_loss": 0.0512,
        },
    }


def test_summary_of_three_seeds_has_the_sample_deviation(runs_folder, write_run):
    for seed, miou in enumerate([50.0, 52.0, 54.0]):
        write_run("bpg", seed, miou, edge_loss=0.05 + seed / 100)
    numbers = summarise(read_runs(runs_folder, ["bpg"], [0, 1, 2]))["bpg"]
    assert numbers["miou"] == 52.0
    assert numbers["miou_std"] == numbers["miou_crf_std"] == 2.0  # with divisor n: 1.63
    assert numbers["boundary_iou"] == 42.0
    assert numbers["boundary_iou_std"] == numbers["boundary_iou_crf_std"] == 2.0
    assert numbers["edge_loss"] == 0.06


def test_a_boundary_iou_that_a_seed_does_not_have_is_left_out(runs_folder, write_run):
    for seed in (0, 1):
        path = write_run("bpg", seed, 50.0)
    content = json.loads(path.read_text())
    content["crf"]["boundary_iou"] = None
    content["crf"]["trimap"][0] = None
    path.write_text(json.dumps(content))
    numbers = summarise(read_runs(runs_folder, ["bpg"], [0, 1]))["bpg"]
    assert [name for name in numbers if name.startswith("boundary")] == [
        "boundary_iou",
        "boundary_iou_std",
    ]


def test_a_file_from_before_the_boundary_measures_is_named(runs_folder, write_run):
    path = write_run("bpg", 0, 50.0)
    content = json.loads(path.read_text())
    del content["raw"]["boundary_iou"]
    path.write_text(json.dumps(content))
    with pytest.raises(BPGError, match=r"raw\.boundary_iou: Field required; rerun evaluate"):
        read_runs(runs_folder, ["bpg"], [0])


def test_class_bars_leave_absent_classes_out(runs_folder, write_run):
    for seed, miou in enumerate([50.0, 52.0]):
        write_run("bpg", seed, miou, absent=["spots"])
    assert class_iou_rows(read_runs(runs_folder, ["bpg"], [0, 1]), "raw") == {
        "bpg": [{"class": "background", "iou": 50.0}, {"class": "stripes", "iou": 52.0}]
    }


def _write_curve(runs_folder, variant, seed, name, values):
    folder = runs_folder / variant / str(seed) / "curves" / "plots" / "metrics" / "train"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"step\t{name}", *(f"{step}\t{value}" for step, value in enumerate(values))]
    (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return folder / f"{name}.tsv"


def test_curves_are_joined_by_step(runs_folder, tmp_path):
    _write_curve(runs_folder, "bpg", 0, "loss", [2.0, 1.0])
    _write_curve(runs_folder, "bpg", 0, "edge", [0.1, 0.05])
    _write_curve(runs_folder, "scribble", 0, "loss", [3.0, 2.0, 1.5])
    rows = gather_curves(runs_folder, ["scribble", "bpg"], [0])
    assert [list(row) for row in rows] == [["variant", "seed", "step", "loss", "edge"]] * 5
    assert rows[0] == {"variant": "scribble", "seed": 0, "step": 0, "loss": 3.0, "edge": None}
    assert rows[4] == {"variant": "bpg", "seed": 0, "step": 1, "loss": 1.0, "edge": 0.05}

    write_rows(tmp_path / "curves.csv", list(rows[0]), rows)
    lines = (tmp_path / "curves.csv").read_text().splitlines()
    assert lines[0] == "variant,seed,step,loss,edge"
    assert lines[1] == "scribble,0,0,3.0,"


def test_curves_are_averaged_over_seeds_and_leave_out_what_a_variant_lacks(runs_folder):
    _write_curve(runs_folder, "bpg", 0, "loss", [2.0, 1.0])
    _write_curve(runs_folder, "bpg", 1, "loss", [4.0, 2.0])
    _write_curve(runs_folder, "bpg", 0, "edge", [0.1, 0.05])
    _write_curve(runs_folder, "bpg", 1, "edge", [0.3, 0.15])
    _write_curve(runs_folder, "scribble", 0, "loss", [3.0])
    _write_curve(runs_folder, "scribble", 1, "loss", [5.0])
    curves = mean_curves(gather_curves(runs_folder, ["scribble", "bpg"], [0, 1]))
    assert curves["scribble"] == [{"step": 0, "loss": 4.0}]
    assert curves["bpg"][0] == {"step": 0, "loss": 3.0, "edge": 0.2}
    assert [row["step"] for row in curves["bpg"]] == [0, 1]


def test_a_metric_that_is_not_there_at_every_step_leaves_a_gap(runs_folder):
    """The ratio of gradients, where a batch has no labelled pixel."""
    for seed in (0, 1):
        _write_curve(runs_folder, "bpg", seed, "loss", [2.0, 1.0])
    path = _write_curve(runs_folder, "bpg", 0, "boundary_gradient", [0.1, 0.2])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))  # the first step alone
    curves = mean_curves(gather_curves(runs_folder, ["bpg"], [0, 1]))
    assert curves["bpg"] == [
        {"step": 0, "loss": 2.0, "boundary_gradient": 0.1},
        {"step": 1, "loss": 1.0, "boundary_gradient": None},
    ]


def test_dvclive_writes_what_is_read(runs_folder, monkeypatch):
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    live_type = pytest.importorskip("dvclive").Live
    with live_type(runs_folder / "bpg/0/curves", dvcyaml=False, save_dvc_exp=False) as live:
        for loss in (0.5, 0.25):
            live.log_metric("train/loss", loss)
            live.next_step()
    rows = gather_curves(runs_folder, ["bpg"], [0])
    assert [(row["step"], row["loss"]) for row in rows] == [(0, 0.5), (1, 0.25)]


def test_a_run_without_curves_is_named(runs_folder):
    with pytest.raises(BPGError, match=r"bpg/0/curves.*no training curve"):
        gather_curves(runs_folder, ["bpg"], [0])


def test_a_broken_curve_is_named(runs_folder):
    path = _write_curve(runs_folder, "bpg", 0, "loss", [1.0, "much"])
    with pytest.raises(BPGError, match=r"loss\.tsv, line 3"):
        gather_curves(runs_folder, ["bpg"], [0])
    path.write_text("epoch\tloss\n0\t1.0\n")
    with pytest.raises(BPGError, match=r"loss\.tsv, line 2"):
        gather_curves(runs_folder, ["bpg"], [0])


def test_the_trimap_curve_starts_at_one_pixel_and_skips_what_is_not_there(runs_folder, write_run):
    write_run("bpg", 0, 60.0)
    runs = read_runs(runs_folder, ["bpg"], [0])
    runs["bpg"][0]["raw"]["trimap"] = [None, 50.0, 51.234] + [52.0] * 37
    rows = trimap_rows(runs, "raw")["bpg"]
    assert rows[:2] == [{"radius": 2, "miou": 50.0}, {"radius": 3, "miou": 51.23}]
    assert rows[-1]["radius"] == 40
