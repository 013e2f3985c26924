import json
import re
import subprocess
import sys

import pytest

from evaluation.score import main
from tests.factories.rows import OPTIONS, classify, make_row, of_system
from tests.factories.small import write_small_cohort
from tslm.predictions.rows import write_predictions


def make_rows(num_rows=30):
    """A language model's answers to a night."""
    return [
        make_row(
            idx,
            OPTIONS[idx % 4],
            "Slow waves." if idx == 7 else f"Slow waves. Answer: {OPTIONS[(idx + idx // 20) % 4]}",
            "n",
        )
        for idx in range(num_rows)
    ]


def make_both(num_rows=30):
    """The same, then those of a classifier that is always right."""
    rows = make_rows(num_rows)
    return rows + [
        classify(row, [0.1 + 0.5 * (option == idx % 4) for option in range(5)]) for idx, row in enumerate(rows)
    ]


def read_scores(path, system="language_model"):
    return json.loads(path.read_text())["systems"][system]


@pytest.fixture
def path(tmp_path):
    write_predictions(make_rows(), tmp_path / "test_predictions.jsonl")
    return tmp_path / "test_predictions.jsonl"


def test_metrics_are_printed_and_written_beside_the_predictions(path, capsys):
    write_predictions(make_both(), path)
    assert main([str(path), "--num_resamples", "20"]) == 0
    whole = json.loads((path.parent / "metrics.json").read_text())
    metrics = whole["systems"]["language_model"]
    assert whole["num_samples"] == 30
    assert metrics["num_correct"] == 19
    assert metrics["num_parse_failures"] == 1
    assert whole["num_bad_lines"] == 0
    assert metrics["absent_labels"] == ["REM sleep"]
    assert whole["systems"]["classifier"]["accuracy"] == 1.0
    printed = capsys.readouterr().out
    assert "0.633 [" in printed
    assert "unreadable answers" in printed
    assert "not in macro-F1: REM sleep" in printed
    assert "[ ]: 95 % intervals over 10 blocks of epochs (3 each) of one subject" in printed


