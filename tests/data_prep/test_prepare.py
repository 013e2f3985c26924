import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from joblib import parallel_config

from data_prep.cohorts import simulated
from data_prep.cohorts.cohort import CohortOptions, find_sleep_span, prepare_cohort, prepare_night
from data_prep.cohorts.simulated import SimHumanOptions, prepare_sim_human
from data_prep.corpora.build import CorpusOptions, prepare_corpus
from data_prep.prepare import main
from data_prep.rationales.compose import add_rationales
from data_prep.simulators.human.night import NightExtras
from tslm.data.cohorts.cohort import load_cohort
from tslm.data.prepared.corpora import CorpusSample, read_corpus
from tslm.data.prepared.recordings import (
    PARTICIPANTS_FILE,
    PARTICIPANTS_NOTES_FILE,
    read_participants,
    read_recording,
    write_recording,
)
from tslm.data.readers.edf.writer import write_edf
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.data.splits.folds import render_counts
from tslm.data.splits.split import BY_EPOCH, Split
from tslm.evidence.measure import EVIDENCE_COLUMNS, RECENT_COLUMN
from tslm.evidence.muscle import EMG_COLUMNS
from tslm.files import hash_file
from tslm.labels import SleepStage
from tslm.parallel import Workers
from tslm.signals.artifacts import ARTIFACT_KINDS

W, N1, N2, N3, R = SleepStage.WAKE, SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.REM
MOVE, UNSCORED = SleepStage.MOVEMENT, SleepStage.UNSCORED
STAGES = (W,) * 10 + (N1, N2, MOVE, N3, UNSCORED, R) + (W,) * 10
SLEEP_EDF = load_cohort("sleep_edf")
MARGIN_MIN = 2.0  # four epochs
SMALL_CORPUS = ("num_train=3", "num_val=2", "num_test=2")
FLAG_COLUMNS = [f"{kind}_flag" for kind in ARTIFACT_KINDS]


def make_night(seed: int, subject_idx: int, _extras: NightExtras | None = None) -> RawRecording:
    values = np.random.default_rng((seed, subject_idx)).normal(0, 30, len(STAGES) * 3000).astype(np.float32)
    name = f"SIM{subject_idx:04d}"
    return RawRecording(
        recording=name,
        subject=name,
        signals={"EEG Fpz-Cz": RawSignal(values, 100.0), "EEG Pz-Oz": RawSignal(values / 2, 100.0)},
        sleep_stages=STAGES,
        epoch_s=30.0,
        start="2001-02-03T22:00:00",
        age="30",
        sex="M",
        source="sim_human",
    )


@pytest.fixture
def raw_dir(tmp_path: Path) -> Path:
    """Two subjects as Sleep-EDF names them; the first has two nights."""
    folder = tmp_path / "raw" / "sleep-cassette"
    folder.mkdir(parents=True)
    for idx, name in enumerate(("SC4901E", "SC4902E", "SC4911E")):
        write_edf(make_night(0, idx), folder / f"{name}0-PSG.edf", folder / f"{name}C-Hypnogram.edf")
    return tmp_path / "raw"


@pytest.fixture
def _short_nights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "simulate_human_night", make_night)


def hashes_in(folder: Path) -> dict[str, str]:
    return {path.name: hash_file(path) for path in sorted(folder.iterdir()) if path.is_file()}


def test_a_night_is_cut_around_its_sleep_with_time_running_on() -> None:
    raw = make_night(0, 0)
    recording = prepare_night(raw, MARGIN_MIN)
    assert recording.sleep_stages == STAGES[6:20]
    assert recording.onset_s.tolist() == [30.0 * idx for idx in range(6, 20)]
    for name, signal in raw.signals.items():
        epochs_EL = signal.values.reshape(-1, 3000)[6:20]
        half_step_uv = 0.501 * np.abs(epochs_EL).max() / 32767  # samples are as they are stored
        np.testing.assert_allclose(recording.channels[name], epochs_EL, rtol=0, atol=half_step_uv)
    assert MOVE in recording.sleep_stages
    assert UNSCORED in recording.sleep_stages


def test_every_epoch_has_evidence_and_every_scored_one_a_rationale() -> None:
    recording = add_rationales(prepare_night(make_night(0, 0), MARGIN_MIN), seed=0)
    assert list(recording.columns) == [*EVIDENCE_COLUMNS, RECENT_COLUMN, *FLAG_COLUMNS, "rationale"]
    assert all(len(column) == recording.num_epochs for column in recording.columns.values())
    for stage, rationale in zip(recording.sleep_stages, recording.columns["rationale"], strict=True):
        assert bool(rationale) == (stage is not UNSCORED)


