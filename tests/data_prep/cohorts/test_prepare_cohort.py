"""Cohorts of files from one YAML each, through the command."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyedflib
import pytest
import scipy.io
import yaml

from data_prep.cohorts.cohort import prepare_night
from data_prep.cohorts.kept import KEPT_FILE
from data_prep.prepare import main
from tslm.data.prepared.recordings import read_participants, read_recording
from tslm.data.readers.edf.writer import write_edf
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.files import hash_file
from tslm.labels import SleepStage

W, N1, N2, N3, R = SleepStage.WAKE, SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.REM
STAGES = (W, N1, N2, N3, N2, R, W)
ROOT = Path(__file__).parents[3]
SCORES = {W: "0", N1: "1", N2: "2", N3: "3", R: "5"}


def make_values(seed: int, fs_hz: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 30, len(STAGES) * 30 * fs_hz).astype(np.float32)


def write_signals(path: Path, seed: int, names: tuple[str, ...], unit: str = "uV", annotated: bool = False) -> None:
    """An EDF+ file of channels at 100 Hz; with stages as annotations inside where wanted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pyedflib.EdfWriter(str(path), len(names), file_type=pyedflib.FILETYPE_EDFPLUS) as writer:
        for idx, name in enumerate(names):
            header = {"label": name, "dimension": unit, "sample_frequency": 100, "transducer": "", "prefilter": ""}
            limits = {"physical_min": -400, "physical_max": 400, "digital_min": -32768, "digital_max": 32767}
            writer.setSignalHeader(idx, header | limits)
        writer.writeSamples([make_values(seed + idx).astype(np.float64) for idx in range(len(names))])
        for idx, stage in enumerate(STAGES if annotated else ()):
            writer.writeAnnotation(30 * idx, 30, f"Sleep stage {stage.value}")


def write_generic_edf(folder: Path, seed: int) -> None:
    write_signals(folder / f"lab/p{seed}.edf", seed, ("C4", "M1"), annotated=True)


def write_shhs(folder: Path, seed: int) -> None:
    write_signals(folder / f"polysomnography/edfs/shhs1/shhs1-20000{seed}.edf", seed, ("EEG", "EMG"))
    path = folder / f"polysomnography/annotations-events-nsrr/shhs1/shhs1-20000{seed}-nsrr.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    names = {W: "Wake|0", N1: "Stage 1 sleep|1", N2: "Stage 2 sleep|2", N3: "Stage 3 sleep|3", R: "REM sleep|5"}
    events = "".join(
        f"<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>{names[stage]}</EventConcept>"
        f"<Start>{30 * idx}</Start><Duration>30</Duration></ScoredEvent>"
        for idx, stage in enumerate(STAGES)
    )
    path.write_text(
        f"<PSGAnnotation><EpochLength>30</EpochLength><ScoredEvents>{events}</ScoredEvents></PSGAnnotation>"
    )


def write_bids(folder: Path, seed: int) -> None:
    stem = f"sub-{seed}/eeg/sub-{seed}_task-sleep"
    write_signals(folder / f"{stem}_eeg.edf", seed, ("Cz", "C3", "M2"))
    rows = "".join(f"{30 * idx}\t30\t{stage.value}\n" for idx, stage in enumerate(STAGES))
    (folder / f"{stem}_events.tsv").write_text(f"onset\tduration\ttrial_type\n{rows}")


def write_text_labels(folder: Path, seed: int) -> None:
    write_signals(folder / f"n{seed}.edf", seed, ("EEG C4-A1",))
    (folder / f"n{seed}.txt").write_text("\n".join(SCORES[stage] for stage in STAGES))


