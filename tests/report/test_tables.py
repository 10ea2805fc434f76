import csv
import dataclasses
import re

import pytest

from bpg.report import paper
from bpg.report.columns import markdown, write_table
from bpg.report.costs import CountRow
from bpg.report.runs import read_runs
from bpg.report.setting import NO_EPOCHS
from bpg.report.tables import SHOWN_RADII, boundary_table, cost_table, table1, table2, table3

ALL = {"mask": 66.0, "scribble": 51.0, "prn": 53.0, "brn": 52.0, "bpg": 54.0}


def _cells(table):
    """{first column: the other texts}."""
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


@pytest.fixture
def all_runs(runs_folder, write_run):
    for variant, miou in ALL.items():
        write_run(variant, 0, miou, edge_loss=0.0512 if variant in ("brn", "bpg") else None)
    write_run("bpg_all_channels", 0, 52.5, edge_loss=0.0264)
    return read_runs(runs_folder, [*ALL, "bpg_all_channels"], [0])


def test_table1_on_other_classes(all_runs, setting):
    table = table1(all_runs, setting)
    assert table.header == ("system", "background", "spots", "stripes", "mean", "paper's mean")
    assert _cells(table) == {
        "deeplab-v2 [F]": ["65.0", "66.0", "67.0", "66.0", "75.8"],
        "deeplab-v2+CRF [F]": ["70.0", "71.0", "72.0", "71.0", "76.4"],
        "deeplab-v2 [scri]": ["50.0", "51.0", "52.0", "51.0", "69.9"],
        "+PRN": ["52.0", "53.0", "54.0", "53.0", "71.4"],
        "+BRN": ["51.0", "52.0", "53.0", "52.0", "72.4"],
        "BPG": ["53.0", "54.0", "55.0", "54.0", "73.2"],
        "BPG+CRF": ["58.0", "59.0", "60.0", "59.0", "76.0"],
    }
    assert any("only its mean" in note for note in table.notes)


def test_table1_bolds_the_best_scribble_system_without_crf(all_runs, setting):
    # Full masks are out of the competition, even where they show the very same number.
    table = table1(all_runs | {"mask": all_runs["bpg"]}, setting)
    bold = {(row[0].text, cell.text) for row in table.rows for cell in row if cell.bold}
    assert bold == {("BPG", "53.0"), ("BPG", "54.0"), ("BPG", "55.0")}
    assert "**54.0**" in markdown(table)


def test_table1_on_voc_has_the_papers_classes(runs_folder, write_run, setting):
    for variant in ("scribble", "bpg"):
        write_run(variant, 0, 60.0, classes=paper.CLASSES)
    table = table1(read_runs(runs_folder, ["scribble", "bpg"], [0]), setting)
    cells = _cells(table)
    assert cells["+PRN, paper"] == [
        *(f"{value:.1f}" for value in paper.TABLE_1[3].iou),
        "71.4",  # as printed, though its classes give 71.48
        "",
    ]
    assert set(cells["+PRN"][:-1]) == {"not run"}
    assert cells["BPG"][0] == "59.0"
    assert not any("only its mean" in note for note in table.notes)
    records = {row["system"]: row for row in table.records}
    assert records["BPG, paper"]["iou_motorbike"] == "81.10"
    assert records["BPG"]["paper_mean"] == 73.2


def test_table1_finds_the_papers_classes_by_name_not_by_order(runs_folder, write_run, setting):
    write_run("bpg", 0, 60.0, classes=["background", "person", "cat"])
    cells = _cells(table1(read_runs(runs_folder, ["bpg"], [0]), setting))
    # The mean is over the classes shown; the printed one, over 21, stands in the row above.
    assert cells["BPG, paper"] == ["92.3", "80.4", "87.2", "86.6", ""]
    assert cells["BPG"][-1] == "73.2"


def test_table1_shows_absent_classes_as_such(runs_folder, write_run, setting):
    write_run("bpg", 0, 60.0, absent=["spots"])
    table = table1(read_runs(runs_folder, ["bpg"], [0]), setting)
    assert _cells(table)["BPG"][:3] == ["59.0", "–", "61.0"]
    assert any("spots" in note and "other classes" in note for note in table.notes)
    records = {row["system"]: row for row in table.records}
    assert records["BPG"]["iou_spots"] == "absent"


def test_several_seeds_give_mean_and_deviation(runs_folder, write_run, setting, shipped):
    for seed, miou in enumerate([50.0, 52.0, 54.0]):
        write_run("bpg", seed, miou, edge_loss=0.05 + seed / 1000)
    runs = read_runs(runs_folder, ["bpg"], [0, 1, 2])
    setting = dataclasses.replace(setting, seeds=(0, 1, 2))
    table = table1(runs, setting)
    assert _cells(table)["BPG"][:4] == ["51.0 ± 2.0", "52.0 ± 2.0", "53.0 ± 2.0", "52.0 ± 2.0"]
    assert "seeds 0, 1, 2 (mean ± sample standard deviation)" in table.caption
    assert _cells(table2(runs, setting))["w/ BRN (C = 2)"][:2] == ["52.0 ± 2.0", "0.051 ± 0.001"]
    assert _cells(table3(runs, setting, shipped))["BPG"][2:4] == ["52.0 ± 2.0", "57.0 ± 2.0"]
    (record,) = (row for row in table3(runs, setting, shipped).records if row["system"] == "BPG")
    assert (record["miou"], record["miou_std"], record["seeds"]) == ("52.00", "2.00", "0 1 2")


