import json
import re

import numpy as np
import pytest

from tests.factories.pages import make_rows, small_night, write_page
from tests.factories.rows import OPTIONS, make_row, of_system
from tslm.evidence.criteria import Feature
from tslm.evidence.events import Event
from tslm.explain.faithfulness import score_texts
from tslm.hypnogram import Hypnogram
from tslm.labels import LABEL_SETS, SleepStage
from tslm.predictions.nights import build_nights, pick_levels, shown_levels
from tslm.predictions.rows import CLASSIFIER, LANGUAGE_MODEL
from tslm.predictions.scorings import parse_scorings
from tslm.report.charts import draw_hypnogram, draw_time_axis, draw_waveform
from tslm.report.examples import Excerpt, choose_examples
from tslm.report.night.hypnograms import render_statistics
from tslm.report.page import build_drawings, build_page, render_page, write_report
from tslm.report.rationales import render_faithfulness
from tslm.scoring.systems import score_systems

SVG_NAMESPACE = "http://www.w3.org/2000/svg"


def parse_texts(rows):
    """The language model's answers among some rows."""
    return parse_scorings(rows)[LANGUAGE_MODEL]


def test_page_is_whole_offline_and_accessible(tmp_path):
    path = tmp_path / "deep" / "report.html"
    page = write_page(make_rows(), path, facts={"Seed": "7", "Licence": "ODC-By 1.0"})
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 6_000_000
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    assert not any("src" in attrs for attrs in page.find("script"))
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)|url\(|@import|https?:""", text.replace(SVG_NAMESPACE, ""))
    assert page.find("html")[0]["lang"] == "en"
    assert all(head["scope"] in ("col", "row") for head in page.find("th"))
    assert len(page.find("caption")) == len(page.find("table")) == 8
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.find("svg"))
    assert [len(page.find(tag)) for tag in ("h1", "main", "footer")] == [1, 1, 1]
    for words in (
        "could be checked agree with what was measured",
        "Cohen’s kappa",
        "sleep efficiency",
        "ODC-By 1.0",
        "Classifier",
    ):
        assert words in page.text


def test_figures_on_the_page_are_those_of_the_metrics(tmp_path):
    rows = make_rows()
    systems = score_systems(parse_scorings(rows), num_resamples=20)["systems"]
    metrics = systems[LANGUAGE_MODEL]
    page = write_page(rows, tmp_path / "r.html")
    assert f"{metrics['num_correct']} of 120 epochs" in page.text
    assert f"{100 * metrics['accuracy']:.1f} %" in page.text
    assert f"{systems[CLASSIFIER]['cohen_kappa']:.3f}".replace("-", "−") in page.text
    assert re.search(r"unreadable answers\s*1\s*0\.8 %", page.text)
    for row in metrics["confusion_matrix"]:
        assert all(str(count) in page.text for count in row)


def test_a_leaking_split_is_said_above_the_figures(tmp_path):
    path = tmp_path / "report.html"
    assert "Leaky split" not in write_page(make_rows(), path).text
    write_page([row | {"leaky": True} for row in make_rows()], path)
    page = path.read_text(encoding="utf-8")
    assert 0 < page.index("Leaky split") < page.index('class="tiles"')


def test_generated_text_cannot_become_markup(tmp_path):
    rows = make_rows(3, "<b>n&1</b>")
    rows[0]["generated"] = "<script>alert(1)</script><img src=x> Answer: Wake"
    rows[1]["target"] = "</main><h1>mine</h1>"
    rows[2]["evidence"] = {"<i>": "<u>"}
    page = write_page(rows, tmp_path / "r.html", title="A <b> & c", facts={"<k>": "<v>"})
    assert not any(page.find(tag) for tag in ("img", "u", "k", "v"))
    assert len(page.find("h1")) == 1
    assert page.source.count("<script") == len(page.find("script")) == 3
    assert "<script>alert(1)</script><img src=x>" in page.night["rationales"][0]["pieces"][0][0]
    assert page.night["references"][1] == "</main><h1>mine</h1>"


def test_the_charts_of_probabilities_tell_the_figures_of_the_metrics(tmp_path):
    rows, _ = small_night(120)
    for row in of_system(rows):
        row["temperature"] = 1.3
    page = write_page(rows, tmp_path / "r.html")
    scores = score_systems(parse_scorings(rows), num_resamples=20)["systems"][LANGUAGE_MODEL]["probabilities"]
    assert f"as the model gives them, calibration error {scores['uncalibrated']['ece']:.3f}" in page.text
    assert f"after temperature 1.30, {scores['ece']:.3f}" in page.text
    kept = scores["selection"]["entropy"]["accuracy"][4]
    assert f"{100 * kept:.1f} % without the least certain fifth" in page.text
    assert "edit distance, epochs" in page.text


@pytest.mark.parametrize(
    ("grounded", "words"),
    [(True, "follow the signal of their epoch"), (False, "fit the answer rather than"), (None, "too few epochs")],
)
def test_the_texts_are_judged_by_their_controls(monkeypatch, grounded, words):
    scoring = parse_texts(make_rows(40))
    scores = score_texts(scoring)
    alike = {"precision": 0.5, "precision_beyond_prompt": 0.4, "coverage": 0.3, "difference": -0.012}
    alike["difference_interval"] = [-0.05, 0.021]
    told = scores | {"grounded": grounded, "shuffled_alike": alike}
    monkeypatch.setattr("tslm.report.rationales.score_texts", lambda scoring: told)
    shown = render_faithfulness(scoring)
    assert words in shown
    assert "−1.2 percentage points (95&#8239;% interval −5.0 to 2.1)" in shown
    assert f"{100 * scores['precision']:.1f}&#8239;% of" in shown


def test_a_classifier_alone_is_one_system(tmp_path):
    page = write_page(of_system(make_rows(60), CLASSIFIER), tmp_path / "r.html")
    assert [system["name"] for system in page.night["systems"]] == ["Classifier"]
    assert page.night["writer"] is None
    assert "language model" not in page.text.lower()
    assert "What the model wrote" not in page.text


def test_a_page_that_hides_the_expert_is_the_same_whatever_the_expert_says(tmp_path):
    rows, recording = small_night()
    for row in of_system(rows):
        row["generated"] = "Alpha leads. Answer: Wake"
    pages = []
    for truth in ("Wake", "REM sleep"):
        told = parse_scorings(row | {"truth": truth, "target": f"It is {truth}"} for row in rows)
        pages.append(
            render_page(build_page(told, {}, recording=recording, show_expert=False), "<!--a-->", "<b>form</b>")
        )
    assert pages[0] == pages[1]
    assert "<!--a--></head>" in pages[0]
    assert '<aside id="epoch-extra"><b>form</b></aside>' in pages[0]
    with pytest.raises(ValueError, match="one night only"):
        build_page(parse_scorings([*rows, *make_rows(3, "n2")]), {}, show_expert=False)


def test_ten_examples_hold_right_and_wrong_of_every_stage_and_an_unreadable_one():
    rows = make_rows(300)
    examples = choose_examples(parse_texts(rows)).rows
    assert len(examples) == 10
    assert [row["truth"] for row in examples] == [option for option in OPTIONS for _ in range(2)]
    for first, second in zip(examples[::2], examples[1::2], strict=True):
        assert sum(f"Answer: {row['truth']}<" in row["generated"] for row in (first, second)) == 1
    assert any(row["generated"] == "Cut off before" for row in examples)


def test_struck_sentences_are_crossed_out_and_the_first_texts_are_judged(tmp_path):
    rows = [*make_rows(20, "n1", classifier=False), *make_rows(20, "n2", classifier=False)]
    for row in rows:
        row["first_generated"] = f"<b>No spindles. {row['generated']}"
        row |= {"tries": 3, "struck": [[0, "<b>No spindles. "]], "claims_before": {}, "claims_after": {}}
    page = write_page(rows, tmp_path / "r.html")
    (title,) = {attrs["title"] for attrs in page.find("del")}
    assert title == "contradicts the measurement or the answer"
    assert len(page.find("del")) == 10
    assert "<b>No spindles. RMS" in page.text
    assert "100.0 % had a false claim and were written again" in page.text
    assert "Beside their own epoch, before verification" in page.text


def test_examples_do_not_depend_on_the_order_of_the_rows():
    rows = make_rows(300)
    chosen = {row["sample_id"] for row in choose_examples(parse_texts(rows)).rows}
    assert {row["sample_id"] for row in choose_examples(parse_texts(rows[::-1])).rows} == chosen
    assert chosen != {row["sample_id"] for row in rows[:10]}


@pytest.mark.parametrize("num_rows", [1, 7, 10, 25])
def test_few_rows_and_absent_stages_fill_up_to_ten(num_rows):
    examples = choose_examples(parse_texts(make_rows(num_rows))).rows
    assert len({row["sample_id"] for row in examples}) == len(examples) == min(num_rows, 10)


def test_waveforms_and_texts_stand_in_the_cards(tmp_path):
    rows = [*make_rows(5), *make_rows(5, "n2")]
    values_uv = np.sin(np.arange(3000) / 20).astype(np.float32)
    shown = {
        row["sample_id"]: Excerpt(values_uv, [Event(Feature.SPINDLES, 6.0, 1.5)] * idx)
        for idx, row in enumerate(rows[:3])
    }
    page = write_page(rows, tmp_path / "r.html", waveforms=shown)
    classes = [attrs.get("class") for attrs in page.find("div")]
    assert (classes.count("wave"), classes.count("wave marked")) == (1, 2)
    assert "Answer: Wake" in page.text
    assert "<|im_end|>" not in page.text
    assert "12.5 µV" in page.text
    assert "41 %" in page.text
    assert "not measured" in page.text
    assert "at 0:20:30" in page.text


def test_a_runaway_text_is_cut_and_says_so(tmp_path):
    rows = [*make_rows(2), *make_rows(2, "n2")]
    rows[0]["generated"] = "alpha " * 5000
    page = write_page(rows, tmp_path / "r.html")
    assert "cut here, 30,000 characters" in page.text
    assert len(page.text) < 12_000


def test_an_expert_who_scored_a_part_of_the_night_is_compared_there_and_has_no_statistics(tmp_path):
    rows = make_rows(40)
    for row in rows:
        row["truth"] = row["truth"] if row["epoch_idx"] < 50 else None  # the first row is of epoch 40
    page = write_page(rows, tmp_path / "p.html")
    assert sum(code is not None for code in page.night["expert"]) == 10
    wrong = next(one for one in page.night["lists"] if one["name"] == "a system differs from the expert")
    assert all(position < 10 for position in wrong["positions"])
    assert "of 10 epochs" in page.text
    assert "difference from the expert" not in page.text
    assert "30 epochs without an expert" in page.text


def test_night_keeps_gaps_and_unread_answers_unscored():
    rows = [row for row in make_rows(60) if row["epoch_idx"] != 45]
    (night,) = build_nights(parse_scorings(rows[::-1]))
    assert night.onset_s == 1200
    assert night.expert.num_epochs == 60
    assert night.num_predicted == {"Language model": 59, "Classifier": 59}
    assert [idx for idx, stage in enumerate(night.expert.sleep_stages) if stage is SleepStage.UNSCORED] == [5]
    model = night.hypnograms["Language model"].sleep_stages
    assert [idx for idx, stage in enumerate(model) if stage is SleepStage.UNSCORED] == [5, 17]
    assert "sleep efficiency" in render_statistics(night, shown_levels(rows))


def test_statistics_are_left_out_where_most_epochs_were_not_scored():
    rows = of_system(make_rows(60))[::6]
    (night,) = build_nights(parse_scorings(rows))
    shown = render_statistics(night, shown_levels(rows))
    assert "Only 10 of the 55 epochs" in shown
    assert "sleep efficiency" not in shown


def test_short_rodent_epochs_and_several_recordings(tmp_path):
    options = list(LABEL_SETS["rodent"].answers)
    rows = [*make_rows(40, "m1", options, classifier=False), *make_rows(40, "m2", options, classifier=False)]
    for row in rows:
        row["onset_s"] = 4.0 * row["epoch_idx"]
    nights = build_nights(parse_scorings(rows))
    assert [night.recording for night in nights] == ["m1", "m2"]
    assert nights[0].expert.epoch_s == 4
    page = write_page(rows, tmp_path / "r.html")
    assert "2 recordings (m1, m2)" in page.text
    assert re.search(r"m2 Language model: same stage in \d\d\.\d %", page.text)
    assert "NREM sleep, min" in page.text
    assert "human scorers" not in page.text
    assert len(page.find("caption")) == 8


def test_an_epoch_given_twice_is_an_error():
    rows = of_system(make_rows(3))
    rows[2]["epoch_idx"] = rows[1]["epoch_idx"]
    with pytest.raises(ValueError, match="epoch 41 of recording 'n1' stands in two rows"):
        build_nights(parse_scorings(rows))


@pytest.mark.parametrize("kind", ["choice", "caption"])
def test_other_tasks_have_a_page_without_nights(tmp_path, kind):
    options = ["(a) up", "(b) down"] if kind == "choice" else []
    truth = "(b) down" if options else ""
    rows = [
        make_row(idx, truth, f"Answer: ({'ab'[idx % 2]})", "q", options=[*options, f"(c) {idx}"] if options else [])
        for idx in range(12)
    ]
    for row in rows:  # questions are of no night
        del row["recording"], row["epoch_idx"], row["onset_s"]
    page = write_page(rows, tmp_path / "r.html")
    assert "epoch by epoch" not in page.text
    assert ("gave the reference answer 6 of 12 times" if kind == "choice" else "nothing is scored") in page.text
    assert len(page.find("article")) == 10
    assert "expert" not in page.text.lower()
    assert "How well does the model answer?" in page.text


def test_hypnogram_draws_every_bout_once_and_leaves_gaps():
    codes = [SleepStage.WAKE, SleepStage.N2, SleepStage.N2, SleepStage.UNSCORED, SleepStage.REM]
    levels = pick_levels(LABEL_SETS["aasm"].sleep_stages)
    assert [stage.value for stage in levels] == ["W", "R", "N1", "N2", "N3"]
    drawn = draw_hypnogram(Hypnogram(tuple(codes)), levels, "five epochs")
    assert 'viewBox="0 0 5 50"' in drawn
    assert 'class="bar stage-n2" d="M1 35H3"' in drawn
    assert 'class="steps" d="M0 5H1V35H3M4 15H5"' in drawn


@pytest.mark.parametrize(("start_s", "stop_s"), [(0, 30), (0, 3600), (28800, 54000), (0, 86400), (100, 7 * 86400)])
def test_time_axis_has_few_ticks_inside_the_stretch(start_s, stop_s):
    places = [float(place) for place in re.findall(r"left:([-\d.]+)%", draw_time_axis(start_s, stop_s))]
    assert 1 <= len(places) <= 13 or stop_s - start_s < 300
    assert all(0 <= place <= 100 for place in places)


def test_waveform_keeps_extremes_and_stays_in_its_box():
    values = np.zeros(30000)
    values[12345] = 80
    values[20000] = -500
    drawn = draw_waveform(values, 30, 100)
    heights = [float(pair.split(",")[1]) for pair in re.search(r'points="([^"]*)"', drawn)[1].split()]
    assert len(heights) == 2000
    assert (min(heights), max(heights)) == (10.0, 100.0)


def test_wrong_input_is_named(tmp_path):
    rows = make_rows(2)
    with pytest.raises(ValueError, match="at least one prediction"):
        write_report({}, {}, tmp_path / "r.html")
    with pytest.raises(ValueError, match="metrics of one system"):
        write_report(parse_scorings(rows), {}, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_page_from_the_rows_read_back_is_the_same(tmp_path):
    rows = make_rows(20)
    first, second = tmp_path / "a.html", tmp_path / "b.html"
    write_page(rows, first)
    write_page(json.loads(json.dumps(rows)), second)
    assert first.read_bytes() == second.read_bytes()


def test_drawings_for_trackers_are_pages_of_each_matrix_and_each_night():
    scorings = parse_scorings([*make_rows(20), *make_rows(20, "n2")])
    drawings = build_drawings(scorings, score_systems(scorings, num_resamples=0))
    assert list(drawings) == [
        "confusion_matrices/language_model",
        "confusion_matrices/classifier",
        "hypnograms/n1",
        "hypnograms/n2",
    ]
    assert 'class="hypnogram"' in drawings["hypnograms/n2"]
    assert all(page.startswith("<!doctype html>") and "<script" not in page for page in drawings.values())
    assert build_drawings({}, {"perplexity": 3.0}) == {}