def test_the_table_tells_what_probabilities_are_worth_and_how_many_have_none(tmp_path, capsys):
    rows = make_both()
    rows[33]["probabilities"] = None
    write_predictions(rows, tmp_path / "p.jsonl")
    assert main([str(tmp_path / "p.jsonl"), "--num_resamples", "10"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"AUROC +- +1\.000\n", printed)
    assert re.search(r"log-loss +- +0\.511 \[0\.511, 0\.511\]\n", printed)
    assert re.search(r"Brier score +- +0\.200 \[", printed)
    assert re.search(r"calibration error +- +0\.400 \[", printed)
    assert "classifier: 1 samples have no probabilities" in printed


def test_the_table_has_a_column_a_system(tmp_path, capsys):
    rows = of_system(make_both(), "classifier")
    for systems in (["classifier"], ["classifier", "yasa"]):
        named = [row | {"system": system} for system in systems for row in rows]
        write_predictions(named, tmp_path / "p.jsonl")
        assert main([str(tmp_path / "p.jsonl"), "--num_resamples", "0"]) == 0
        assert re.search(rf"\n +{' +'.join(systems)}\n", capsys.readouterr().out)


def test_intervals_are_over_subjects_or_else_recordings_and_it_is_said(tmp_path, capsys):
    rows = [row | {"recording": f"n{row['epoch_idx'] % 6}"} for row in make_rows()]
    for named, said in ((rows, "6 recordings, taken for people"), (_name_subjects(rows), "3 subjects; so few")):
        write_predictions(named, tmp_path / "p.jsonl")
        assert main([str(tmp_path / "p.jsonl"), "--num_resamples", "10"]) == 0
        assert f"[ ]: 95 % intervals over {said}" in capsys.readouterr().out


def _name_subjects(rows):
    return [row | {"subject": f"s{row['epoch_idx'] % 3}"} for row in rows]


def test_the_structure_of_nights_stands_in_table_and_file(path, capsys):
    write_predictions(make_both(), path)
    assert main([str(path), "--num_resamples", "0"]) == 0
    metrics = json.loads((path.parent / "metrics.json").read_text())["systems"]
    assert metrics["language_model"]["structure"]["num_unparsed"] == 1
    assert metrics["classifier"]["structure"]["edit_distance_epochs"] == 0
    assert metrics["language_model"]["structure"]["edit_distance_epochs"] > 0
    printed = capsys.readouterr().out
    assert re.search(r"edit distance, epochs .* 0\.000\n", printed)
    assert "error of total sleep time (TST), min" in printed
    assert "no limits of agreement" in printed
    nights = [
        row | {"recording": name, "sample_id": f"{name}:{row['epoch_idx']}"} for name in "ab" for row in make_rows()
    ]
    sampled = [row | {"recording": "c", "sample_id": f"c:{row['epoch_idx']}"} for row in make_rows()[::9]]
    write_predictions([*nights, *sampled], path)
    assert main([str(path), "--num_resamples", "0"]) == 0
    printed = capsys.readouterr().out
    assert "over 2 recording(s), [95 % limits of agreement]" in printed
    assert "no structure of 1 recording(s), such as c: 0 of 4 epochs follow" in printed


def test_predictions_of_a_leaking_split_stay_marked(tmp_path, capsys):
    for leaky in (False, True):
        rows = [row | {"leaky": leaky and row["epoch_idx"] == 29} for row in make_rows()]
        write_predictions(rows, tmp_path / "p.jsonl")
        assert main([str(tmp_path / "p.jsonl"), "--num_resamples", "0"]) == 0
        assert json.loads((tmp_path / "metrics.json").read_text())["leaky"] is leaky
        assert ("LEAKY" in capsys.readouterr().out) is leaky


def test_out_names_the_file_and_zero_resamples_leave_the_intervals_out(path, tmp_path):
    assert main([str(path), "--out", str(tmp_path / "deep" / "m.json"), "--num_resamples", "0"]) == 0
    assert "intervals" not in read_scores(tmp_path / "deep" / "m.json")


def test_a_cut_off_line_stops_the_command_unless_skipped(path, capsys):
    text = path.read_text()
    path.write_text(text[: len(text) - 40])
    assert main([str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "line 30 is not whole JSON" in error
    assert error.count("\n") == 1
    assert not (path.parent / "metrics.json").exists()
    assert main([str(path), "--skip_bad", "--num_resamples", "5"]) == 0
    assert "left out 1 bad line(s): 30" in capsys.readouterr().err
    metrics = json.loads((path.parent / "metrics.json").read_text())
    assert (metrics["num_samples"], metrics["num_bad_lines"]) == (29, 1)


@pytest.mark.parametrize(
    ("text", "message"), [(None, "no predictions at"), ("", "is empty"), ("TWICE", "repeats sample_id 'n:0'")]
)
def test_files_that_cannot_be_scored_are_one_line_errors(path, capsys, text, message):
    first = path.read_text().splitlines(keepends=True)[0]
    path.unlink()
    if text is not None:
        path.write_text(first * 2 if text == "TWICE" else text)
    assert main([str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_probabilities_that_do_not_sum_to_one_are_a_bad_line(path, capsys):
    lines = path.read_text().splitlines()
    row = json.loads(lines[3])
    lines[3] = json.dumps(row | {"probabilities": [0.5, 0.3, 0.1, 0, 0]})
    path.write_text("\n".join(lines))
    assert main([str(path)]) == 2
    error = capsys.readouterr().err
    assert "line 4: probabilities must be 0 or more and sum to 1, not 0.9" in error
    assert error.count("\n") == 1
    assert main([str(path), "--skip_bad", "--num_resamples", "0"]) == 0
    assert "left out 1 bad line(s): 4" in capsys.readouterr().err
    assert json.loads((path.parent / "metrics.json").read_text())["num_samples"] == 29


def test_a_last_line_without_its_end_of_line_is_whole_or_named(path, capsys):
    text = path.read_text()
    path.write_text(text.rstrip("\n"))
    assert main([str(path), "--num_resamples", "0"]) == 0
    path.write_text(text.rstrip("\n")[:-1])
    assert main([str(path)]) == 2
    assert "line 30 is not whole JSON (cut off?)" in capsys.readouterr().err


@pytest.fixture
def truth(tmp_path):
    """Labels of the epochs of `path`, written by someone else."""
    lines = [{"sample_id": row["sample_id"], "truth": row["truth"], "scorer": "me"} for row in make_rows()]
    return write_lines(tmp_path / "truth.jsonl", lines)


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_labels_of_the_truth_count_and_the_changed_ones_are_told(path, truth, capsys):
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    write_lines(truth, [line | {"truth": OPTIONS[4], "subject": f"s{idx % 6}"} for idx, line in enumerate(lines)][::-1])
    assert main([str(path), "--truth", str(truth), "--num_resamples", "5"]) == 0
    metrics = json.loads((path.parent / "metrics.json").read_text())
    assert metrics["truth"] == {"path": str(truth), "num_relabelled": 30}
    scores = metrics["systems"]["language_model"]
    assert scores["support"]["REM sleep"] == 30
    assert (scores["intervals"]["unit"], scores["intervals"]["num_units"]) == ("subjects", 6)
    assert "30 label(s) differ" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[1:], "hold 1 that it lacks: n:0"),
        (lambda lines: [*lines, lines[0] | {"sample_id": "n:99"}], "lack 1 of the 31 epochs of the truth: n:99"),
        (
            lambda lines: [line | {"sample_id": f"m{idx}"} for idx, line in enumerate(lines)],
            "m4 and 25 more and hold 30",
        ),
        (lambda lines: [*lines, lines[4] | {"truth": OPTIONS[4]}], "line 31 gives 'n:4' another label"),
        (lambda lines: [{"sample_id": "n:0"}], "line 1 has no sample_id and truth"),
        (lambda lines: [lines[0] | {"truth": "Coma"}], "truth 'Coma' is none of the options"),
        (lambda lines: [], "is empty; give one label a line"),
    ],
)
def test_predictions_of_other_epochs_than_the_truth_are_named(path, truth, capsys, change, message):
    write_lines(truth, change([json.loads(line) for line in truth.read_text().splitlines()]))
    assert main([str(path), "--truth", str(truth)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ") and error.count("\n") == 1
    assert not (path.parent / "metrics.json").exists()


def test_a_truth_that_is_cut_off_or_missing_is_an_error(path, truth, capsys):
    truth.write_text(truth.read_text()[:-20])
    assert main([str(path), "--truth", str(truth)]) == 2
    assert f"{truth}, line 30 is not whole JSON" in capsys.readouterr().err
    assert main([str(path), "--truth", str(path.parent / "nothing")]) == 2
    assert "no truth at" in capsys.readouterr().err


def test_captions_have_no_truth_to_be_held_against(path, truth, capsys):
    write_predictions([make_row(0, "", "Slow.", options=[])], path)
    assert main([str(path), "--truth", str(truth)]) == 2
    assert capsys.readouterr().err.startswith("error: captions have no options")


def test_predictions_are_held_against_their_prepared_cohort(tmp_path, capsys):
    cohort = write_small_cohort(tmp_path / "cohort")
    rows = [make_row(idx, OPTIONS[idx % 5], f"Answer: {OPTIONS[idx % 5]}", "night4") for idx in range(10)]
    path = tmp_path / "p.jsonl"
    write_predictions(rows, path)
    assert main([str(path), "--truth", str(cohort), "--num_resamples", "0"]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    accuracy = metrics["systems"]["language_model"]["accuracy"]
    assert (accuracy, metrics["truth"]["num_relabelled"]) == (1.0, 0)
    assert main([str(path), "--truth", str(cohort), "--split", "train"]) == 2
    assert "night1:0, night1:1" in capsys.readouterr().err
    write_predictions(rows[:7], path)
    assert main([str(path), "--truth", str(cohort)]) == 2
    assert "lack 3 of the 10 epochs of the truth: night4:7, night4:8, night4:9" in capsys.readouterr().err


def test_bad_input_ends_the_true_command_in_one_line(path):
    path.write_text(path.read_text()[:-40])
    done = subprocess.run([sys.executable, "-m", "evaluation.score", str(path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: .*line 30 is not whole JSON.*--skip_bad leaves it out of scores\)\n", done.stderr)


def test_a_place_that_cannot_be_written_is_exit_code_one(path, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(path), "--out", str(tmp_path / "file" / "m.json"), "--num_resamples", "1"]) == 1
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["(a) x", "(b) y"]])
def test_captions_and_questions_are_reported_too(tmp_path, capsys, options):
    rows = [
        make_row(idx, "(a) x" if options else "", "Answer: (a)", options=more)
        for idx, more in enumerate([options, [*options, "(c) z"] if options else []])
    ]
    write_predictions(rows, tmp_path / "p.jsonl")
    assert main([str(tmp_path / "p.jsonl")]) == 0
    assert ("accuracy" if options else "nothing to score") in capsys.readouterr().out


def test_the_module_runs_as_a_command():
    done = subprocess.run([sys.executable, "-m", "evaluation.score", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "example: python -m evaluation.score" in done.stdout


def test_rationales_are_checked_where_predictions_carry_evidence(tmp_path, capsys):
    rows = [
        row
        | {
            "generated": f"{row['epoch_idx'] % 5 + 1} spindles. Answer: {row['truth']}",
            "evidence": {"spindle_count": row["epoch_idx"] % 5 + 1, "slow_wave_fraction": None},
        }
        for row in make_rows()
    ]
    write_predictions(rows, tmp_path / "p.jsonl")
    assert main([str(tmp_path / "p.jsonl"), "--num_resamples", "0"]) == 0
    scores = read_scores(tmp_path / "metrics.json")["faithfulness"]
    assert (scores["num_claims"], scores["precision"]) == (30, 1.0)
    assert scores["shuffled"]["precision"] < 0.6
    assert "1.000 of 30 checkable claims are true" in capsys.readouterr().out


def test_predictions_without_evidence_have_no_faithfulness(path):
    assert main([str(path), "--num_resamples", "0"]) == 0
    assert "faithfulness" not in read_scores(path.parent / "metrics.json")
