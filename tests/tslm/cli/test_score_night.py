import argparse
import ast
import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.factories.recordings import write_night
from tests.factories.small import build_small_model, small_config
from tslm.cli import main
from tslm.cli.main import COMMANDS
from tslm.cli.nights import add_night_arguments
from tslm.config.checkpoint import CHECKPOINT_CONFIG_FILE
from tslm.data.prepared.recordings import Recording
from tslm.data.readers.hypnograms.config import HypnogramConfig
from tslm.data.readers.hypnograms.read import read_hypnogram_file
from tslm.data.readers.raw import RawSignal
from tslm.export.table import EXPORTS
from tslm.files import DISCLAIMER
from tslm.labels import LABEL_SETS, SleepStage
from tslm.predictions.night_scorer import NightScorer
from tslm.predictions.transitions import Transitions, save_transitions
from tslm.training.checkpoints.checkpoint import save_checkpoint

CHANNEL = "EEG Fpz-Cz"
FS_HZ, NUM_EPOCHS = 100.0, 7
STAGES = ("W", "N1", "N2", "N3", "R")


def classifier_config(**changes: Any) -> Any:
    settings = {
        "model__name": "classifier",
        "model__fs_hz": FS_HZ,
        "model__epoch_s": 30.0,
        "model__encoder__max_patches": 32,
        "stage__trained": ("encoder", "context", "classifier"),
        **changes,
    }
    return small_config(**settings)