def test_table2(all_runs, setting):
    assert _cells(table2(all_runs, setting)) == {
        "wo/ BRN": ["53.0", "n/a", "71.4", "n/a"],
        "w/ BRN (C = K+1)": ["52.5", "0.026", "70.8", "0.026"],
        "w/ BRN (C = 2)": ["54.0", "0.051", "73.2", "0.051"],
    }


@pytest.fixture
def budgeted(setting):
    budgets = dict.fromkeys([*ALL, "bpg_all_channels"], "16") | {"kernelcut": "8 + 8"}
    budgets |= {"gatedcrf": "8 + 8", "fine_tuned": "8 + 8", "scribblesup": "8 + 4 + 4"}
    budgets |= {"grabcut": "16", "forest": NO_EPOCHS}
    return dataclasses.replace(setting, budgets=budgets)


def test_table3_never_fills_in_what_was_not_run(all_runs, setting, shipped):
    setting = dataclasses.replace(setting, budgets={"bpg": "16", "mask": "16"})
    assert _cells(table3(all_runs, setting, shipped)) == {
        "ScribbleSup": ["scribbles", "", "not run", "not run", "n/a", "63.1"],
        "NormalCut": ["scribbles", "", "not run", "not run", "72.8", "74.5"],
        "KernelCut": ["scribbles", "", "not run", "not run", "73.0", "75.0"],
        "BPG": ["scribbles", "16", "54.0", "59.0", "73.2", "76.0"],
        "deeplab-v2": ["per-pixel labels", "16", "66.0", "71.0", "75.8", "76.4"],
    }


def test_table3_has_the_further_variants_that_go_on_from_another(
    runs_folder, write_run, budgeted, shipped
):
    mious = ALL | {"fine_tuned": 52.0, "scribblesup": 55.0, "kernelcut": 56.0, "gatedcrf": 57.0}
    mious |= {"grabcut": 58.0, "forest": 31.0}
    for variant, miou in mious.items():
        write_run(variant, 0, miou)
    table = table3(read_runs(runs_folder, list(mious), [0]), budgeted, shipped)
    assert table.header[2] == "epochs"
    assert _cells(table) == {
        "ScribbleSup": ["scribbles", "8 + 4 + 4", "55.0", "60.0", "n/a", "63.1"],
        "NormalCut": ["scribbles", "", "not run", "not run", "72.8", "74.5"],
        "KernelCut": ["scribbles", "8 + 8", "56.0", "61.0", "73.0", "75.0"],
        "BPG": ["scribbles", "16", "54.0", "59.0", "73.2", "76.0"],
        "deeplab-v2": ["per-pixel labels", "16", "66.0", "71.0", "75.8", "76.4"],
        # Neither the baseline nor its parts: these have tables of their own.
        "Fine-tuned": ["scribbles", "8 + 8", "52.0", "57.0", "n/a", "n/a"],
        "Gated CRF": ["scribbles", "8 + 8", "57.0", "62.0", "n/a", "n/a"],
        "GrabCut": ["scribbles", "16", "58.0", "63.0", "n/a", "n/a"],
        "Random forest": ["scribbles", "–", "31.0", "36.0", "n/a", "n/a"],
    }
    further = ["Fine-tuned", "Gated CRF", "GrabCut", "Random forest"]
    assert [row[0].text for row in table.rows][5:] == further
    found = {row["variant"]: row for row in table.records}
    assert (found["gatedcrf"]["epochs"], found["gatedcrf"]["miou"]) == ("8 + 8", "57.00")
    assert (found["gatedcrf"]["paper_miou"], found["gatedcrf"]["paper_miou_crf"]) == ("n/a", "n/a")
    assert any("same backbone, optimizer" in note for note in table.notes)


def test_a_peer_that_was_run_is_filled_in(runs_folder, write_run, setting, shipped):
    write_run("kernelcut", 0, 61.0)
    cells = _cells(table3(read_runs(runs_folder, ["kernelcut"], [0]), setting, shipped))
    assert cells["KernelCut"][2:4] == ["61.0", "66.0"]
    assert cells["BPG"][2:4] == ["not run", "not run"]


def test_systems_not_run_have_no_number_of_ours(runs_folder, write_run, setting, shipped):
    write_run("mask", 0, 66.0)
    runs = read_runs(runs_folder, ["mask"], [0])
    for table in (table1(runs, setting), table2(runs, setting), table3(runs, setting, shipped)):
        not_run = 0
        for row in table.rows:
            ours = [cell for cell in row[1:] if cell.kind in ("ours", "not-run")]
            if any(cell.kind == "not-run" for cell in ours):
                not_run += 1
                assert not any(re.search(r"\d", cell.text) for cell in ours)
        assert not_run == {"table1": 5, "table2": 3, "table3": 4}[table.name]
        for record in table.records:
            ours = [record[k] for k in ("iou_mean", "miou", "miou_crf", "edge_loss") if k in record]
            assert ("not run" in ours) == (record["variant"] != "mask")
            if "not run" in ours:
                assert set(ours) <= {"not run", "n/a"}