def hashes_in(folder: Path) -> dict[str, str]:
    return {path.name: hash_file(path) for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("cohort", "write", "channels", "subjects"),
    [
        ("generic_edf", write_generic_edf, ["EEG"], ["p1", "p2"]),
        ("shhs", write_shhs, ["EEG C4-A1", "EMG"], ["200001", "200002"]),
        ("bids_eeg", write_bids, ["EEG"], ["sub-1", "sub-2"]),
        ("text_labels", write_text_labels, ["EEG"], ["n1", "n2"]),
    ],
)
def test_each_shipped_cohort_is_prepared_from_files_as_it_describes_them(
    tmp_path: Path,
    cohort: str,
    write: Callable[[Path, int], None],
    channels: list[str],
    subjects: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for seed in (1, 2):
        write(tmp_path / "raw", seed)
    arguments = [cohort, "--out", str(tmp_path / "out"), f"raw_dir={tmp_path / 'raw'}"]
    if cohort == "text_labels":
        assert main(arguments) == 2
        assert "digits are labels (0: 4, 1: 2, 2: 4, 3: 2, 5: 2)" in capsys.readouterr().err
        arguments.append("hypnogram.digits=rk")
    assert main(arguments) == 0
    rows = read_participants(tmp_path / "out")
    assert [(row.subject, row.source) for row in rows] == [(subject, cohort) for subject in subjects]
    recording = read_recording(tmp_path / "out" / f"{rows[0].recording}.parquet")
    assert recording.sleep_stages == STAGES
    assert list(recording.channels) == channels


MINE = """
description: mice of lab 7
species: human
fs_hz: 100
signals:
  files: "*.csv"
  name: '(?P<subject>m\\d)_'
  fs_hz: 128
  unit: mV
hypnogram:
  files: "{stem}.scores"
  format: text
channels:
  EEG:
    any: [cortex, {plus: left, minus: right}]
  EMG: {any: neck, optional: true}
labels: {w: W, n: N2, r: R}
"""


@pytest.fixture
def mine(tmp_path: Path) -> list[str]:
    """Arguments that prepare three recordings of a user's own cohort; the second has gaps of 4 s and 1 s."""
    (tmp_path / "mine.yaml").write_text(MINE)
    raw_dir = tmp_path / "raw"
    raw_dir.mkdir()
    for seed in range(3):
        left_mv, right_mv = (make_values(10 * seed + side, 128) / 1000 for side in (0, 1))
        rows = [f"{left:.6f},{right:.6f}" for left, right in zip(left_mv, right_mv, strict=True)]
        if seed == 1:
            rows[128 * 60 : 128 * 64] = [","] * 512
            rows[128 * 100 : 128 * 101] = ["1,"] * 128
        (raw_dir / f"m{seed}_a.csv").write_text("left,right\n" + "\n".join(rows))
        (raw_dir / f"m{seed}_a.scores").write_text("w\nn\nn\nn\nr\nw\n")
    return [str(tmp_path / "mine.yaml"), f"raw_dir={raw_dir}"]


def test_a_users_yaml_gives_the_same_bytes_for_any_number_of_workers(mine: list[str], tmp_path: Path) -> None:
    for workers in ("1", "2", "3"):
        assert main([*mine, "--out", str(tmp_path / workers), "--workers", workers]) == 0
    assert hashes_in(tmp_path / "1") == hashes_in(tmp_path / "2") == hashes_in(tmp_path / "3")
    rows = read_participants(tmp_path / "1")
    assert [(row.recording, row.subject, row.source) for row in rows] == [
        ("m0_a", "m0", "mine"),
        ("m1_a", "m1", "mine"),
        ("m2_a", "m2", "mine"),
    ]


def test_what_was_changed_is_said_and_kept(mine: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main([*mine, "--out", str(tmp_path / "out")]) == 0
    rows = {row.recording: row for row in read_participants(tmp_path / "out")}
    always = "EEG: converted from mV to uV; EMG: not recorded, left out; EEG: resampled from 128 Hz to 100 Hz"
    unscored = "hypnogram ends 30 s early: 1 epochs unscored"
    assert rows["m0_a"].notes == f"{unscored}; {always}"
    assert "1 epochs left out: more than 10% of their samples are missing" in rows["m1_a"].notes
    assert re.search(r"EEG: \d+ missing samples in 1 epochs interpolated", rows["m1_a"].notes)
    assert [f"{name}: {row.notes}" for name, row in rows.items()] == [record.getMessage() for record in caplog.records]
    recording = read_recording(tmp_path / "out" / "m1_a.parquet")
    assert recording.onset_s.tolist() == [0, 30, 90, 120, 150, 180]
    assert "; ".join(recording.notes) == rows["m1_a"].notes


def test_words_of_the_command_change_the_yaml(mine: list[str], tmp_path: Path) -> None:
    arguments = [*mine, "--out", str(tmp_path / "out"), "channels=right,left", "fs_hz=64", "split=train", "labels.r=N1"]
    assert main(arguments) == 0
    recording = read_recording(tmp_path / "out" / "m0_a.parquet")
    assert (list(recording.channels), recording.fs_hz) == (["right", "left"], 64)
    assert N1 in recording.sleep_stages
    assert {row.split.part for row in read_participants(tmp_path / "out")} == {"train"}


def test_all_unknown_labels_are_listed_before_anything_is_prepared(
    mine: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, text in ((0, "w\nx\nn\n"), (2, "w\nn\ny y\nx\n")):
        (tmp_path / "raw" / f"m{seed}_a.scores").write_text(text)
    assert main([*mine, "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: unknown labels: 'x' (m0_a), 'y y' (m2_a); give each a sleep stage in labels")
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_mat_files_are_prepared_too(mine: list[str], tmp_path: Path) -> None:
    for seed in range(2):
        scipy.io.savemat(tmp_path / "raw" / f"m{seed}_a.mat", {"x": make_values(seed, 128)[None] / 1000})
    words = ["signals.files=*.mat", "signals.variable=x", "signals.channel_names=cortex"]
    assert main([*mine, "--out", str(tmp_path / "out"), *words]) == 0
    assert len(read_participants(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["colour=3"], 2, "unknown key 'colour'; did you mean"),
        (["split=most"], 2, "split=most"),
        (["raw_dir=/nowhere"], 2, "raw_dir=/nowhere is no folder"),
        (["channels=O1"], 2, "has no channel 'O1'; it has: left, right"),
        (["signals.files=*.xyz"], 2, "holds no *.xyz"),
    ],
)
def test_a_mistake_in_a_users_cohort_is_one_line(
    mine: list[str], tmp_path: Path, words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*mine, *words, "--out", str(tmp_path / "out")]) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert said in error


def test_a_night_with_gaps_inside_is_prepared_around_them(tmp_path: Path) -> None:
    raw = RawRecording("x", "S1", {"EEG": RawSignal(make_values(0), 100.0)}, STAGES, 30.0)
    write_edf(raw, tmp_path / "raw" / "a.edf", tmp_path / "raw" / "a.hyp.edf")
    path = tmp_path / "raw" / "a.edf"
    content = bytearray(path.read_bytes())
    content[192:197] = b"EDF+D"
    num_records, num_samples = len(STAGES) * 30, 100 + 57  # 57: pyedflib's annotation channel
    for idx in range(45, num_records):  # from 45 s on everything comes 60 s later
        start = 256 * 3 + (idx * num_samples + 100) * 2
        content[start : start + 2 * 57] = f"+{idx + 60}\x14\x14\0".encode().ljust(2 * 57, b"\0")
    path.write_bytes(bytes(content))
    (tmp_path / "raw" / "a.txt").write_text("\n".join(["0", "1", "2", "2", *(SCORES[stage] for stage in STAGES[2:])]))
    words = [f"raw_dir={tmp_path / 'raw'}", "signals.files=a.edf", "hypnogram.digits=rk"]
    assert main(["text_labels", "--out", str(tmp_path / "out"), *words]) == 0
    recording = read_recording(tmp_path / "out" / "a.parquet")
    assert recording.onset_s.tolist() == [0, 120, 150, 180, 210, 240]
    assert "discontinuous (EDF+D): 60 s of 270 s were not recorded" in recording.notes
    assert "3 epochs left out: more than 10% of their samples are missing" in recording.notes


def test_the_example_of_the_guide_is_a_cohort(tmp_path: Path) -> None:
    text = (ROOT / "docs/guides/recordings.md").read_text(encoding="utf-8")
    example = re.search(r"# Your own recordings\n.*?```yaml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    (tmp_path / "my_lab.yaml").write_text(example.group(1))
    write_signals(tmp_path / "raw" / "P07" / "P07_night1.edf", 0, ("C4", "M1", "chin"), unit="mV")
    rows = "".join(f"{30 * idx},30,{stage.value}\n" for idx, stage in enumerate(STAGES))
    (tmp_path / "raw" / "P07" / "P07_night1_stages.csv").write_text(f"Start,Length,Stage\n{rows}")
    assert main([str(tmp_path / "my_lab.yaml"), "--out", str(tmp_path / "out"), f"raw_dir={tmp_path / 'raw'}"]) == 0
    (row,) = read_participants(tmp_path / "out")
    assert (row.recording, row.subject, row.source) == ("P07_night1", "P07", "my_lab")
    recording = read_recording(tmp_path / "out" / "P07_night1.parquet")
    assert recording.sleep_stages == STAGES
    assert list(recording.channels) == list(yaml.safe_load(example.group(1))["channels"])


def prepare_all(
    raw_dir: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch, stop_before: int = 99
) -> tuple[int, int]:
    """Exit code, and how many nights were prepared; Ctrl-C before the one of that number."""
    prepared: list[RawRecording] = []

    def prepare(raw: RawRecording, *arguments: Any) -> Any:
        if len(prepared) == stop_before:
            raise KeyboardInterrupt
        prepared.append(raw)
        return prepare_night(raw, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr("data_prep.cohorts.cohort.prepare_night", prepare)
        call = ["generic_edf", "--out", str(out_dir), f"raw_dir={raw_dir}", "channels={EEG: [C4]}"]
        return main(call), len(prepared)


def test_a_call_that_was_stopped_keeps_its_nights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    raw_dir, whole, out_dir = tmp_path / "raw", tmp_path / "whole", tmp_path / "out"
    for seed in range(5):
        write_generic_edf(raw_dir, seed)
    assert prepare_all(raw_dir, whole, monkeypatch) == (0, 5)
    code, num_prepared = prepare_all(raw_dir, out_dir, monkeypatch, stop_before=3)
    assert (code != 0, num_prepared) == (True, 3)
    assert not (out_dir / "participants.tsv").exists()
    with (out_dir / KEPT_FILE).open("a") as file:
        file.write('{"key": "cut o')  # as a kill leaves it
    os.utime(raw_dir / "lab/p1.edf", (0, 0))  # another file since
    (out_dir / "p2.parquet").write_bytes(b"damaged")
    caplog.clear()
    assert prepare_all(raw_dir, out_dir, monkeypatch) == (0, 4)
    assert f"1 nights of a call that was stopped are kept; delete {out_dir / KEPT_FILE}" in caplog.text
    assert sorted(path.name for path in out_dir.iterdir()) == sorted(path.name for path in whole.iterdir())
    assert all(path.read_bytes() == (whole / path.name).read_bytes() for path in out_dir.iterdir())
    assert prepare_all(raw_dir, out_dir, monkeypatch) == (0, 5)  # a finished call begins anew
