"""OpenTSLM's sleep_cot.csv: read as published, and trained on."""

import ast
import csv
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep.prepare import main
from tslm.answers.grammar import parse_answer
from tslm.data.prepared.corpora import CorpusSample, read_corpus
from tslm.labels import LABEL_SETS

STAGES = ["Wake", "Non-REM stage 1", "Non-REM stage 2", "Non-REM stage 3", "Non-REM stage 4", "REM sleep", "Movement"]


def epoch_of(idx: int, num_samples: int, scale: float = 1e-6) -> list[float]:
    """30 s of a 5-Hz rhythm of 20 uV with some noise, in volt unless scaled otherwise."""
    time_s = np.arange(num_samples) * 30 / num_samples
    noise = np.random.default_rng(idx).normal(0, 2, num_samples)
    return ((20 * np.sin(2 * np.pi * 5 * time_s + idx) + noise) * scale).tolist()


def build_row(idx: int, num_samples: int = 1500, scale: float = 1e-6, **changes: str) -> dict[str, str]:
    label = STAGES[idx % len(STAGES)]
    rationale = f"The signal\nshows, among others, rhythm {idx}. Answer: {label}."
    row = {
        "time_series": str([epoch_of(idx, num_samples, scale)]),
        "label": label,
        "prompt": "x",
        "rationale": rationale,
    }
    return row | changes


