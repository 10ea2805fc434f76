import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from bpg.evaluation.bootstrap import Difference
from bpg.report import charts

LABELS = {"mask": "DeepLab-v2 [F]", "scribble": "DeepLab-v2 [scri]", "bpg": "BPG"}


def bar(label, value, low, high, printed=None):
    return charts.Bar(label, Difference(value, low, high, None), printed)


RUNS = {
    variant: [
        {
            kind: {
                "miou": 50.0 + seed + shift,
                "trimap": [None, *(30.0 + shift + 2 * seed + w / 2 for w in range(2, 41))],
            }
            for kind, shift in (("raw", start), ("crf", start + 5))
        }
        for seed in (0, 1)
    ]
    for variant, start in (("scribble", 0), ("bpg", 10))
}
CURVES = [
    {"variant": variant, "seed": 0, "step": step, "loss": 1 / (step + 1), "edge": edge}
    for variant, edge in (("scribble", None), ("bpg", 0.1))
    for step in range(3)
]
DIFFERENCES = {
    "mIoU": [bar("a → b", 3.0, 2.0, 4.0, 1.5), bar("b → c", -2.0, -3.0, -1.0)],
    "Boundary IoU": [bar("b → c", 1.0, 0.5, 1.5), bar("c → d", 0.0, -1.0, 1.0)],
}
SETTINGS = ["100 %", "50 %", "0 %"]
STUDY = {"scribble": [(50.0, 1.0), (48.0, 0.5), (40.0, None)], "bpg": [(51.0, None)] * 3}
DRAW = {
    "bars": lambda path: charts.bar_chart(path, RUNS, LABELS),
    "curves": lambda path: charts.curve_chart(path, CURVES, LABELS),
    "trimap": lambda path: charts.trimap_chart(path, RUNS, LABELS),
    "difference": lambda path: charts.difference_chart(path, DIFFERENCES),
    "study": lambda path: charts.study_chart(
        path, "Length", ["100 %", "50 %", "0 %"], STUDY, LABELS
    ),
}


@pytest.fixture
def figure(monkeypatch, tmp_path):
    """The figure of a chart before it becomes pixels, laid out."""

    def figure(draw):
        kept = []
        with monkeypatch.context() as patch:
            patch.setattr(charts, "_save", lambda figure, path: kept.append(figure))
            draw(tmp_path / "chart.png")
        kept[0].draw_without_rendering()
        return kept[0]

    return figure


def _points(line):
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def _legend(figure):
    """{label: colour of its line}"""
    legend = figure.legends[0]
    return {
        text.get_text(): to_hex(line.get_color()).upper()
        for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }


@pytest.mark.parametrize("name", DRAW)
def test_a_chart_is_drawn_with_equal_bytes_and_no_date(tmp_path, name):
    for file in ("a.png", "b.png"):
        DRAW[name](tmp_path / file)
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    assert b"Software" not in content
    assert b"tIME" not in content
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    assert picture.shape[1] > 500
    assert len(np.unique(picture)) > 10
    # What is clipped touches the border.
    border = (picture[0], picture[-1], picture[:, 0], picture[:, -1])
    assert min(edge.min() for edge in border) == 255


@pytest.mark.parametrize("name", [name for name in DRAW if name != "bars"])
def test_the_legend_lies_outside_the_panels(figure, name):
    drawn = figure(DRAW[name])
    box = drawn.legends[0].get_window_extent()
    for axes in drawn.axes:
        assert axes.get_tightbbox().y0 >= box.y1 or not axes.get_visible()


def test_bars_have_the_means_and_one_standard_deviation(figure):
    (axes,) = figure(DRAW["bars"]).axes
    assert [bar.get_width() for bar in axes.patches] == [50.5, 60.5, 55.5, 65.5]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["DeepLab-v2 [scri]", "BPG"]
    segments = axes.collections[0].get_segments()
    assert segments[0][:, 0] == pytest.approx([50.5 - 0.5**0.5, 50.5 + 0.5**0.5])


def test_bars_of_one_seed_have_no_error_bars(figure):
    runs = {variant: seeds[:1] for variant, seeds in RUNS.items()}
    (axes,) = figure(lambda path: charts.bar_chart(path, runs, LABELS)).axes
    assert not axes.collections


