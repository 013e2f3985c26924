import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curriculum import fit_novelty
from curriculum.package import main
from curriculum.package_card import read_origin, read_score
from tests.factories.small import CHANNEL, build_small_model, small_recording
from tests.factories.staging import SCORER_RUN, WRITER_RUN, name_base, save_narrow_novelty
from tslm.config.checkpoint import CHECKPOINT_CONFIG_FILE, load_checkpoint_config
from tslm.data.novelty import NOVELTY_FILE, load_novelty
from tslm.data.prepared.recordings import write_participants, write_recording
from tslm.files import write_json
from tslm.pretrained.table import read_models
from tslm.training.checkpoints.checkpoint import save_checkpoint
from tslm.training.runs.folder import MANIFEST_FILE

PART = {
    "num_samples": 841,
    **dict.fromkeys(("accuracy", "macro_f1", "cohen_kappa"), 0.8123456),
    "intervals": {
        **{name: [0.7, 0.9] for name in ("accuracy", "macro_f1", "cohen_kappa")},
        "unit": "subjects",
        "num_units": 30,
        "level": 0.95,
    },
}


@pytest.fixture
def run_dir(tmp_path: Path, package: Path) -> Path:
    """A run as training leaves it: a scorer's checkpoint with what was fitted, its manifest and its scores."""
    config = load_checkpoint_config(package / "human")
    folder = tmp_path / "run"
    save_checkpoint(build_small_model(config), config, {"step": 1}, folder / "checkpoints/best")
    for name in ("calibration.json", "transitions.json"):
        (folder / "checkpoints/best" / name).write_bytes((package / "human" / name).read_bytes())
    packages = {"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"}
    launch = {
        "command": ["curriculum/train.py", "seed=3"],
        "git_commit": "0c70bed",
        "cpu": "a CPU",
        "packages": packages,
    }
    write_json({"seed": 3, "launches": [launch]}, folder / MANIFEST_FILE)
    write_json({"leaky": False, "systems": {"classifier": PART}}, folder / "metrics.json")
    return folder


def run(run_dir: Path, out: Path, *options: Any, name: str = "human") -> int:
    scores = f"Ten people, C4-M1={run_dir / 'metrics.json'}"
    call = (run_dir / "checkpoints/best", "--name", name, "--scores", scores, "--out", out, *options)
    return main([str(word) for word in call])