def prepare(folder: Path, rows: list[dict[str, str]], *words: str) -> list[CorpusSample]:
    with (folder / "sleep_cot.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert main(["sleep_cot", "--out", str(folder / "out"), f"raw_dir={folder}", *words]) == 0
    samples = [sample for split in ("train", "val", "test") for sample in read_corpus(folder / "out", split)]
    return sorted(samples, key=lambda sample: int(sample.sample_id.split(":")[1]))


def test_rows_become_epochs_in_microvolt_with_aasm_stages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = prepare(tmp_path, [build_row(idx) for idx in range(14)])
    assert (
        [sample.answer for sample in samples[:7]]
        == [
            *STAGES[:4],
            "Non-REM stage 3",  # stage 4 of Rechtschaffen & Kales
            *STAGES[5:],
        ]
    )
    for idx, sample in enumerate(samples):
        assert sample.rationale == f"The signal\nshows, among others, rhythm {idx}."
        assert sample.options == LABEL_SETS["aasm_movement"].answers
        assert sample.series[0].shape == (3000,)
        assert sample.series_names == ("EEG Fpz-Cz",)
        assert sample.series[0].std() == pytest.approx(14.2, abs=0.3)
    assert "converted from V to uV" in caplog.text
    assert "the splits leak" in caplog.text
    assert json.loads((tmp_path / "out" / "corpus.json").read_text())["leaky"] is True


@pytest.mark.parametrize(("num_samples", "words"), [(3000, []), (1500, ["fs_hz=50"])])
def test_epochs_at_the_wanted_rate_keep_their_values(num_samples: int, words: list[str], tmp_path: Path) -> None:
    (sample,) = prepare(tmp_path, [build_row(0, num_samples, scale=1)], *words)
    np.testing.assert_array_equal(sample.series[0], np.float32(epoch_of(0, num_samples, scale=1)))


def test_epochs_of_50_hz_are_resampled_in_time(tmp_path: Path) -> None:
    (slow,) = prepare(tmp_path, [build_row(0, 1500, scale=1)])
    np.testing.assert_allclose(slow.series[0][100:-100:2], np.float32(epoch_of(0, 1500, 1))[50:-50], atol=2.0)


@pytest.mark.parametrize("unit", ["V", "mV", "uV"])
def test_a_stated_unit_is_taken(unit: str, tmp_path: Path) -> None:
    scale = {"V": 1e-6, "mV": 1e-3, "uV": 1.0}[unit]
    (sample,) = prepare(tmp_path, [build_row(0, 3000, scale)], f"unit={unit}")
    np.testing.assert_allclose(sample.series[0], epoch_of(0, 3000, 1.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label": ""}, "column label empty (sleep_cot.csv, row 2)"),
        ({"label": "nan"}, "column label empty (sleep_cot.csv, row 2)"),
        ({"label": "Sleep stage ?"}, "column label is not a sleep stage"),
        ({"label": "REM sleep"}, "column rationale ends in another answer than the row's"),
        ({"rationale": ""}, "column rationale empty"),
        ({"time_series": "[[1.0, 2.0]]"}, "column time_series has not 1,500 or 3,000 values"),
        ({"time_series": str([[0.0] * 1499 + [float("nan")]])}, "column time_series holds NaN"),
        ({"time_series": "[[1.0], [2.0]]"}, "column time_series is not a list of numbers"),
    ],
)
def test_a_row_that_cannot_be_used_is_listed_and_counted(
    changes: dict[str, str], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [build_row(0), build_row(1, **changes), build_row(2)]
    samples = prepare(tmp_path, rows)
    assert [sample.sample_id for sample in samples] == ["sleep_cot:1", "sleep_cot:3"]
    assert said in caplog.text
    assert "left out 1 of 3 rows" in caplog.text


def test_every_stage_has_its_share_in_every_split(tmp_path: Path) -> None:
    prepare(tmp_path, [build_row(idx) for idx in range(210)], "fs_hz=50")
    for split, most in (("train", 24), ("val", 3), ("test", 3)):
        answers = read_corpus(tmp_path / "out", split).answers
        for stage in ("Wake", "REM sleep", "Movement"):
            assert abs(answers.count(stage) - most) <= 1


def test_reading_rows_takes_a_tenth_of_literal_eval_alone(tmp_path: Path) -> None:
    from data_prep.published.rows import read_csv_rows

    prepare(tmp_path, [build_row(idx, 3000) for idx in range(8)])

    def best_s(num_tries: int, read: object) -> float:
        times_s = []
        for _ in range(num_tries):
            start_s = time.process_time()
            for row in read_csv_rows(tmp_path / "sleep_cot.csv", ["time_series"]):
                read(row)  # type: ignore[operator]
            times_s.append(time.process_time() - start_s)
        return min(times_s)

    ours_s = best_s(5, lambda row: row.series("time_series"))
    theirs_s = best_s(2, lambda row: ast.literal_eval(row.cells["time_series"]))
    assert theirs_s > 10 * ours_s


def test_a_stage_trains_on_it_and_answers(tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curriculum.train import main as train
    from tslm.predictions.rows import read_predictions

    prepare(tmp_path, [build_row(idx) for idx in range(40)])
    monkeypatch.setenv("TSLM_CACHE_DIR", str(tiny_cache))
    sizes = ["model.encoder.d_model=16", "model.encoder.num_layers=1", "model.encoder.d_ff=32", "model.lora.rank=2"]
    steps = ["train.train_epochs=1", "train.batch_size=4", "stage.num_train_samples=8", "stage.sampling=balanced"]
    short = ["stage.max_new_tokens=4", "stage.prompt_style=brief", f"results_dir={tmp_path / 'results'}"]
    data = ["stage.task=sleep_cot", f"stage.train_dir={tmp_path / 'out'}", "stage.test_dir="]
    words = ["--stages", "stage4_sleep_cot", "--llm", "tiny", "--from_scratch", *sizes, *steps, *short, *data]
    assert train(words) == 0
    run_dir = tmp_path / "results" / "tiny" / "soft_prompt" / "stage4_sleep_cot"
    rows = read_predictions(run_dir / "results" / "test_predictions.jsonl")
    assert rows
    assert {tuple(row["options"]) for row in rows} == {LABEL_SETS["aasm"].answers}
    metrics = json.loads((run_dir / "results" / "metrics.json").read_text())
    assert "cohen_kappa" in metrics["systems"]["language_model"]
    assert metrics["leaky"] is True


@pytest.mark.skipif("TSLM_DATA_DIR" not in os.environ, reason="set TSLM_DATA_DIR to read OpenTSLM's rationales")
def test_real_rationales_end_in_their_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = Path(os.environ["TSLM_DATA_DIR"]) / "opentslm_text" / "sleep_cot_first465.jsonl"
    real = [json.loads(line) for line in path.read_text().splitlines()]
    series = str([epoch_of(0, 1500)])
    rows = [
        {"time_series": series, "label": row["label"] or "", "prompt": "", "rationale": row["rationale"]}
        for row in real
    ]
    samples = prepare(tmp_path, rows, "fs_hz=50")
    assert len(samples) == 464
    assert "left out 1 of 465 rows: column label empty" in caplog.text
    assert all(parse_answer(f"Answer: {sample.answer}", sample.options) == sample.answer for sample in samples)
    assert not any("Answer:" in sample.rationale for sample in samples)