def make_signals(fs_hz: float = FS_HZ, num_epochs: int = NUM_EPOCHS) -> dict[str, RawSignal]:
    """Two channels of noise under 20 Hz that are the same at every rate, 10 s more than whole epochs."""
    time_s = np.arange(round((30 * num_epochs + 10) * fs_hz)) / fs_hz
    rng = np.random.default_rng(0)
    waves = [(rng.uniform(0.5, 20), rng.uniform(0, 6)) for _ in range(60)]
    values = 5 * sum(np.sin(2 * np.pi * freq_hz * time_s + phase) for freq_hz, phase in waves)
    return {
        CHANNEL: RawSignal(values.astype(np.float32), fs_hz),
        "EEG Pz-Oz": RawSignal((0.5 * values[::-1]).astype(np.float32), fs_hz),
        "flat": RawSignal(np.zeros(len(values), dtype=np.float32), fs_hz),
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "best"
    config = classifier_config()
    save_checkpoint(build_small_model(config), config, {}, folder)
    return folder


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_night(tmp_path_factory.mktemp("raw") / "night.edf", make_signals())


def run(capsys: pytest.CaptureFixture, *arguments: Any) -> tuple[int, str, str]:
    code = main(["score", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def probabilities_of(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([[float(row[f"p_{stage}"]) for stage in STAGES] for row in rows])


def test_a_night_becomes_a_hypnogram_with_the_models_probabilities(
    night: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    code, out, _ = run(capsys, night, "--model", checkpoint, "--out", tmp_path)
    assert code == 0
    rows = read_rows(tmp_path / "night_hypnogram.csv")
    signal = make_signals()[CHANNEL].values[: round(NUM_EPOCHS * 30 * FS_HZ)].reshape(NUM_EPOCHS, -1)
    stages = (SleepStage.UNSCORED,) * NUM_EPOCHS
    recording = Recording("n", "s", FS_HZ, 30.0, {CHANNEL: signal}, stages, 30.0 * np.arange(NUM_EPOCHS))
    config = classifier_config()
    expected = NightScorer(build_small_model(config), config).score(recording)
    np.testing.assert_allclose(probabilities_of(rows), expected, atol=2e-3)
    assert [row["stage"] for row in rows] == [STAGES[idx] for idx in expected.argmax(axis=1)]
    entropy = -(expected * np.log2(expected)).sum(axis=1)
    np.testing.assert_allclose([float(row["entropy_bits"]) for row in rows], entropy, atol=5e-3)
    assert f"{NUM_EPOCHS} epochs of 30 s" in out
    assert "sleep efficiency" in out
    report = json.loads((tmp_path / "night_hypnogram.json").read_text())
    assert report["channels"] == {CHANNEL: CHANNEL}
    assert report["statistics"]["time_in_bed_min"] == NUM_EPOCHS / 2


def test_the_table_is_a_hypnogram_to_our_own_reader(
    night: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run(capsys, night, "--model", checkpoint, "--out", tmp_path / "h.csv")
    labels = read_hypnogram_file(tmp_path / "h.csv", HypnogramConfig(), 30.0).labels
    rows = read_rows(tmp_path / "h.csv")
    assert [(label.onset_s, label.duration_s, label.text) for label in labels] == [
        (30.0 * idx, 30.0, row["stage"]) for idx, row in enumerate(rows)
    ]


def test_the_json_holds_the_probabilities_and_no_date_unless_asked_for(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = write_night(tmp_path / "dated.edf", make_signals(), start="2019-04-23T22:15:30")
    fixed = (path, "--model", checkpoint, "--out")
    run(capsys, *fixed, tmp_path / "h.csv")
    run(capsys, *fixed, tmp_path / "dated.csv", "--keep_identity")
    report, dated = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("h", "dated"))
    written = [[epoch["probabilities"][stage] for stage in STAGES] for epoch in report["epochs"]]
    np.testing.assert_allclose(written, probabilities_of(read_rows(tmp_path / "h.csv")), atol=6e-5)
    assert report["disclaimer"] == DISCLAIMER
    assert (report["start"], dated["start"]) == ("1985-01-01T22:15:30", "2019-04-23T22:15:30")


def test_exports_are_a_folder_of_the_same_table(
    night: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fixed = (night, "--model", checkpoint, "--out")
    code, out, _ = run(capsys, *fixed, tmp_path, "--exports")
    assert (code, f"written: {tmp_path / 'night'}" in out) == (0, True)
    run(capsys, *fixed, tmp_path)
    assert read_rows(tmp_path / "night" / "hypnogram.csv") == read_rows(tmp_path / "night_hypnogram.csv")
    shared = json.loads((tmp_path / "night" / "statistics.json").read_text())
    assert shared.items() <= json.loads((tmp_path / "night_hypnogram.json").read_text()).items()
    assert len(list((tmp_path / "night").iterdir())) == len(EXPORTS) - 1  # without texts
    code, _, err = run(capsys, *fixed, tmp_path / "h.csv", "--exports")
    assert (code, "give --out DIR" in err) == (2, True)


def test_a_file_of_another_rate_is_resampled_and_says_so(
    night: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fast = write_night(tmp_path / "fast.edf", make_signals(256.0))
    run(capsys, night, "--model", checkpoint, "--out", tmp_path)
    code, out, _ = run(capsys, fast, "--model", checkpoint, "--out", tmp_path)
    assert code == 0
    said = f"{CHANNEL}: resampled from 256 Hz to 100 Hz"
    assert said in out
    assert said in json.loads((tmp_path / "fast_hypnogram.json").read_text())["notes"]
    slow_rows, fast_rows = (read_rows(tmp_path / f"{name}_hypnogram.csv") for name in ("night", "fast"))
    np.testing.assert_allclose(probabilities_of(fast_rows), probabilities_of(slow_rows), atol=0.02)


def test_an_epoch_alone_is_scored_without_its_neighbours(
    night: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run(capsys, night, "--model", checkpoint, "--out", tmp_path / "a.csv")
    run(capsys, night, "--model", checkpoint, "--out", tmp_path / "b.csv", "--each_alone")
    together, alone = (probabilities_of(read_rows(tmp_path / name)) for name in ("a.csv", "b.csv"))
    assert np.abs(together - alone).max() > 1e-3


@pytest.mark.parametrize("method", ["median", "hmm", "posterior"])
def test_smoothed_stages_stand_beside_the_most_probable_ones(
    method: str, night: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "best")
    stuck = np.full((5, 5), 1e-6) + np.diag([1.0] * 5)
    shares = np.full(5, 0.2)
    stages = LABEL_SETS["aasm"].sleep_stages
    chain = Transitions(stages, 30.0, shares, stuck / stuck.sum(axis=1, keepdims=True), shares)
    save_transitions(chain, folder)
    code, out, _ = run(capsys, night, "--model", folder, "--out", tmp_path, "--smoothing", method)
    assert code == 0
    rows = read_rows(tmp_path / "night_hypnogram.csv")
    probabilities_EK = probabilities_of(rows)
    assert [row["stage_unsmoothed"] for row in rows] == [STAGES[idx] for idx in probabilities_EK.argmax(axis=1)]
    if method != "median":
        assert {row["stage"] for row in rows} == {STAGES[np.log(probabilities_EK).sum(axis=0).argmax()]}
    num_changed = sum(row["stage"] != row["stage_unsmoothed"] for row in rows)
    assert f"smoothed by {method}: {num_changed} epochs changed" in out
    report = json.loads((tmp_path / "night_hypnogram.json").read_text())
    assert (report["smoothing"], report["num_smoothed_epochs"]) == (method, num_changed)


def test_a_checkpoint_without_transitions_cannot_smooth_by_them(
    night: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    code, _, err = run(capsys, night, "--model", checkpoint, "--out", tmp_path, "--smoothing", "hmm")
    assert code == 2
    assert "there are no transitions" in err
    assert list(tmp_path.iterdir()) == []


def test_a_difference_of_channels_is_read_as_one(
    night: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    signals = make_signals()
    difference = RawSignal(signals[CHANNEL].values - signals["EEG Pz-Oz"].values, FS_HZ)
    write_night(tmp_path / "made.edf", {"bipolar": difference})
    spelled = ("--channel", f"{CHANNEL} - EEG Pz-Oz")
    assert run(capsys, night, "--model", checkpoint, "--out", tmp_path / "a.csv", *spelled)[0] == 0
    made = ("--channel", "bipolar")
    assert run(capsys, tmp_path / "made.edf", "--model", checkpoint, "--out", tmp_path / "b.csv", *made)[0] == 0
    np.testing.assert_allclose(
        *(probabilities_of(read_rows(tmp_path / name)) for name in ("a.csv", "b.csv")), atol=0.01
    )


def test_a_table_with_holes_leaves_the_epochs_of_the_holes_unscored(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    values = make_signals()[CHANNEL].values
    cells = [f"{value:.3f}" for value in values]
    cells[3000:4000] = ["inf"] * 500 + [""] * 500
    cells[100] = "nan"
    (tmp_path / "n.csv").write_text("\n".join(["C4,other", *(f"{cell},0" for cell in cells)]) + "\n")
    arguments = ("--read", "fs_hz=100", "--channel", "C4", "--model", checkpoint, "--out", tmp_path)
    assert run(capsys, tmp_path / "n.csv", *arguments)[0] == 0
    rows = read_rows(tmp_path / "n_hypnogram.csv")
    assert [row["stage"] == "UNSCORED" for row in rows] == [idx == 1 for idx in range(NUM_EPOCHS)]
    assert (rows[1]["p_W"], rows[1]["artifacts"], rows[1]["onset_s"]) == ("", "missing", "30.0")


def test_the_newest_classifier_below_a_folder_is_taken(
    night: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    code, _, err = run(capsys, night, "--model", "results")
    assert (code, "no checkpoint of a classifier below results; name one with --model" in err) == (2, True)
    for model in ("classifier", "masked_encoder"):  # the newest holds no classifier
        config = classifier_config(model__name=model)
        save_checkpoint(build_small_model(config), config, {}, Path(f"results/no_llm/{model}/stage0/checkpoints/best"))
    code, out, _ = run(capsys, night, "--model", "results")
    assert code == 0
    assert "results/no_llm/classifier/stage0/checkpoints/best" in out
    assert Path("night_hypnogram.csv").is_file()


def test_any_scorer_scores_a_night(
    night: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = classifier_config(model__name="ssm", model__encoder__front_end="cnn", model__context__kind="ssm")
    folder = tmp_path / "results/no_llm/ssm/stage0_encoder/checkpoints/best"
    save_checkpoint(build_small_model(config), config, {}, folder)
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, night, "--model", "results")
    assert (code, "results/no_llm/ssm" in out) == (0, True)


def test_a_checkpoint_that_does_not_tell_its_rate_is_refused(
    night: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = classifier_config(model__fs_hz=0.0, model__epoch_s=0.0)
    save_checkpoint(build_small_model(config), config, {}, tmp_path / "best")
    code, _, err = run(capsys, night, "--model", tmp_path / "best", "--out", tmp_path)
    assert (code, "train it again" in err) == (2, True)


def change_config(checkpoint: Path, tmp_path: Path, old: str, new: str) -> Path:
    folder = tmp_path / "changed"
    folder.mkdir()
    for file in checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    text = (folder / CHECKPOINT_CONFIG_FILE).read_text()
    assert old in text
    (folder / CHECKPOINT_CONFIG_FILE).write_text(text.replace(old, new, 1))
    return folder


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"normalization":',
            '"sampling_law": "even", "normalization":',
            "made by tslm .* unknown key 'model.sampling_law'",
        ),
        ('"name": "classifier"', '"name": "soft_prompt"', "holds the model 'soft_prompt', no classifier"),
        ('"d_model": 16', '"d_model": 32', r"does not fit the model: \S+ has shape"),
    ],
    ids=["newer", "text model", "other encoder"],
)
def test_a_checkpoint_that_cannot_be_used_is_one_clear_line(
    old: str, new: str, said: str, night: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = change_config(checkpoint, tmp_path, old, new)
    code, out, err = run(capsys, night, "--model", folder, "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(said, err), err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--channel", "C3"), "no channel 'C3'; it has: EEG Fpz-Cz, EEG Pz-Oz, flat"),
        (("--channel", "flat"), "throughout; choose another channel"),
        (("--extra_channels", "EEG Pz-Oz"), "1 extra channels were given; the model was trained with: none"),
        (("--model", "nowhere"), "there is no folder nowhere, and tslm-sleep"),
        (("--read", "volts=3"), "unknown key 'signals.volts'"),
    ],
)
def test_a_mistake_in_the_call_is_one_clear_line(
    arguments: tuple[str, ...], said: str, night: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    call = ["--model", checkpoint, "--out", tmp_path / "out", *arguments]
    code, out, err = run(capsys, night, *call)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "edf"),
        (b"nonsense " * 100, "edf"),
        (None, "there is no file"),
    ],
)
def test_a_file_that_is_no_recording_is_one_clear_line(
    content: bytes | None, said: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "night.edf"
    if content is not None:
        path.write_bytes(content)
    code, _, err = run(capsys, path, "--model", checkpoint)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err


def test_a_recording_shorter_than_an_epoch_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    short = write_night(tmp_path / "short.edf", make_signals(num_epochs=0))
    code, _, err = run(capsys, short, "--model", checkpoint)
    assert code == 2
    assert "10 s, less than one epoch of 30 s" in err


def test_a_day_is_cut_to_its_night_unless_asked_for_whole(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    num_epochs = 1500
    tense = np.where((np.arange(num_epochs) >= 600) & (np.arange(num_epochs) < 1100), 2.0, 20.0)
    values = (rng.normal(0, 1, (num_epochs, 3000)) * tense[:, None]).astype(np.float32).ravel()
    path = write_night(tmp_path / "day.edf", {CHANNEL: RawSignal(values, FS_HZ)})
    code, out, _ = run(capsys, path, "--model", checkpoint, "--out", tmp_path)
    assert code == 0
    assert "12.5 h were recorded; the night was found" in out
    rows = read_rows(tmp_path / "day_hypnogram.csv")
    assert abs(int(rows[0]["epoch_idx"]) - 540) <= 16
    assert float(rows[0]["onset_s"]) == 30 * int(rows[0]["epoch_idx"])
    assert abs(len(rows) - 620) <= 32
    run(capsys, path, "--model", checkpoint, "--out", tmp_path, "--whole")
    assert len(read_rows(tmp_path / "day_hypnogram.csv")) == num_epochs


def test_a_model_of_several_channels_finds_each_by_its_own_name_or_the_one_given(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = classifier_config(stage__extra_channels=("EMG submental",))
    save_checkpoint(build_small_model(config), config, {}, tmp_path / "best")
    eeg = make_signals()[CHANNEL]
    tone = RawSignal(
        np.random.default_rng(1).uniform(1, 5, 30 * NUM_EPOCHS + 10).astype(np.float32), 1.0
    )  # an envelope
    write_night(tmp_path / "a.edf", {CHANNEL: eeg, "EMG submental": tone})
    write_night(tmp_path / "b.edf", {"C4": eeg, "X1": tone})
    fixed = ("--model", tmp_path / "best", "--out", tmp_path)
    code, out, _ = run(capsys, tmp_path / "a.edf", *fixed)
    assert (code, "EMG submental" in out) == (0, True)
    assert run(capsys, tmp_path / "b.edf", *fixed, "--channel", "C4", "--extra_channels", "X1")[0] == 0
    rows = [read_rows(tmp_path / f"{name}_hypnogram.csv") for name in "ab"]
    assert rows[0] == rows[1]
    code, _, err = run(capsys, tmp_path / "b.edf", *fixed, "--channel", "C4")
    assert (code, err.count("\n")) == (2, 1)
    assert "no EMG to read as 'EMG submental'; it has: C4, X1; name a channel" in err


def test_channels_of_other_names_are_chosen_and_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = classifier_config(stage__extra_channels=("EMG submental",))
    save_checkpoint(build_small_model(config), config, {}, tmp_path / "best")
    eeg = make_signals()[CHANNEL]
    mastoid = RawSignal(np.roll(eeg.values, 1000) / 10, FS_HZ)
    muscle = RawSignal(eeg.values[::-1].copy(), FS_HZ)
    path = write_night(tmp_path / "night.edf", {"Leg L": muscle, "EEG C4": eeg, "Chin": muscle, "EEG A1": mastoid})
    fixed = ("--model", tmp_path / "best", "--out", tmp_path)
    code, out, _ = run(capsys, path, *fixed)
    assert code == 0
    assert "warning: 'EEG C4 - EEG A1' is a central EEG; the model was trained on a frontal one" in out
    assert "note: EEG: 'EEG C4 - EEG A1' (no channel 'EEG Fpz-Cz' in the file; central)" in out
    report = json.loads((tmp_path / "night_hypnogram.json").read_text())
    assert report["channels"] == {CHANNEL: "EEG C4 - EEG A1", "EMG submental": "Chin"}
    assert report["warnings"][0] in out
    assert any(note.startswith("EMG: 'Chin'") for note in report["notes"])
    chosen = read_rows(tmp_path / "night_hypnogram.csv")
    given = ("--channel", "EEG C4 - EEG A1", "--extra_channels", "Chin")
    code, out, _ = run(capsys, path, *fixed, *given)
    assert (code, "trained on a frontal one" in out) == (0, True)
    assert read_rows(tmp_path / "night_hypnogram.csv") == chosen


def test_channels_are_listed_without_a_score(night: Path, checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    code, out, _ = run(capsys, night, "--model", checkpoint, "--out", tmp_path / "out", "--list_channels")
    assert code == 0
    lines = {line.split("  ")[0]: line for line in out.splitlines()}
    assert lines[CHANNEL].endswith(CHANNEL)
    assert "EEG Fpz-Cz comes first" in lines["EEG Pz-Oz"]
    assert "left out" in lines["flat"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--help"], *([command.name, "--help"] for command in COMMANDS)])
def test_help_shows_an_example_and_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom tslm.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'scipy', 'transformers', 'pyarrow', 'omegaconf'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: tslm" in done.stdout
    assert "example" in done.stdout


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "tslm", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tslm ")


def test_scoring_a_night_imports_no_language_model(checkpoint: Path, night: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from tslm.cli import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "heavy = ['transformers', 'peft', 'accelerate', 'sklearn', 'tokenizers', 'huggingface_hub.hf_api']\n"
        "heavy += ['torch._dynamo', 'torch.distributed.tensor', 'matplotlib', 'pandas', 'scipy.io']\n"
        "sys.exit(', '.join(name for name in heavy if name in sys.modules))"
    )
    arguments = ["score", str(night), "--model", str(checkpoint), "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert not done.stderr.strip()
    assert (tmp_path / "night_hypnogram.csv").is_file()


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import tslm; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.split(".")[0] for name in ast.literal_eval(done.stdout)}
    assert imported <= {"tslm", *sys.stdlib_module_names}


def test_a_model_is_also_named_by_checkpoint() -> None:
    parser = argparse.ArgumentParser()
    add_night_arguments(parser)
    assert parser.parse_args(["night.edf", "--checkpoint", "folder"]).model == "folder"
    assert parser.parse_args(["night.edf", "--model", "folder"]).model == "folder"