def test_epochs_with_artefacts_are_flagged_on_disk(tmp_path: Path) -> None:
    raw = make_night(0, 0)
    raw.signals["EEG Fpz-Cz"].values[8 * 3000 : 8 * 3000 + 500] = 0.0
    raw.signals["EEG Pz-Oz"].values[9 * 3000 : 9 * 3000 + 500] = 0.0
    write_recording(prepare_night(raw, MARGIN_MIN), tmp_path, "train")
    columns = read_recording(tmp_path / "SIM0000.parquet").columns
    found = {name: np.flatnonzero(columns[name]).tolist() for name in FLAG_COLUMNS}
    assert found == {name: [2] if name == "flatline_flag" else [] for name in FLAG_COLUMNS}
    assert all(columns[name].dtype == bool for name in FLAG_COLUMNS)


def test_an_emg_channel_adds_muscle_tone() -> None:
    raw = make_night(0, 0)
    signals = {**raw.signals, "EMG submental": raw.signals["EEG Pz-Oz"]}
    recording = prepare_night(replace(raw, signals=signals), MARGIN_MIN)
    assert list(recording.columns) == [*EVIDENCE_COLUMNS, *EMG_COLUMNS, RECENT_COLUMN, *FLAG_COLUMNS]
    assert np.median(recording.columns["emg_tone"]) == pytest.approx(1)


def test_a_hypnogram_longer_or_shorter_than_the_signal_keeps_what_both_cover() -> None:
    raw = make_night(0, 0)
    longer = prepare_night(replace(raw, sleep_stages=STAGES + (W,) * 50), 60)
    shorter = prepare_night(replace(raw, sleep_stages=STAGES[:14]), 60)
    assert (longer.sleep_stages, shorter.sleep_stages) == (STAGES, STAGES[:14])


@pytest.mark.parametrize(
    ("stages", "margin", "kept"),
    [
        ((W, W, W, N2, W, W, W), 1, range(2, 5)),
        ((N2, W, W, R), 5, range(0, 4)),
        ((UNSCORED, W, MOVE, N1, W), 1, range(2, 5)),
        ((W, W), 3, range(0)),
    ],
)
def test_kept_span_is_sleep_and_its_margin(stages: tuple[SleepStage, ...], margin: int, kept: range) -> None:
    assert find_sleep_span(stages, margin) == kept


def test_a_night_without_sleep_or_without_a_channel_is_named() -> None:
    raw = make_night(0, 7)
    with pytest.raises(ValueError, match="SIM0007 holds no epoch of sleep"):
        prepare_night(replace(raw, sleep_stages=(W,) * 20))
    with pytest.raises(ValueError, match="SIM0007 has no channel"):
        prepare_night(replace(raw, signals={}))


def test_channels_of_another_rate_or_start_are_brought_to_the_first_ones_time() -> None:
    raw = make_night(0, 7)
    eeg = next(iter(raw.signals.values()))
    num_s = len(eeg.values) // int(eeg.fs_hz)
    envelope = RawSignal(np.linspace(1, 9, num_s, dtype=np.float32), 1.0)
    late = RawSignal(eeg.values[2 * int(eeg.fs_hz) :], eeg.fs_hz, start_s=2.0)
    night = prepare_night(replace(raw, signals={**raw.signals, "EMG": envelope, "again": late}))
    assert {epochs.shape for epochs in night.channels.values()} == {(night.num_epochs, round(eeg.fs_hz * raw.epoch_s))}
    first = next(iter(night.channels.values()))
    assert np.array_equal(night.channels["again"][1:], first[1:])
    step = int(eeg.fs_hz)
    wanted_uv = np.sqrt(np.mean(np.square(night.channels["EMG"][:, ::step], dtype=np.float64), axis=1))
    assert night.columns["emg_rms_uv"] == pytest.approx(wanted_uv, rel=0.01)  # of the samples between the seconds too


def test_sleep_edf_is_prepared_by_subject_and_does_not_depend_on_the_workers(raw_dir: Path, tmp_path: Path) -> None:
    options = CohortOptions(raw_dir=raw_dir, wake_margin_min=MARGIN_MIN)
    for workers in (1, 2):
        prepare_cohort(SLEEP_EDF, options, tmp_path / str(workers), Workers(workers))
    assert hashes_in(tmp_path / "1") == hashes_in(tmp_path / "2")
    rows = read_participants(tmp_path / "1")
    assert [(row.recording, row.subject) for row in rows] == [
        ("SC4901E0", "SC490"),
        ("SC4902E0", "SC490"),
        ("SC4911E0", "SC491"),
    ]
    assert rows[0].split == rows[1].split != rows[2].split
    assert all(row.sha256 == hash_file(tmp_path / "1" / f"{row.recording}.parquet") for row in rows)
    assert all(row.source == "sleep_edf" for row in rows)