def test_curves_leave_out_a_metric_that_a_variant_does_not_have(figure):
    drawn = figure(DRAW["curves"])
    shown = {axes.get_title(): len(axes.lines) for axes in drawn.axes if axes.get_visible()}
    assert shown == {"loss": 2, "edge": 1}
    colours = {to_hex(line.get_color()) for axes in drawn.axes for line in axes.lines}
    assert len(colours) == 2


def test_trimap_has_the_seed_mean_by_width(figure):
    drawn = figure(DRAW["trimap"])
    assert [axes.get_title() for axes in drawn.axes] == ["without CRF", "with CRF"]
    for axes, shift in zip(drawn.axes, (0, 5), strict=True):
        for line, start in zip(axes.lines, (0, 10), strict=True):
            # Width 1 is None in both seeds.
            assert list(line.get_xdata()) == list(range(2, 41))
            expected = [31.0 + start + shift + w / 2 for w in range(2, 41)]
            assert line.get_ydata() == pytest.approx(expected)
        assert axes.get_ylim()[0] > 20
    assert drawn.axes[0].get_ylim() == drawn.axes[1].get_ylim()


def test_trimap_leaves_out_what_is_none_in_any_seed(figure):
    def seed(values):
        return {"raw": {"trimap": values}, "crf": {"trimap": [None] * 3}}

    runs = {"bpg": [seed([10.0, 20.0, 30.0]), seed([20.0, None, 50.0])]}
    drawn = figure(lambda path: charts.trimap_chart(path, runs, LABELS))
    assert _points(drawn.axes[0].lines[0]) == [(1, 15.0), (3, 40.0)]
    assert _points(drawn.axes[1].lines[0]) == []


def test_a_forest_plot_has_its_rows_in_order_at_shared_labels(figure):
    drawn = figure(DRAW["difference"])
    assert [axes.get_title() for axes in drawn.axes] == ["mIoU", "Boundary IoU"]
    left, right = drawn.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["a → b", "b → c", "c → d"]
    assert left.yaxis_inverted()
    assert left.get_ylim() == right.get_ylim()

    def lines(axes, marker):
        return [_points(line) for line in axes.lines if line.get_marker() == marker]

    zero, *intervals = lines(left, "None")
    assert [x for x, _ in zero] == [0, 0]
    assert intervals == [[(2.0, 0), (4.0, 0)], [(-3.0, 1), (-1.0, 1)]]
    assert lines(left, "o") == [[(3.0, 0)], [(-2.0, 1)]]
    assert lines(left, "D") == [[(1.5, 0)]]
    assert lines(right, "None")[1:] == [[(0.5, 1), (1.5, 1)], [(-1.0, 2), (1.0, 2)]]
    assert lines(right, "o") == [[(1.0, 1)], [(0.0, 2)]]
    assert not lines(right, "D")
    assert [text.get_text() for text in left.texts] == ["+3.0", "−2.0"]
    assert list(_legend(drawn)) == ["ours, with its 95 % interval", "the paper's difference"]


def test_the_forest_plots_pixels_stand_where_its_numbers_are(tmp_path):
    path = tmp_path / "chart.png"
    charts.difference_chart(path, {"mIoU": [bar("x", 3.0, 2.0, 4.0), bar("y", -2.0, -3.0, -1.0)]})
    picture = np.asarray(Image.open(path).convert("RGB"))
    blue = (picture == (0x00, 0x72, 0xB2)).all(axis=2)
    # Three bands of the points' colour, from above: x, y, the legend.
    rows = np.flatnonzero(blue.any(axis=1))
    bands = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    assert len(bands) == 3
    x, y = (np.flatnonzero(blue[band].any(axis=0)).mean() for band in bands[:2])
    # The long dark columns are the axis and, further right, the line at 0.
    dark = (picture.max(axis=2) < 0x80).sum(axis=0)
    zero = np.flatnonzero(dark > 0.4 * dark.max()).max()
    assert y < zero < x
    assert (x - zero) / (zero - y) == pytest.approx(1.5, abs=0.05)


def test_a_forest_plot_without_the_papers_numbers_does_not_name_them(figure):
    drawn = figure(lambda path: charts.difference_chart(path, {"mIoU": DIFFERENCES["mIoU"][1:]}))
    assert list(_legend(drawn)) == ["ours, with its 95 % interval"]
    assert len(drawn.axes) == 1


