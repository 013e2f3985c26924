"""Nights that no expert scored, through the commands: from an EDF file to reports and reviews."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyedflib
import pytest

from data_prep.prepare import main as prepare
from evaluation.compare import main as compare
from evaluation.generate import main as generate
from evaluation.report import main as report
from evaluation.score import main as score
from evaluation.smooth import main as smooth
from tests.factories.pages import read_page
from tests.factories.small import build_small_model, small_config
from tslm.data.prepared.recordings import read_participants, read_recording, write_participants
from tslm.data.samples.dataset import build_dataset
from tslm.data.splits.split import Split
from tslm.hypnogram import Hypnogram
from tslm.labels import LABEL_SETS, SleepStage
from tslm.predictions.rows import read_predictions, write_predictions
from tslm.predictions.transitions import fit_transitions, save_transitions
from tslm.review.page import ReviewPages
from tslm.review.records import Review, render_reviews
from tslm.review.run_epochs import order_epochs, read_review_run
from tslm.review.store import ReviewStore
from tslm.training.checkpoints.checkpoint import save_checkpoint

NUM_EPOCHS, FS_HZ, CHANNEL = 24, 100, "EEG"
N2 = SleepStage.N2


def write_edf(path: Path, seed: int, labels: Sequence[str] = ()) -> None:
    """Noise and slow waves in turn, with stages as annotations where there are labels."""
    rng, time = np.random.default_rng(seed), np.arange(NUM_EPOCHS * 30 * FS_HZ) / FS_HZ
    values = rng.normal(0, 15, len(time)) + 60 * np.sin(2 * np.pi * time) * (time // 120 % 2)
    header = {"label": "C4-M1", "dimension": "uV", "sample_frequency": FS_HZ, "transducer": "", "prefilter": ""}
    limits = {"physical_min": -400, "physical_max": 400, "digital_min": -32768, "digital_max": 32767}
    path.parent.mkdir(parents=True, exist_ok=True)
    with pyedflib.EdfWriter(str(path), 1, file_type=pyedflib.FILETYPE_EDFPLUS) as writer:
        writer.setSignalHeader(0, header | limits)
        writer.writeSamples([np.clip(values, -390, 390)])
        for idx, label in enumerate(labels):
            writer.writeAnnotation(30 * idx, 30, label)


@pytest.fixture
def cohort(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Labelled nights a (train) and b (val), and the test night c, which nobody scored."""
    stages = ("W", "N1", "N2", "N3", "R", "N2") * (NUM_EPOCHS // 6)
    for seed, name in enumerate("abc"):
        write_edf(tmp_path / f"raw/{name}.edf", seed, [f"Sleep stage {stage}" for stage in stages] * (name != "c"))
    out = tmp_path / "cohort"
    assert prepare(["generic_edf", "--out", str(out), f"raw_dir={tmp_path / 'raw'}"]) == 0
    assert "3 recordings of 3 subjects (1 train, 1 val, 1 test), 1 without labels" in capsys.readouterr().out
    splits = {"a": Split("train"), "b": Split("val"), "c": Split("test")}
    write_participants([replace(row, split=splits[row.recording]) for row in read_participants(out)], out)
    return out


def save_model(folder: Path, cohort: Path, tiny_llm: Path, **changes: Any) -> Path:
    config = small_config(tiny_llm, stage__channel=CHANNEL, stage__train_dir=str(cohort), **changes)
    config = replace(config, model=replace(config.model, encoder=replace(config.model.encoder, max_patches=64)))
    save_checkpoint(build_small_model(config, lora_noise=0.1), config, {}, folder)
    return folder


def answer(checkpoint: Path, cohort: Path, out: Path, *more: str) -> list[Any]:
    arguments = ["--checkpoint", str(checkpoint), "--data", str(cohort), "--out", str(out), "--device", "cpu", *more]
    assert generate(arguments) == 0
    return read_predictions(out)


CLASSIFIER = {"model__name": "classifier", "stage__task": "night", "stage__trained": ("encoder", "classifier")}
WRITER = {"stage__facts": "measured", "stage__max_new_tokens": 30}


def test_a_night_without_labels_is_prepared_whole_and_says_so(cohort: Path) -> None:
    rows = {row.recording: row for row in read_participants(cohort)}
    assert [rows[name].has_labels for name in "abc"] == [True, True, False]
    assert "no labels: c.edf holds no annotation" in rows["c"].notes
    night = read_recording(cohort / "c.parquet")
    assert night.sleep_stages == (SleepStage.UNSCORED,) * NUM_EPOCHS
    assert set(night.columns["rationale"]) == {""}
    assert np.isfinite(night.columns["rms_uv"]).all()


def test_a_night_without_labels_reaches_report_and_review(
    cohort: Path, tmp_path: Path, tiny_llm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both systems answer every epoch; nothing on the way asks for an expert, and nothing invents one."""
    results = tmp_path / "run/results"
    rows = answer(save_model(tmp_path / "classifier", cohort, tiny_llm, **CLASSIFIER), cohort, tmp_path / "c.jsonl")
    rows += answer(save_model(tmp_path / "writer", cohort, tiny_llm, **WRITER), cohort, tmp_path / "w.jsonl")
    assert [row["epoch_idx"] for row in rows] == [*range(NUM_EPOCHS)] * 2
    assert {row["truth"] for row in rows} == {None}
    assert all(json.loads(line)["truth"] is None for line in (tmp_path / "w.jsonl").read_text().splitlines())
    said = f"no reference: {NUM_EPOCHS} epochs without an expert's stage; figures that need one are left out"
    assert capsys.readouterr().out.count(said) == 2
    for row in rows:
        if "generated" in row:  # a random model writes nothing that could be checked
            row["generated"] = f"RMS {row['evidence']['rms_uv']:.0f} uV. Answer: Wake"
    write_predictions(rows, results / "test_predictions.jsonl")

    hypnogram = Hypnogram((SleepStage.WAKE, SleepStage.N1, N2, N2, SleepStage.N3, SleepStage.REM), 30.0)
    save_transitions(fit_transitions([hypnogram], LABEL_SETS["aasm"], "human"), tmp_path / "chain.json")
    smoothed_path = results / "smoothed.jsonl"
    source = str(results / "test_predictions.jsonl")
    assert smooth([source, "--transitions", str(tmp_path / "chain.json"), "--out", str(smoothed_path)]) == 0
    smoothed = [row for row in read_predictions(smoothed_path) if row["system"] == "classifier+hmm"]
    assert (len(smoothed), {row["truth"] for row in smoothed}) == (NUM_EPOCHS, {None})

    assert score([str(smoothed_path), "--out", str(tmp_path / "metrics.json")]) == 0
    out = capsys.readouterr().out
    assert said in out
    assert "kappa" not in out
    metrics = json.loads((tmp_path / "metrics.json").read_text())["systems"]
    for system in metrics.values():
        assert "accuracy" not in system
        assert system["without_reference"]["num_samples"] == NUM_EPOCHS
        night = system["without_reference"]["nights"]["c"]
        assert night["time_in_bed_min"] == NUM_EPOCHS / 2
        assert night["total_sleep_min"] + night["W_min"] == NUM_EPOCHS / 2
    assert metrics["language_model"]["faithfulness"]["precision"] > 0.5
    assert metrics["language_model"]["faithfulness"]["coverage"] is None

    page_path = tmp_path / "report.html"
    assert report([str(smoothed_path), "--data", str(cohort), "--out", str(page_path)]) == 0
    page = read_page(page_path)
    assert "expert" not in page.night
    assert page.night["waveforms"] is not None
    assert any(text["claims"] for text in page.night["rationales"])
    assert said[1:] in page.text
    assert "differs from the expert" not in page.text
    assert "kappa" not in page.text

    run = read_review_run(tmp_path / "run")
    assert (run.expert, len(order_epochs(run, "uncertainty"))) == ({}, NUM_EPOCHS)
    assert "expert" not in json.loads(_night_json(ReviewPages(run, "c", cohort, blinded=False).render()))
    with ReviewStore(tmp_path / "r.sqlite", run.predictions_sha256, run.predictions_path) as store:
        store.save("Ann", "c:3", Review(4, 4, 4, run.options[2]), run.options, 0)
        head, row = render_reviews(store.list_latest(), run, with_expert=True).splitlines()
    assert dict(zip(head.split(","), row.split(","), strict=True))["expert_label"] == ""


def _night_json(page: str) -> str:
    return page.split('id="tslm-document">')[1].split("</script>")[0]


def test_the_report_of_a_scored_and_an_unscored_night_scores_the_one_and_shows_both(
    cohort: Path, tmp_path: Path, tiny_llm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save_model(tmp_path / "classifier", cohort, tiny_llm, **CLASSIFIER)
    both = answer(checkpoint, cohort, tmp_path / "b.jsonl", "--split", "val")
    assert score([str(tmp_path / "b.jsonl"), "--out", str(tmp_path / "alone.json")]) == 0
    both += answer(checkpoint, cohort, tmp_path / "c.jsonl")
    write_predictions(both, tmp_path / "both.jsonl")
    assert score([str(tmp_path / "both.jsonl"), "--out", str(tmp_path / "both.json")]) == 0
    assert f"no reference: {NUM_EPOCHS} epochs" in capsys.readouterr().out
    alone, mixed = (
        json.loads((tmp_path / f"{name}.json").read_text())["systems"]["classifier"] for name in ("alone", "both")
    )
    assert mixed.pop("without_reference")["num_samples"] == NUM_EPOCHS
    assert mixed == alone
    assert score([str(tmp_path / "both.jsonl"), "--truth", str(cohort), "--split", "val"]) == 0
    assert report([str(tmp_path / "both.jsonl"), "--data", str(cohort), "--out", str(tmp_path / "r.html")]) == 0
    assert "expert" in read_page(tmp_path / "r_nights/b.html").night
    assert "expert" not in read_page(tmp_path / "r_nights/c.html").night


def test_epochs_that_the_expert_left_out_of_a_night_are_answered_on_request(
    cohort: Path, tmp_path: Path, tiny_llm: Path
) -> None:
    """A night that is scored in part: the scored epochs, or all of them with --unscored."""
    write_edf(tmp_path / "raw/c.edf", 2, [f"Sleep stage {stage}" for stage in ("W", "N2", "N2", "R", "?", "?")] * 3)
    assert prepare(["generic_edf", "--out", str(cohort), f"raw_dir={tmp_path / 'raw'}", "split=test"]) == 0
    num_scored = sum(stage is not SleepStage.UNSCORED for stage in read_recording(cohort / "c.parquet").sleep_stages)
    write_participants([row for row in read_participants(cohort) if row.recording == "c"], cohort)
    trained = tmp_path / "elsewhere"
    for settings in (CLASSIFIER, {"stage__max_new_tokens": 4}):
        checkpoint = save_model(tmp_path / "best", trained, tiny_llm, **settings)
        some = answer(checkpoint, cohort, tmp_path / "p.jsonl")
        assert all(row["truth"] is not None for row in some)
        everything = answer(checkpoint, cohort, tmp_path / "p.jsonl", "--unscored")
        assert [row["epoch_idx"] for row in everything] == [*range(read_recording(cohort / "c.parquet").num_epochs)]
        assert len(some) == sum(row["truth"] is not None for row in everything) == num_scored < len(everything)


def test_training_on_nights_without_labels_leaves_them_out_and_needs_one_scored_epoch(
    cohort: Path, tiny_llm: Path
) -> None:
    rows = read_participants(cohort)
    write_participants([replace(row, split=Split("train")) for row in rows], cohort)
    for settings in (CLASSIFIER, {"stage__task": "sleep"}):
        config = small_config(tiny_llm, stage__channel=CHANNEL, stage__train_dir=str(cohort), **settings)
        names = {build_dataset(config, "train").describe(idx)["recording"] for idx in range(4)}
        assert names <= {"a", "b"}
    pretraining = small_config(stage__channel=CHANNEL, stage__train_dir=str(cohort), stage__task="unlabelled")
    windows = build_dataset(pretraining, "train")
    assert {windows.describe(idx)["recording"] for idx in range(len(windows))} == {"a", "b", "c"}
    write_participants([replace(row, split=Split("train")) for row in rows if row.recording == "c"], cohort)
    with pytest.raises(ValueError, match="none of its 1 recordings has an epoch with an expert's stage") as caught:
        build_dataset(config, "train")
    assert "\n" not in str(caught.value)


def test_systems_without_a_reference_are_compared_with_one_another(
    cohort: Path, tmp_path: Path, tiny_llm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = answer(save_model(tmp_path / "classifier", cohort, tiny_llm, **CLASSIFIER), cohort, tmp_path / "a.jsonl")
    options = rows[0]["options"]
    other = [row | {"answer": options[(options.index(row["answer"]) + (idx < 6)) % 5]} for idx, row in enumerate(rows)]
    write_predictions(other, tmp_path / "b.jsonl")
    files = [f"{name}={tmp_path / f'{name}.jsonl'}" for name in "ab"]
    capsys.readouterr()
    assert compare(["--agreement", "--out", str(tmp_path / "out"), "--predictions", *files]) == 0
    out = capsys.readouterr().out
    assert f"no reference: {NUM_EPOCHS} epochs" in out
    (pair,) = json.loads((tmp_path / "out/agreement.json").read_text())["pairs"]
    assert (pair["systems"], pair["num_epochs"], pair["share_same"]) == (["a", "b"], NUM_EPOCHS, 1 - 6 / NUM_EPOCHS)
