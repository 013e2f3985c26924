import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from evaluation.compare import build_parser, main
from evaluation.comparison import systems as compare_systems
from evaluation.score import main as score
from tests.factories.recordings import AASM, EEG, EMG, build_night, draw_stages, write_cohort, write_rhythm_cohort
from tests.factories.rows import classify, make_row
from tests.factories.small import build_small_model, small_config
from tslm.baselines.table import BASELINES
from tslm.labels import ANSWER_NAMES
from tslm.predictions.rows import read_predictions, write_predictions
from tslm.training.checkpoints.checkpoint import save_checkpoint

QUICK = ["majority", "transition_prior"]
OPTIONS = list(AASM.answers)


@pytest.fixture(scope="module")
def cohort_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rhythm_cohort(tmp_path_factory.mktemp("rhythm"))


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Predictions of the cohort's test night: every fourth epoch is called REM, the rest is right."""
    stages = draw_stages(60, 3)
    rows = [
        make_row(idx, ANSWER_NAMES[stage], f"Slow. Answer: {OPTIONS[4] if idx % 4 == 0 else ANSWER_NAMES[stage]}", "n3")
        for idx, stage in enumerate(stages)
    ]
    write_predictions(rows, tmp_path / "ours.jsonl")
    return tmp_path / "ours.jsonl"


def compare(cohort_dir: Path, out: Path, *more: str, systems: list[str] | None = None) -> int:
    chosen = ["--systems", *(QUICK if systems is None else systems)]
    return main(
        ["--train", str(cohort_dir), "--data", str(cohort_dir), "--out", str(out), "--num_resamples", "50", *chosen]
        + list(more)
    )


def read_table(out: Path) -> dict:
    return json.loads((out / "comparison.json").read_text())