@pytest.mark.parametrize("damage", ["signal", "hypnogram"])
def test_a_damaged_night_stops_no_other_and_is_named(
    damage: str, raw_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["sleep_edf", "--out", str(tmp_path / "out"), f"raw_dir={raw_dir}", f"wake_margin_min={MARGIN_MIN}"]
    whole = prepare_cohort(SLEEP_EDF, CohortOptions(raw_dir=raw_dir, wake_margin_min=MARGIN_MIN), tmp_path / "whole")
    path = next(raw_dir.rglob("SC4902E0-PSG.edf" if damage == "signal" else "SC4902EC*"))
    path.write_bytes(path.read_bytes()[:200])
    assert main(call) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: 1 of 3 nights failed: SC4902E0: ")
    assert "the others are prepared" in error
    assert read_participants(tmp_path / "out") == [row for row in whole if row.recording != "SC4902E0"]


def test_a_night_without_its_hypnogram_changes_no_other_night(raw_dir: Path, tmp_path: Path) -> None:
    options = CohortOptions(raw_dir=raw_dir, wake_margin_min=MARGIN_MIN)
    before = prepare_cohort(SLEEP_EDF, options, tmp_path / "out")
    next(raw_dir.rglob("SC4902EC*")).unlink()
    after = prepare_cohort(SLEEP_EDF, options, tmp_path / "out")
    assert [row for row in after if row.has_labels] == [row for row in before if row.recording != "SC4902E0"]
    assert "no labels: no hypnogram beside it, wanted SC4902*-Hypnogram.edf" in after[1].notes
    assert render_counts(after).endswith(", 1 without labels")


@pytest.mark.parametrize("night_only", [False, True])
def test_a_day_without_labels_is_kept_whole_or_its_night_alone(night_only: bool) -> None:
    """Twenty hours of strong muscles but for eight hours in between."""
    fs_hz, num_s = 100, 20 * 3600
    rng, at_h = np.random.default_rng(0), np.arange(num_s * fs_hz) / fs_hz / 3600
    values = rng.normal(0, np.where((at_h >= 8) & (at_h < 16), 2, 20)).astype(np.float32)
    raw = RawRecording("day", "s", {"EEG": RawSignal(values, fs_hz)}, (), 30.0, start="2020-01-01T14:00:00")
    night = prepare_night(raw, night_only=night_only)
    hours = (night.onset_s[0] / 3600, (night.onset_s[-1] + 30) / 3600)
    assert hours == (pytest.approx((7.5, 16.5), abs=0.2) if night_only else (0, 20))
    assert ("night_only=true keeps the night alone" in night.notes[-1]) != night_only
    assert ("the night was found from 21:3" in night.notes[-1]) == night_only
    rat = prepare_night(replace(raw, species="rat"), night_only=night_only)
    assert rat.num_epochs == num_s // 30


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="python -m data_prep.download sleep-edf"):
        prepare_cohort(SLEEP_EDF, CohortOptions(raw_dir=tmp_path / "empty"), tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="give raw_dir=DIR"):
        prepare_cohort(SLEEP_EDF, CohortOptions(), tmp_path / "out")


@pytest.mark.usefixtures("_short_nights")
def test_simulated_nights_are_the_same_through_edf_but_for_its_rounding(tmp_path: Path) -> None:
    for edf in (False, True):
        options = SimHumanOptions(num_subjects=2, edf=edf, wake_margin_min=MARGIN_MIN)
        prepare_sim_human(options, tmp_path / str(edf))
    assert len(list((tmp_path / "True" / "edf").iterdir())) == 4
    direct, through_edf = (read_recording(tmp_path / edf / "SIM0001.parquet") for edf in ("False", "True"))
    assert direct.sleep_stages == through_edf.sleep_stages
    identity = [(night.subject, night.start, night.age, night.sex, night.source) for night in (direct, through_edf)]
    assert identity[0] == identity[1]
    for name, epochs in direct.channels.items():
        np.testing.assert_allclose(through_edf.channels[name], epochs, atol=0.02)


