import csv
import io

import pytest

from tslm.metric_names import METRICS, build_cell, describe_metrics
from tslm.table import Cell, Table, render_pairs

TABLE = Table(
    ["system", "kappa", "samples"],
    [
        [Cell("a|b", detail="leaky"), Cell(-0.5, 2, interval=(-0.75, -0.25)), 12],
        ["<i>", Cell(None, interval=(0.1, 0.2)), Cell(0.25, 1, "%", hint="of all")],
        ["none", "no answers"],
    ],
    "Scores",
    ["More & less."],
    bold_rows=[1],
)


def test_text_is_aligned_and_a_missing_value_is_a_dash():
    assert TABLE.text().splitlines() == [
        "Scores",
        "system       kappa                 samples",
        "a|b (leaky)  -0.50 [-0.75, -0.25]  12",
        "<i>          -                     0.2 %",
        "none         no answers",
        "More & less.",
    ]


def test_markdown_escapes_bars_fills_short_rows_and_sets_rows_in_bold():
    lines = TABLE.markdown().splitlines()
    assert lines[2:5] == [
        "| system | kappa | samples |",
        "| --- | --- | --- |",
        "| a\\|b (leaky) | -0.50 [-0.75, -0.25] | 12 |",
    ]
    assert lines[5] == "| **<i>** | **-** | **0.2 %** |"
    assert lines[6] == "| none | no answers |  |"


def test_html_is_escaped_typeset_and_short_rows_span_the_rest():
    page = TABLE.html("scores")
    assert "<i>" not in page and "&lt;i&gt;" in page and "More &amp; less." in page
    assert "−0.50 <small>−0.75 to −0.25</small>" in page
    assert 'colspan="2">no answers' in page
    assert "0.2&#8239;% <small>of all</small>" in page
    assert "<tr class=bold><th" in page
    assert 'style="--share:25%"' in Table(["", "x"], [["a", Cell(0.25, share=0.25)]]).html()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_csv_holds_full_precision_and_no_formula(start):
    text = Table(["name", "x"], [[f"{start}1+1", Cell(-1 / 3, 2)]]).csv()
    (row,) = csv.DictReader(io.StringIO(text))
    assert row == {"name": f"'{start}1+1".replace("\r", "\n"), "x": str(-1 / 3)}


def test_pairs_are_indented_under_their_title():
    assert render_pairs("files", {"a": "1 kB", "long": Cell(2)}) == "files\n  a     1 kB\n  long  2"


def test_a_metric_has_its_decimals_its_interval_and_percent_where_it_is_a_share():
    metrics = {
        "accuracy": 0.81249,
        "precision": 0.5,
        "per_class_f1": {"Wake": 0.75, "REM": None},
        "intervals": {"accuracy": [0.7, 0.9], "precision": [0.4, 0.625], "per_class_f1": {"Wake": [0.7, 0.8]}},
    }
    assert build_cell("accuracy", metrics).text() == "0.812 [0.700, 0.900]"
    assert build_cell("precision", metrics).text() == "50.0 % [40.0, 62.5]"
    assert build_cell("per_class_f1", metrics, "Wake").text() == "0.750 [0.700, 0.800]"
    assert build_cell("per_class_f1", metrics, "REM").text() == "-"
    assert describe_metrics(metrics, ["accuracy", "cohen_kappa"]) == "accuracy 0.812"
    assert METRICS["waso_min"].title == "wake after sleep onset (WASO), min"