def test_every_table_states_what_ours_were_made_on(all_runs, setting, tmp_path, shipped):
    images = "400 training and 160 validation images"
    statement = f"data set shapes ({images}), recipe tiny, lambda 1, edges hed, seed 0"
    for table in (
        table1(all_runs, setting),
        table2(all_runs, setting),
        table3(all_runs, setting, shipped),
    ):
        write_table(tmp_path, table)
        assert statement in (tmp_path / f"{table.name}.md").read_text(encoding="utf-8")
        with (tmp_path / f"{table.name}.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                assert (row["dataset"], row["recipe"], row["seeds"]) == ("shapes", "tiny", "0")
                assert (row["train_images"], row["val_images"]) == ("400", "160")


def test_the_csv_of_table1_is_complete(all_runs, setting, tmp_path):
    write_table(tmp_path, table1(all_runs, setting))
    with (tmp_path / "table1.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == [line.label for line in paper.TABLE_1]
    assert (rows[0]["iou_background"], rows[0]["iou_mean"]) == ("65.00", "66.00")
    assert {row["crf"] for row in rows if row["system"] == "BPG+CRF"} == {"1"}
    assert [float(row["paper_mean"]) for row in rows] == [line.mean for line in paper.TABLE_1]


def test_markdown_is_one_aligned_table(all_runs, setting):
    lines = [line for line in markdown(table1(all_runs, setting)).splitlines() if line[:1] == "|"]
    assert len(lines) == 2 + 7
    assert {len(line) for line in lines} == {len(lines[0])}
    assert re.fullmatch(r"\| -+ (\| -+: )+\|", lines[1])


def test_a_bar_in_a_class_name_does_not_break_the_markdown(runs_folder, write_run, setting):
    write_run("bpg", 0, 50.0, classes=["background", "a|b"])
    text = markdown(table1(read_runs(runs_folder, ["bpg"], [0]), setting))
    assert "a\\|b" in text


def test_equal_runs_give_equal_bytes(all_runs, setting, tmp_path, shipped):
    for folder in ("one", "two"):
        for table in (
            table1(all_runs, setting),
            table2(all_runs, setting),
            table3(all_runs, setting, shipped),
        ):
            write_table(tmp_path / folder, table)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_boundaries_of_every_system_raw_and_with_crf(runs_folder, write_run, setting):
    write_run("bpg", 0, 60.0)
    write_run("bpg", 1, 62.0)
    runs = read_runs(runs_folder, ["bpg"], [0, 1])
    table = boundary_table(runs, setting)
    cells = _cells(table)
    assert list(cells) == ["BPG", "BPG + CRF"]
    assert len(table.header) == 2 + len(SHOWN_RADII)
    raw = [metrics["raw"] for metrics in runs["bpg"]]
    mean = sum(metrics["boundary_iou"] for metrics in raw) / 2
    assert cells["BPG"][0].startswith(f"{mean:.1f} ± ")
    at_3 = sum(metrics["trimap"][2] for metrics in raw) / 2
    assert float(table.records[0]["miou_within_3"]) == pytest.approx(at_3, abs=0.005)


def test_the_cost_stands_beside_the_baselines(setting):
    base = {
        "variant": "scribble",
        "parameters": 299_564,
        "parameters_at_test": 299_564,
        "macs": 75_200_000,
        "peak_memory_bytes": 31 * 2**20,
        "step_seconds": 0.1234,
        "macs_ratio": 1.0,
        "memory_ratio": 1.0,
        "time_ratio": 1.0,
        "baseline": "scribble",
        "recipe": "tiny",
        "classes": 7,
        "crop": 97,
        "batch": 8,
        "device": "cpu",
        "hardware": "A processor, 2 cores",
        "torch": "2.15.0",
        "threads": 1,
        "precision": "fp32",
    }
    bpg = base | {"variant": "bpg", "macs_ratio": 1.714, "time_ratio": 2.1}
    counted = [{key: row[key] for key in CountRow.model_fields} for row in (base, bpg)]
    plain = cost_table(counted, setting)
    table = cost_table([base, bpg], setting)
    assert plain.header == table.header[:5]
    assert [row[:5] for row in table.rows] == list(plain.rows)
    assert "Paper" not in str(plain) and "step" not in str(plain)
    first, second = _cells(table).values()
    assert first[:6] == ["299,564", "299,564", "0.0752", "× 1.00", "31", "× 1.00"]
    assert second[3] == "× 1.71"
    assert second[6:] == ["123", "× 2.10"]
    made = "8 crops of 97×97 pixels on A processor, 2 cores, fp32, 1 thread, torch 2.15.0."
    assert made in table.caption