@pytest.mark.usefixtures("_short_nights")
def test_simulated_nights_can_be_written_as_edf_alone_and_prepared_from_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    for num_subjects in (3, 2):
        assert main(["sim_human", "--out", str(raw), f"num_subjects={num_subjects}", "edf_only=true"]) == 0
    assert "2 nights as EDF+" in capsys.readouterr().out
    assert sorted(path.name for path in raw.rglob("*.*")) == [
        f"SIM000{idx}-{kind}.edf" for idx in range(2) for kind in ("Hypnogram", "PSG")
    ]
    more = [f"wake_margin_min={MARGIN_MIN}", "channels=EEG Fpz-Cz,EEG Pz-Oz"]
    assert main(["sim_human_edf", "--out", str(out), f"raw_dir={raw}", *more]) == 0
    prepare_sim_human(SimHumanOptions(num_subjects=2, edf=True, wake_margin_min=MARGIN_MIN), tmp_path / "direct")
    assert hashes_in(out) == hashes_in(tmp_path / "direct")


@pytest.mark.usefixtures("_short_nights")
def test_an_interrupted_run_leaves_no_list_of_participants_and_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SimHumanOptions(num_subjects=3)
    prepare_sim_human(options, tmp_path)
    assert (tmp_path / PARTICIPANTS_FILE).is_file()

    def simulate(seed: int, subject_idx: int, _extras: NightExtras) -> RawRecording:
        if subject_idx == 2:
            raise KeyboardInterrupt
        return make_night(seed, subject_idx)

    monkeypatch.setattr(simulated, "simulate_human_night", simulate)
    with pytest.raises(KeyboardInterrupt):
        prepare_sim_human(options, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"SIM000{idx}.parquet" for idx in range(3)]