def test_a_checkpoint_becomes_a_folder_a_row_and_a_card(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "package"
    assert run(run_dir, out, "--limits", "Not tried on rats.") == 0
    assert re.search(r"written: \S+human, 0\.\d MB; all models 0\.\d of 16 MB", capsys.readouterr().out)
    model = read_models(out)["human"]
    assert model.scores[0].metrics["cohen_kappa"] == 0.8123 and model.scores[0].data == "Ten people, C4-M1"
    card = (out / "human" / "README.md").read_text()
    assert not (out / "human" / NOVELTY_FILE).exists()
    for words in (
        "# human",
        "| Ten people, C4-M1 | 841 | 0.812 [0.700, 0.900] |",
        "95 % intervals over 30 subjects",
        "accelerate launch curriculum/train.py seed=3",
        "- seed: 3\n- commit: 0c70bed\n- machine: a CPU, torch 2.13.0",
        "tslm score NIGHT.edf --model human",
        "- Not tried on rats.",
    ):
        assert words in card
    before = (out / "human" / "model.safetensors").read_bytes()
    assert run(run_dir, out) == run(run_dir, out, name="other") == 0
    assert list(read_models(out)) == ["human", "other"]
    assert (out / "human" / "model.safetensors").read_bytes() == before


def test_what_is_typical_of_the_training_goes_into_the_package(run_dir: Path, tmp_path: Path) -> None:
    save_narrow_novelty(run_dir / "checkpoints/best")
    assert run(run_dir, tmp_path / "package") == 0
    packaged = (tmp_path / "package/human" / NOVELTY_FILE).read_bytes()
    assert packaged == (run_dir / "checkpoints/best" / NOVELTY_FILE).read_bytes()


def test_what_is_typical_of_the_training_is_fitted_for_a_packaged_model_and_counted_in_its_size(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(run_dir, tmp_path / "package") == 0
    human, before = tmp_path / "package/human", read_models(tmp_path / "package")["human"]
    (cohort := tmp_path / "cohort").mkdir()
    eog = {"EOG horizontal": np.ones((20, 600), np.float32)}
    nights = [small_recording(f"n{idx}", 20, idx) for idx in range(12)]
    nights = [replace(each, channels={CHANNEL: each.channels[CHANNEL], **eog}) for each in nights]
    call = [str(human), "--cohort", str(cohort)]
    assert fit_novelty.main(call) == 2
    write_participants([write_recording(each, cohort, "train") for each in nights[:9]], cohort)
    assert fit_novelty.main(call) == 2
    assert "has no channel of 10 subjects" in capsys.readouterr().err
    write_participants([write_recording(each, cohort, "train") for each in nights], cohort)
    assert fit_novelty.main(call) == 0
    assert f"{CHANNEL}: 12 recordings, limit" in capsys.readouterr().out
    assert load_novelty(human)[CHANNEL].num_recordings == 12
    after = read_models(tmp_path / "package")["human"]
    size = (human / NOVELTY_FILE).stat().st_size
    assert after == replace(before, num_bytes=before.num_bytes + size)


def test_what_is_typical_is_fitted_for_scorers_alone(staging_models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit_novelty.main([str(staging_models / WRITER_RUN / "checkpoints/best")]) == 2
    assert "is no scorer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run: (run / "checkpoints/best/transitions.json").unlink(), "best has no transitions.json"),
        (lambda run: (run / MANIFEST_FILE).unlink(), "no run that recorded its command; give --commands"),
        (lambda run: (run / "metrics.json").unlink(), "there is no file"),
        (
            lambda run: write_json({"leaky": True, "systems": {"classifier": PART}}, run / "metrics.json"),
            "leak into the training",
        ),
        (
            lambda run: write_json({"systems": {"classifier": PART | {"intervals": {}}}}, run / "metrics.json"),
            "has no intervals",
        ),
        (lambda run: write_json({"systems": {"yasa": PART}}, run / "metrics.json"), "of yasa); name one by --system"),
    ],
)
def test_what_the_card_needs_is_asked_for(
    run_dir: Path, tmp_path: Path, spoil: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(run_dir)
    assert run(run_dir, tmp_path / "package") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "package" / "human").exists()


@pytest.mark.parametrize("command", ["train.py results_dir=/data/lab", "train.py '~/x'", "/opt/python train.py"])
def test_a_command_with_a_path_of_this_machine_is_refused(
    run_dir: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(run_dir, tmp_path / "package", "--commands", "make install", command) == 2
    assert "names a path of this machine" in capsys.readouterr().err


def test_what_is_too_large_or_has_no_pinned_base_is_refused_and_nothing_stays(
    run_dir: Path,
    tmp_path: Path,
    package: Path,
    staging_models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "package"
    monkeypatch.setattr("curriculum.package.MAX_BYTES", 1000)
    assert run(run_dir, out) == 2
    assert "wanted 0 MB or less" in capsys.readouterr().err
    checkpoint = run_dir / "checkpoints/best"
    written = json.loads((staging_models / WRITER_RUN / "checkpoints/best" / CHECKPOINT_CONFIG_FILE).read_text())
    write_json(written, checkpoint / CHECKPOINT_CONFIG_FILE)
    name_base(checkpoint, "someone/model")
    assert run(run_dir, out) == 2
    assert "someone/model, which is not pinned by its SHA-256" in capsys.readouterr().err
    assert run(run_dir, out, name="Human") == 2
    assert not out.exists() or not list(out.iterdir())


def test_scores_of_a_language_model_come_with_its_share_of_true_claims(tmp_path: Path) -> None:
    part = PART | {"faithfulness": {"precision": 0.98, "intervals": {"precision": [0.97, 0.99], "unit": "subjects"}}}
    write_json({"systems": {"language_model:facts": PART, "language_model": part}}, tmp_path / "metrics.json")
    score = read_score("x", tmp_path / "metrics.json")
    assert (score.metrics["precision"], score.intervals["precision"]) == (0.98, (0.97, 0.99))


def test_a_checkpoint_outside_a_run_has_no_origin(staging_models: Path) -> None:
    assert read_origin(staging_models / SCORER_RUN / "checkpoints/best").commands == ()