def test_rows_stand_beside_each_other_with_intervals_and_differences(
    cohort_dir: Path, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    systems = [*QUICK, "band_power"]
    out = tmp_path / "out"
    assert compare(cohort_dir, out, "--predictions", f"ours={ours}", "--extra_channels", EMG, systems=systems) == 0
    table = read_table(out)
    rows = {row["name"]: row for row in table["rows"]}
    assert list(rows) == [*systems, "ours"] and table["reference"] == "ours" and table["channels"] == [EEG, EMG]
    assert table["num_epochs"] == 60 and table["num_subjects"] == 1 and "blocks of epochs" in table["intervals_are"]
    wrong = [row for row in read_predictions(ours) if OPTIONS[4] in row["generated"] and row["truth"] != OPTIONS[4]]
    assert rows["ours"]["metrics"]["accuracy"] == pytest.approx(1 - len(wrong) / 60)
    assert rows["band_power"]["metrics"]["cohen_kappa"] > rows["majority"]["metrics"]["cohen_kappa"] == 0
    low, high = rows["ours"]["intervals"]["accuracy"]
    assert low < rows["ours"]["metrics"]["accuracy"] < high
    difference = rows["majority"]["difference"]["differences"]["accuracy"]
    assert difference["difference"] == pytest.approx(
        rows["majority"]["metrics"]["accuracy"] - rows["ours"]["metrics"]["accuracy"]
    )
    assert rows["ours"]["difference"] is None and rows["ours"]["probabilities"] is None
    assert rows["band_power"]["probabilities"]["log_loss"] > 0 < rows["band_power"]["seconds_per_epoch"]
    assert "| band_power | " in capsys.readouterr().out


def test_the_three_files_say_the_same(cohort_dir: Path, ours: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert compare(cohort_dir, out, "--predictions", f"ours={ours}") == 0
    table = read_table(out)
    with (out / "comparison.csv").open() as file:
        lines = {line["system"]: line for line in csv.DictReader(file)}
    markdown, page = (out / "comparison.md").read_text(), (out / "comparison.html").read_text()
    for row in table["rows"]:
        kappa = row["metrics"]["cohen_kappa"]
        assert float(lines[row["name"]]["cohen_kappa"]) == pytest.approx(kappa)
        assert float(lines[row["name"]]["cohen_kappa_low"]) == pytest.approx(row["intervals"]["cohen_kappa"][0])
        assert f"{kappa:.3f}" in re.search(rf"^\| {row['name']} \|.*$", markdown, re.MULTILINE)[0]
        assert f"{kappa:.3f}" in page
    assert "http" not in page and "<script" not in page


def test_the_page_is_whole_html(cohort_dir: Path, ours: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a<b>&.jsonl"
    odd.write_bytes(ours.read_bytes())
    assert compare(cohort_dir, tmp_path / "out", "--predictions", f"ours={odd}") == 0
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "wbr"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    page = (tmp_path / "out" / "comparison.html").read_text()
    Checker().feed(page)
    assert open_tags == [] and "a&lt;b&gt;&amp;.jsonl" in page


def test_what_a_baseline_answers_can_be_scored_like_any_predictions(cohort_dir: Path, tmp_path: Path) -> None:
    assert compare(cohort_dir, tmp_path / "out") == 0
    path = tmp_path / "out" / "predictions" / "transition_prior.jsonl"
    assert score([str(path), "--out", str(tmp_path / "m.json"), "--num_resamples", "0"]) == 0
    (row,) = (row for row in read_table(tmp_path / "out")["rows"] if row["name"] == "transition_prior")
    scored = json.loads((tmp_path / "m.json").read_text())["systems"]["transition_prior"]
    assert scored["cohen_kappa"] == pytest.approx(row["metrics"]["cohen_kappa"])


def change(path: Path, how: str) -> list[dict]:
    rows = [dict(row) for row in read_predictions(path)]
    if how == "missing":
        return [row for row in rows if row["sample_id"] not in ("n3:7", "n3:9")]
    if how == "extra":
        return [*rows, rows[0] | {"sample_id": "n3:99"}, rows[0] | {"sample_id": "n9:0"}]
    if how == "truth":
        return [rows[0] | {"truth": next(name for name in OPTIONS if name != rows[0]["truth"])}, *rows[1:]]
    return [*rows, rows[4]]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "ours: the predictions are of other epochs than the test data; they lack 2 of the 60 epochs"),
        ("extra", "hold 2 that it lacks: n3:99, n9:0"),
        ("truth", "ours: 1 of 60 epochs have another expert's stage than the test data: n3:0"),
        ("repeated", "repeats sample_id 'n3:4'"),
    ],
)
def test_predictions_of_other_epochs_are_refused_and_named(
    how: str, said: str, cohort_dir: Path, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text("".join(json.dumps(row) + "\n" for row in change(ours, how)))
    assert compare(cohort_dir, tmp_path / "out", "--predictions", f"ours={bad}") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and said in error
    assert not (tmp_path / "out").exists()


def test_a_part_of_the_epochs_is_the_same_for_every_row(cohort_dir: Path, ours: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert compare(cohort_dir, out, "--predictions", f"ours={ours}", "--max_epochs", "20") == 0
    table = read_table(out)
    assert (table["num_epochs"], table["num_test_epochs"]) == (20, 60)
    assert "Part: 20 of 60 epochs" in (out / "comparison.md").read_text()
    answered = read_predictions(out / "predictions" / "majority.jsonl")
    assert len(answered) == 20
    assert all(sum(map(sum, row["metrics"]["confusion_matrix"])) == 20 for row in table["rows"])


def test_a_missing_package_is_said_in_the_table(
    cohort_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yasa", None)
    assert compare(cohort_dir, tmp_path / "out", systems=["majority", "yasa"]) == 0
    said = "not installed: pip install 'tslm-sleep[peers]'"
    row = read_table(tmp_path / "out")["rows"][1]
    assert row["metrics"] is None and said in row["note"]
    for suffix in ("md", "csv", "html"):
        text = (tmp_path / "out" / f"comparison.{suffix}").read_text()
        assert said in text.replace("&#x27;", "'")


def test_an_interrupt_loses_no_answers_and_resume_asks_for_the_rest(
    cohort_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked = []

    def fit(inputs, after=None):
        scorer = BASELINES["transition_prior"].fit(inputs)

        def answer():
            for count, row in enumerate(scorer()):
                if count == after:
                    raise KeyboardInterrupt
                asked.append(row["sample_id"])
                yield row

        return answer

    real = compare_systems.build_baseline_system
    stop = [25]

    def build(name, arguments):
        system = real(name, arguments)
        if name != "transition_prior":
            return system
        return compare_systems.replace(system, fit=lambda inputs: fit(inputs, stop[0]))

    monkeypatch.setattr(compare_systems, "build_baseline_system", build)
    out = tmp_path / "out"
    assert compare(cohort_dir, out) == 1
    assert "--resume" in capsys.readouterr().err and not (out / "comparison.md").exists()
    assert len(read_predictions(out / "predictions" / "transition_prior.part.jsonl")) == 25
    stop[0] = None
    assert compare(cohort_dir, out, "--resume") == 0
    assert len(asked) == len(set(asked)) == 60
    assert not (out / "predictions" / "transition_prior.part.jsonl").exists()
    asked.clear()
    assert compare(cohort_dir, out, "--resume") == 0 and asked == []
    assert compare(cohort_dir, out, "--resume", "--seed", "1") == 0 and len(asked) == 60


def test_a_checkpoint_answers_on_the_spot(cohort_dir: Path, tmp_path: Path, tiny_llm: Path) -> None:
    for name, changes in (("classifier", {"stage__task": "night"}), ("text_only", {"model__context__kind": "none"})):
        changes |= {"stage__train_dir": str(cohort_dir), "model__encoder__max_patches": 32}
        config = small_config(tiny_llm, model__name=name, **changes)
        save_checkpoint(build_small_model(config), config, {}, tmp_path / name)
    pairs = [f"{name}={tmp_path / name}" for name in ("classifier", "text_only")]
    out = tmp_path / "out"
    more = ["--checkpoint", *pairs, "--no_rationale", "--max_epochs", "8", "--reference", "majority"]
    assert compare(cohort_dir, out, *more) == 0
    rows = read_table(out)["rows"]
    assert [row["name"] for row in rows] == [*QUICK, "classifier", "text_only"]
    assert all(row["probabilities"] and row["seconds_per_epoch"] > 0 for row in rows)


def test_a_system_can_be_smoothed_by_the_training_hypnograms(cohort_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert compare(cohort_dir, out, "--smooth", "band_power", systems=["band_power"]) == 0
    rows = read_table(out)["rows"]
    assert [row["name"] for row in rows] == ["band_power", "band_power+hmm"]
    smoothed = read_predictions(out / "predictions" / "band_power+hmm.jsonl")
    assert all((row["system"], row["smoothing"]["method"]) == ("band_power+hmm", "hmm") for row in smoothed)


def test_a_person_on_both_sides_is_a_leak(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    stages = draw_stages(12, 0)
    write_cohort(tmp_path / "a", {"train": build_night("n", stages)})
    write_cohort(tmp_path / "b", {"test": build_night("n", stages)})
    call = ["--train", str(tmp_path / "a"), "--data", str(tmp_path / "b"), "--out", str(tmp_path / "out")]
    assert main([*call, "--systems", "majority"]) == 2
    assert "a leak" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--systems", "minority"], "unknown system 'minority'; one of: majority"),
        (["--systems"], "nothing to compare"),
        (["--reference", "theirs"], "--reference theirs: it has not answered; one of: majority, transition_prior"),
        (["--smooth", "theirs"], "--smooth theirs: there is no such system"),
        (["--smooth", "majority", "--max_epochs", "5"], "leave --max_epochs out"),
        (["--channel", "EEG Oz"], "has no channel 'EEG Oz'"),
        (["--label_set", "cat"], "unknown label set 'cat'"),
        (["--label_set", "rodent", "--predictions", "majority=nowhere.jsonl"], "no predictions at nowhere.jsonl"),
        (["--train", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_end_in_one_line(
    more: list[str], said: str, cohort_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert compare(cohort_dir, tmp_path / "out", *more) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and said in error


def test_help_names_every_baseline(capsys: pytest.CaptureFixture) -> None:
    text = re.sub(r"\s+", " ", build_parser().format_help())
    assert all(name in text for name in BASELINES) and "example: python -m evaluation.compare" in text


def test_a_tie_of_probabilities_is_no_trouble(cohort_dir: Path, ours: Path, tmp_path: Path) -> None:
    rows = [dict(row) | {"probabilities": np.full(5, 0.2).tolist()} for row in read_predictions(ours)]
    write_predictions(rows, ours)
    assert compare(cohort_dir, tmp_path / "out", "--predictions", f"ours={ours}", systems=[]) == 0
    (row,) = read_table(tmp_path / "out")["rows"]
    assert row["probabilities"]["log_loss"] == pytest.approx(np.log(5))


def test_every_system_of_a_file_has_a_row(cohort_dir: Path, ours: Path, tmp_path: Path) -> None:
    rows = read_predictions(ours)
    write_predictions([*rows, *(classify(row, [0.6, 0.1, 0.1, 0.1, 0.1]) for row in rows)], ours)
    assert compare(cohort_dir, tmp_path / "out", "--predictions", f"ours={ours}") == 0
    found = {row["name"]: row for row in read_table(tmp_path / "out")["rows"]}
    assert list(found) == [*QUICK, "ours", "ours:classifier"] and found["ours"]["is_reference"]
    assert found["ours"]["probabilities"] is None and found["ours:classifier"]["probabilities"] is not None
    wake = sum(row["truth"] == OPTIONS[0] for row in rows)
    assert found["ours:classifier"]["metrics"]["accuracy"] == pytest.approx(wake / 60)