@pytest.mark.usefixtures("_short_nights")
def test_a_smaller_cohort_leaves_no_recording_of_the_larger_one(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    prepare_sim_human(SimHumanOptions(num_subjects=3), tmp_path)
    prepare_sim_human(SimHumanOptions(num_subjects=1), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SIM0000.parquet", "notes.txt", PARTICIPANTS_FILE]


@pytest.mark.usefixtures("_short_nights")
def test_folds_and_the_split_by_epoch_are_written_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sim_human", "--out", str(tmp_path), "num_subjects=4", f"wake_margin_min={MARGIN_MIN}"]
    assert main([*command, "split=kfold:3"]) == 0
    rows = read_participants(tmp_path)
    assert sorted(row.split.fold for row in rows) == [0, 0, 1, 2]
    assert "3 folds; train with stage.fold=N" in capsys.readouterr().out
    assert not (tmp_path / PARTICIPANTS_NOTES_FILE).exists()
    assert main([*command, "split=skfold:3"]) == 0
    assert sorted(row.split.fold for row in read_participants(tmp_path)) == [0, 0, 1, 2]
    assert main([*command, "split=skfold:5"]) == 2
    assert len(read_participants(tmp_path)) == 4  # nothing was begun
    assert "needs 5 subjects or more, there are 4" in capsys.readouterr().err
    assert main([*command, "split=by_epoch"]) == 0
    assert {row.split for row in read_participants(tmp_path)} == {Split(rule=BY_EPOCH)}
    assert json.loads((tmp_path / PARTICIPANTS_NOTES_FILE).read_text()) == {"split": "by_epoch", "leaky": True}
    assert "LEAKS" in capsys.readouterr().out
    assert "split" in read_recording(tmp_path / "SIM0000.parquet").columns
    assert main(command) == 0
    assert not (tmp_path / PARTICIPANTS_NOTES_FILE).exists()
    assert "split" not in read_recording(tmp_path / "SIM0000.parquet").columns


def test_subjects_that_a_published_split_does_not_know_are_left_out_by_name(
    raw_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = raw_dir / "sleep-cassette"
    for idx, name in enumerate(("SC4001E", "SC4021E", "SC4191E")):
        write_edf(make_night(1, idx), folder / f"{name}0-PSG.edf", folder / f"{name}C-Hypnogram.edf")
    options = CohortOptions(raw_dir=raw_dir, wake_margin_min=MARGIN_MIN, split="sleep_edf_20")
    rows = prepare_cohort(SLEEP_EDF, options, tmp_path / "out")
    assert [(row.subject, row.split.fold) for row in rows] == [("SC400", 0), ("SC402", 2), ("SC419", 19)]
    assert "2 subjects, left out: SC490, SC491" in caplog.text


def build_fake_samples(num_samples: int, seed: int, real_share: float = 0) -> Iterator[CorpusSample]:
    generator = np.random.default_rng(seed)
    for idx in range(num_samples):
        series = generator.normal(size=5).astype(np.float32)
        yield CorpusSample(f"x{idx}", "Which?", ("a", "b"), (series,), ("s",), "uV", f"{real_share}", "a")


@pytest.fixture
def _fake_corpora(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mcq", "captions", "ecg"):
        module = ModuleType(f"data_prep.corpora.{name}")
        module.build_samples = build_fake_samples  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"data_prep.corpora.{name}", module)


@pytest.mark.usefixtures("_fake_corpora")
def test_a_corpus_has_three_independent_splits_for_any_number_of_workers(tmp_path: Path) -> None:
    options = CorpusOptions(num_train=210, num_val=3, num_test=4, seed=3)  # two chunks
    with parallel_config(backend="threading"):
        for workers in (1, 2):
            prepare_corpus("mcq", "data_prep.corpora.mcq", options, tmp_path / str(workers), Workers(workers))
    assert hashes_in(tmp_path / "1") == hashes_in(tmp_path / "2")
    samples = {split: read_corpus(tmp_path / "1", split) for split in ("train", "val", "test")}
    assert {split: len(rows) for split, rows in samples.items()} == {"train": 210, "val": 3, "test": 4}
    everything = [sample for rows in samples.values() for sample in rows]
    assert len({sample.sample_id for sample in everything}) == 217
    assert len({sample.series[0].tobytes() for sample in everything}) == 217
    assert samples["train"][209].sample_id == "mcq_train_000209"


@pytest.mark.usefixtures("_fake_corpora")
def test_an_option_of_the_builder_reaches_it(tmp_path: Path) -> None:
    assert main(["captions", "--out", str(tmp_path), *SMALL_CORPUS, "real_share=0.5"]) == 0
    assert [sample.rationale for sample in read_corpus(tmp_path, "val")] == ["0.5", "0.5"]


CORPUS_FILES = sorted(f"{split}.{kind}" for split in ("train", "val", "test") for kind in ("parquet", "series.arrow"))


@pytest.mark.usefixtures("_fake_corpora", "_short_nights")
@pytest.mark.parametrize(
    ("cohort", "options", "files"),
    [
        ("sim_human", ("num_subjects=1",), ["SIM0000.parquet", PARTICIPANTS_FILE]),
        ("mcq", SMALL_CORPUS, CORPUS_FILES),
        ("captions", SMALL_CORPUS, CORPUS_FILES),
        ("ecg_cot", SMALL_CORPUS, CORPUS_FILES),
    ],
)
def test_the_command_prepares_each_cohort(
    cohort: str, options: tuple[str, ...], files: list[str], tmp_path: Path
) -> None:
    assert main([cohort, "--out", str(tmp_path / "out"), *options, "--workers", "1"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == files


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sim_humn"], "did you mean 'sim_human'?"),
        (["sim_human", "num_subject=3"], "did you mean 'num_subjects'?"),
        (["sim_human", "colour=3"], "choose one of: wake_margin_min"),
        (["sim_human", "num_subjects=three"], "bad value for num_subjects"),
        (["sim_human", "num_subjects=0"], "expected 1 or more"),
        (["sim_human", "edf=maybe"], "bad value for edf"),
        (["sim_human", "num_subjects"], "is not key=value"),
        (["sim_human", "split=90/20/10"], "wanted train/val/test in percent"),
        (["sim_human", "--workers", "0"], "--workers 0"),
        (["sleep_edf"], "give raw_dir=DIR"),
        (["mcq", "num_val=-1"], "expected 0 or more"),
        (["mcq", "real_share=2"], "expected a share"),
        (["ecg_cot", "real_share=0"], "unknown key 'real_share'"),
    ],
)
def test_a_mistake_in_the_call_is_one_line_and_code_2(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err.strip()
    assert said in message
    assert message.startswith("error: ")
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_help_lists_cohorts_with_their_options_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "num_subjects=20" in text
    assert "raw_dir=DIR" in text
    assert "example: python -m data_prep.prepare" in text


def test_the_real_night_has_841_scored_epochs(tmp_path: Path) -> None:
    raw_dir = Path(os.environ.get("TSLM_RAW_DIR", tmp_path))
    if not (raw_dir / "SC4001E0-PSG.edf").is_file():
        pytest.skip("TSLM_RAW_DIR does not hold SC4001E0-PSG.edf: python -m data_prep.download sleep-edf")
    rows = prepare_cohort(SLEEP_EDF, CohortOptions(raw_dir=raw_dir), tmp_path / "out")
    night = next(row for row in rows if row.recording == "SC4001E0")
    recording = read_recording(tmp_path / "out" / "SC4001E0.parquet")
    assert len(rows) > 1 or night.split == "test"
    assert Counter(recording.sleep_stages) == {W: 188, N1: 58, N2: 250, N3: 220, R: 125}