def test_a_study_has_its_settings_in_order(figure):
    (axes,) = figure(DRAW["study"]).axes
    assert axes.get_title() == "Length"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["100 %", "50 %", "0 %"]
    scribble, bpg = (line for line in axes.lines if len(line.get_xdata()) == 3 and _marked(line))
    assert list(scribble.get_ydata()) == [50.0, 48.0, 40.0]
    assert list(bpg.get_ydata()) == [51.0] * 3
    assert (
        np.round(scribble.get_xdata()).tolist() == np.round(bpg.get_xdata()).tolist() == [0, 1, 2]
    )
    (bars,) = axes.collections  # bpg has no standard deviation
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [
        [49.0, 51.0],
        [47.5, 48.5],
        [40.0, 40.0],
    ]


def _marked(line):
    return line.get_marker() in charts.MARKERS and line.get_linestyle() != "None"


def test_a_study_needs_a_number_for_every_setting(tmp_path):
    with pytest.raises(ValueError, match="shape"):
        charts.study_chart(tmp_path / "x.png", "x", ["1", "2"], {"bpg": [(50.0, None)]}, LABELS)


def test_a_variant_has_one_colour_in_every_chart(figure):
    legends = [_legend(figure(DRAW[name])) for name in ("curves", "trimap", "study")]
    assert legends[0] == legends[1] == legends[2]
    assert list(legends[0]) == ["DeepLab-v2 [scri]", "BPG"]
    alone = figure(lambda path: charts.trimap_chart(path, {"bpg": RUNS["bpg"]}, LABELS))
    assert _legend(alone)["BPG"] == legends[0]["BPG"]


def test_every_variant_and_some_more_have_a_style_of_their_own(figure):
    names = [*LABELS, *(f"new_{number}" for number in range(28))]
    names = names[: len(charts.COLOURS) * len(charts.DASHES)]
    assert len(names) == len(charts.COLOURS) * len(charts.DASHES)
    drawn = figure(
        lambda path: charts.trimap_chart(path, dict.fromkeys(names, RUNS["bpg"]), LABELS)
    )
    styles = {(line.get_color(), line.get_linestyle()) for line in drawn.axes[0].lines}
    assert len(styles) == len(names)


WITH_CLASSES = {
    variant: [
        {"classes": ["background", "cat", "dog"], "raw": {"iou": [90.0, start + seed, absent]}}
        for seed in (0, 2)
    ]
    for variant, start, absent in (("scribble", 40.0, 10.0), ("bpg", 50.0, None))
}


def test_classes_have_a_point_for_each_variant(figure):
    drawn = figure(lambda path: charts.class_chart(path, WITH_CLASSES, LABELS))
    (axes,) = drawn.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["background", "cat", "dog"]
    assert axes.yaxis_inverted()
    scribble, bpg = axes.lines
    assert _points(scribble) == [(90.0, 0), (41.0, 1), (10.0, 2)]
    assert _points(bpg) == [(90.0, 0), (51.0, 1)]
    assert list(_legend(drawn)) == ["DeepLab-v2 [scri]", "BPG"]


def test_a_class_absent_in_all_runs_has_no_row(figure):
    runs = {
        "bpg": [{"classes": ["background", "cat", "dog"], "raw": {"iou": [90.0, None, 10.0]}}],
        "scribble": [{"classes": ["background", "cat", "dog"], "raw": {"iou": [80.0, None, 5.0]}}],
    }
    (axes,) = figure(lambda path: charts.class_chart(path, runs, LABELS)).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["background", "dog"]
    assert [_points(line) for line in axes.lines] == [[(90.0, 0), (10.0, 1)], [(80.0, 0), (5.0, 1)]]


def test_cost_beside_gain(figure):
    points = {"baseline": (1.0, 57.0), "BPG": (2.4, 60.0), "KernelCut": (2.2, 57.6)}
    (axes,) = figure(lambda path: charts.cost_chart(path, points, ["BPG"])).axes
    assert {text.get_text(): text.xy for text in axes.texts} == points
    blue = [line for line in axes.lines if to_hex(line.get_color()).upper() == charts.OURS]
    assert [_points(line) for line in blue] == [[(2.4, 60.0)]]
