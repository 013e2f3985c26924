import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from curriculum.plan import compare_settings
from curriculum.train import compose, find_start, parse_args
from tests.factories.small import small_recording, split_by_epoch
from tests.factories.tiny_run import command
from tslm.config.checkpoint import load_checkpoint_config
from tslm.config.compose import list_group
from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import read_participants, read_recording, write_participants, write_recording
from tslm.data.splits.rules import assign_splits
from tslm.data.splits.split import BY_EPOCH, SPLITS
from tslm.file_lock import hold_lock
from tslm.predictions.rows import read_predictions
from tslm.predictions.transitions import TRANSITIONS_FILE, load_transitions
from tslm.training.checkpoints.checkpoint import load_checkpoint
from tslm.training.runs.folder import LOCK_FILE
from tslm.training.runs.manifest import read_manifest

STAGES = ["stage0_encoder", "stage1_mcq", "stage2_captioning", "stage3_cot", "stage4_sleep_cot", "stage5_ecg_cot"]


@pytest.fixture(scope="module")
def results(data_dir: Path) -> Path:
    """The results folder of the whole curriculum in one command."""
    assert command(data_dir, STAGES) == 0
    return data_dir / "results"


def stage_dir(results: Path, stage: str) -> Path:
    return results / ("no_llm/classifier" if stage == "stage0_encoder" else "tiny/soft_prompt") / stage


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_leaves_checkpoints_log_and_metrics(stage: str, results: Path) -> None:
    folder = stage_dir(results, stage)
    for which in ("best", "last", "top_1"):
        _, config = load_checkpoint(folder / "checkpoints" / which)
        assert config.stage.name == stage
    metrics = json.loads((folder / "results" / "metrics.json").read_text())
    assert metrics["stage"] == stage
    assert metrics["seed"] == 0
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [record.get("event") for record in records][:: len(records) - 1] == ["start", "end"]
    assert (folder / "config.yaml").is_file()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_leaves_predictions_that_its_metrics_count(stage: str, results: Path) -> None:
    folder = stage_dir(results, stage) / "results"
    rows = read_predictions(folder / "test_predictions.jsonl")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert len(rows) == metrics["num_samples"] == (10 if stage in ("stage0_encoder", "stage4_sleep_cot") else 6)
    if stage == "stage2_captioning":
        assert {(row["truth"], row["target"]) for row in rows} == {(None, "A regular rhythm.")}
        assert all("generated" in row for row in rows)
    else:
        assert all(row["truth"] in row["options"] for row in rows)


@pytest.mark.parametrize("stage", STAGES[1:])
def test_every_text_stage_states_the_loss_of_its_reference_texts(stage: str, results: Path) -> None:
    folder = stage_dir(results, stage) / "results"
    of_writer = json.loads((folder / "metrics.json").read_text())["systems"]["language_model"]
    rows = read_predictions(folder / "test_predictions.jsonl")
    assert of_writer["perplexity"] == pytest.approx(math.exp(of_writer["loss"]))
    # The tiny tokenizer has a token a byte; the space before a text and its end token are supervised, too.
    assert of_writer["num_tokens"] == sum(len(row["target"].encode()) + 2 for row in rows)
    assert of_writer["tokens_per_sample"] == of_writer["num_tokens"] / len(rows)
    assert 0 <= of_writer["token_accuracy"] <= 1


def test_a_checkpoint_tells_rate_and_epochs_of_the_nights_it_was_trained_on(results: Path) -> None:
    timing = {}
    for stage in ("stage1_mcq", "stage4_sleep_cot"):
        model = load_checkpoint_config(stage_dir(results, stage) / "checkpoints" / "best").model
        timing[stage] = (model.fs_hz, model.epoch_s)
    assert timing == {"stage1_mcq": (0.0, 0.0), "stage4_sleep_cot": (20.0, 30.0)}


def test_captions_are_judged_by_perplexity(results: Path) -> None:
    metrics = json.loads((stage_dir(results, "stage2_captioning") / "results" / "metrics.json").read_text())
    assert metrics["metric"] == "perplexity"
    assert metrics["systems"]["language_model"]["perplexity"] > 1
    assert "accuracy" not in metrics["systems"]["language_model"]


def test_only_stages_that_train_adapters_have_them(results: Path) -> None:
    has_adapter = {stage: (stage_dir(results, stage) / "checkpoints" / "best" / "adapter").is_dir() for stage in STAGES}
    assert has_adapter == dict(zip(STAGES, (False, False, False, True, True, True), strict=True))


def test_stages_of_nights_keep_how_stages_followed_one_another_in_their_training_nights(results: Path) -> None:
    counted = {
        stage: load_transitions(path).num_epochs
        for stage in STAGES
        if (path := stage_dir(results, stage) / "checkpoints" / "best" / TRANSITIONS_FILE).is_file()
    }
    assert counted == {"stage0_encoder": 20, "stage4_sleep_cot": 20}
    of_classifier = load_transitions(stage_dir(results, "stage0_encoder") / "checkpoints" / "best")
    of_writer = load_transitions(stage_dir(results, "stage4_sleep_cot") / "checkpoints" / "best")
    assert len(set(of_writer.prior_K)) == 1  # as frequent as they are: each in every fifth epoch
    assert len(set(of_classifier.prior_K)) == 5  # as the classifier says


def test_scoring_again_gives_the_same_metrics(results: Path, data_dir: Path) -> None:
    for stage in ("stage0_encoder", "stage3_cot"):
        path = stage_dir(results, stage) / "results" / "metrics.json"
        before = path.read_text()
        assert command(data_dir, [stage], "--eval_only") == 0
        assert path.read_text() == before


def test_scoring_takes_the_models_settings_from_the_checkpoint(results: Path, data_dir: Path) -> None:
    path = stage_dir(results, "stage1_mcq") / "results" / "metrics.json"
    before = path.read_text()
    changes = ["model.normalization=zscore", "model.projector.merge=2"]
    assert command(data_dir, ["stage1_mcq"], "--eval_only", *changes) == 0
    assert path.read_text() == before


def test_scoring_with_other_settings_wants_to_be_told_and_is_recorded(
    results: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = stage_dir(tmp_path, "stage1_mcq")
    shutil.copytree(stage_dir(results, "stage1_mcq"), folder)
    path, fewer = folder / "results" / "metrics.json", "stage.num_test_samples=2"
    before, here = path.read_text(), ["--eval_only", f"results_dir={tmp_path}"]
    error = fails_with_one_line(data_dir, capsys, ["stage1_mcq"], *here, fewer)
    assert "stage.num_test_samples: 0 -> 2" in error and "--overwrite" in error
    assert path.read_text() == before
    assert command(data_dir, ["stage1_mcq"], *here, fewer, "--overwrite") == 0
    assert json.loads(path.read_text())["num_samples"] == 2
    assert (folder / "checkpoints" / "best").is_dir()
    assert command(data_dir, ["stage1_mcq"], *here, fewer) == 0  # as it was scored
    assert "there stage.num_test_samples: 0 -> 2" in fails_with_one_line(data_dir, capsys, ["stage1_mcq"], *here)
    assert command(data_dir, ["stage1_mcq"], *here, "--overwrite") == 0
    assert path.read_text() == before
    manifest = read_manifest(folder)
    assert manifest is not None
    changes = [evaluation.changes for evaluation in manifest.evaluations]
    assert changes[-3:] == [("stage.num_test_samples: 0 -> 2",), ("stage.num_test_samples: 0 -> 2",), ()]


def test_scoring_what_is_not_trained_says_so_before_anything_is_scored(
    results: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = stage_dir(tmp_path, "stage1_mcq")
    shutil.copytree(stage_dir(results, "stage1_mcq"), folder)
    before = (folder / "results" / "metrics.json").stat().st_mtime_ns
    more = ["--eval_only", f"results_dir={tmp_path}"]
    error = fails_with_one_line(data_dir, capsys, ["stage1_mcq", "stage2_captioning"], *more)
    assert "stage2_captioning has no checkpoint" in error and "nothing to score" in error
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"ended_at": None}))
    assert "is not finished: --resume" in fails_with_one_line(data_dir, capsys, ["stage1_mcq"], *more)
    assert (folder / "results" / "metrics.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("flags", "starts", "said"),
    [
        ([], [False, False], ["stage1_mcq does not start from stage0_encoder"]),
        (["stage0_encoder"], [False, True], []),
        (["stage0_encoder", "stage1_mcq"], [False, False], ["stage1_mcq does not start from stage0_encoder"]),
    ],
)
def test_from_scratch_cuts_all_stages_and_says_so_or_those_that_it_names(
    flags: list[str],
    starts: list[bool],
    said: list[str],
    data_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages, found = ["stage0_encoder", "stage1_mcq"], []
    monkeypatch.setattr("curriculum.train.checkpoint_dir", lambda *_: tmp_path)
    monkeypatch.setattr("curriculum.train.run", lambda config, args, *_: found.append(bool(find_start(config, args))))
    monkeypatch.setattr("curriculum.train.load_checkpoint_config", lambda _: compose(stages[0], parse_args([])))
    assert command(data_dir, stages, "--from_scratch", *flags, f"results_dir={tmp_path}") == 0
    assert found == starts
    assert [line for line in caplog.messages if line.startswith("--from_scratch")] == [
        f"--from_scratch: {line}; name the stages behind it that shall start anew, the others go on" for line in said
    ]


def test_from_scratch_names_stages_of_the_command(data_dir: Path, capsys: pytest.CaptureFixture) -> None:
    error = fails_with_one_line(data_dir, capsys, ["stage1_mcq"], "--from_scratch", "stage3_cot")
    assert "--from_scratch stage3_cot is none of --stages: stage1_mcq" in error


def test_resume_skips_complete_stages(results: Path, data_dir: Path) -> None:
    log = stage_dir(results, "stage1_mcq") / "log.jsonl"
    before = log.stat().st_mtime_ns
    assert command(data_dir, ["stage1_mcq"], "--resume") == 0
    assert log.stat().st_mtime_ns == before


def test_a_folder_with_a_run_wants_to_be_told_what_to_do(
    results: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(results, tmp_path / "results")
    here = f"results_dir={tmp_path / 'results'}"
    folder = stage_dir(tmp_path / "results", "stage0_encoder")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "--resume continues" in fails_with_one_line(data_dir, capsys, ["stage0_encoder"], here)
    other = [here, "seed=5", "optim.lr_encoder=1.0"]
    for flags in ([], ["--resume"]):
        error = fails_with_one_line(data_dir, capsys, ["stage0_encoder"], *other, *flags)
        assert "seed: 0 -> 5" in error
        assert "optim.lr_encoder: 0.002 -> 1.0" in error
        assert "--overwrite" in error
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    (folder / "fold_1").mkdir()
    (folder / "notes.txt").write_text("mine")
    assert command(data_dir, ["stage0_encoder"], *other, "--overwrite") == 0
    assert load_checkpoint_config(folder / "checkpoints" / "best").seed == 5
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "fold_1").is_dir()


@pytest.mark.parametrize("flag", ["--resume", "--overwrite", "--eval_only"])
def test_a_second_process_is_refused_while_another_works_in_the_folder(
    flag: str, results: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = stage_dir(tmp_path, "stage0_encoder")
    shutil.copytree(stage_dir(results, "stage0_encoder"), folder)
    (folder / "results" / "metrics.json").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with hold_lock(folder / LOCK_FILE, "the run", datetime(2026, 1, 2, tzinfo=UTC)):
        assert command(data_dir, ["stage0_encoder"], f"results_dir={tmp_path}", flag) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"error: {folder} is in use by process {os.getpid()} on ")
    assert "which began at 2026-01-02T00:00:00+00:00" in error
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_full_disk_ends_a_run_with_one_line_and_it_goes_on_later(
    results: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture, full_disk: Any
) -> None:
    more = ["--from_scratch", f"results_dir={tmp_path}"]
    with full_disk(10_000):  # less than the weights, more than the log
        assert command(data_dir, ["stage0_encoder"], *more) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "checkpoints/best cannot be written" in error
    assert not list(tmp_path.rglob("*.partial"))
    assert command(data_dir, ["stage0_encoder"], *more, "--resume") == 0
    losses = [read_losses(stage_dir(folder, "stage0_encoder")) for folder in (tmp_path, results)]
    assert losses[0] == losses[1]


def test_how_a_run_is_carried_out_may_differ_when_it_goes_on(results: Path, data_dir: Path) -> None:
    free = ["train.log_every_steps=7", "train.checkpoint_every_min=1", "train.num_workers=0"]
    assert command(data_dir, ["stage1_mcq"], "--resume", *free) == 0


def read_losses(folder: Path) -> list[float]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record[key] for record in records for key in ("loss", "val_loss") if key in record]


def test_one_seed_gives_identical_losses_and_another_gives_others(data_dir: Path, tmp_path: Path) -> None:
    losses = []
    for run, seed in enumerate((1, 1, 2)):
        overrides = [f"seed={seed}", f"results_dir={tmp_path / str(run)}"]
        assert command(data_dir, ["stage4_sleep_cot"], "--from_scratch", *overrides) == 0
        losses.append(read_losses(tmp_path / str(run) / "tiny" / "soft_prompt" / "stage4_sleep_cot"))
    assert len(losses[0]) == 3
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def fails_with_one_line(data_dir: Path, capsys: Any, stages: list[str], *more: str) -> str:
    assert command(data_dir, stages, *more) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    return error


def test_a_missing_predecessor_is_the_command_to_run(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    more = [f"results_dir={tmp_path}", "stage.channel=EEG Fpz-Cz"]
    error = fails_with_one_line(data_dir, capsys, ["stage3_cot"], *more)
    wanted = f"accelerate launch curriculum/train.py --stages stage2_captioning --config {data_dir / 'small.yaml'}"
    assert wanted in error
    assert "--from_scratch" in error
    assert "'stage.channel=EEG Fpz-Cz'" in error


@pytest.mark.parametrize(
    ("stages", "more", "said"),
    [
        (["stage9_dreams"], [], "stage4_sleep_cot"),
        (["stage1_mcq"], ["train.batchsize=4"], "train.batch_size"),
        (["stage1_mcq"], ["--model", "gpt"], "soft_prompt"),
        (["stage1_mcq"], ["--llm", "smolm"], "smollm2-135m"),
        (["stage0_encoder"], ["stage.train_dir=nowhere"], "data_prep.prepare"),
        (["stage0_encoder"], ["stage.channel=EEG C4"], "EEG Fpz-Cz"),
        (["stage1_mcq"], ["--from_scratch", "stage.trained=[encodr]"], "encoder, projector"),
        (["stage1_mcq"], ["--from_scratch", "model.encoder.max_patches=1"], "model.encoder.max_patches"),
        (["stage1_mcq"], ["--model", "classifier", "--from_scratch"], "stage.task=night"),
        (["stage1_mcq"], ["stage.trained=[lora]", "model.lora.target_modules=[qkv_proj]"], "model.lora.target_modules"),
        (["stage1_mcq"], ["stage.max_new_tokens=4096"], "lower stage.max_new_tokens"),
        (["stage2_captioning"], ["--eval_only", "results_dir=nowhere"], "nowhere"),
    ],
)
def test_what_the_user_can_mend_is_exit_2_and_one_line(
    stages: list[str], more: list[str], said: str, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert said in fails_with_one_line(data_dir, capsys, stages, "--from_scratch", f"results_dir={tmp_path}", *more)


def test_a_wrong_stage_lists_the_stages(data_dir: Path, capsys: pytest.CaptureFixture) -> None:
    error = fails_with_one_line(data_dir, capsys, ["stage1_mcq", "stage9_dreams"])
    assert all(stage in error for stage in list_group("stage"))


def test_overrides_may_follow_the_stages() -> None:
    args = parse_args(["--stages", "stage1_mcq", "stage3_cot", "seed=3", "--llm", "tiny", "train.batch_size=2"])
    assert args.stages == ["stage1_mcq", "stage3_cot"]
    assert sorted(args.overrides) == ["seed=3", "train.batch_size=2"]


def test_help_is_quick_and_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from curriculum.train import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as done:\n    assert done.code == 0\n"
        "heavy = {'torch', 'transformers', 'accelerate', 'peft', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    after = os.times()
    assert done.returncode == 0, done.stderr
    assert "accelerate launch curriculum/train.py" in done.stdout
    assert "stage4_sleep_cot" in done.stdout
    assert after.children_user - before.children_user < 1.5  # processor time: the machine may be busy


def write_split(cohort_dir: Path, split: str) -> Path:
    """Four subjects, split by a rule of the library."""
    recordings = [small_recording(f"night{seed}", 40, seed, subject=f"s{seed}") for seed in range(4)]
    places = assign_splits([recording.subject for recording in recordings], split, 0)
    rows = []
    for recording in recordings:
        place = places[recording.subject]
        recording = split_by_epoch(recording) if place.rule == BY_EPOCH else recording
        rows.append(write_recording(recording, cohort_dir, place))
    write_participants(rows, cohort_dir)
    return cohort_dir


def test_a_language_model_without_encoder_is_trained_by_its_adapters_alone(data_dir: Path, tmp_path: Path) -> None:
    more = ["--from_scratch", "--model", "text_only", "model.digits.num_values=12", f"results_dir={tmp_path}"]
    assert command(data_dir, ["stage4_sleep_cot"], *more) == 0
    folder = tmp_path / "tiny" / "text_only" / "stage4_sleep_cot"
    model, config = load_checkpoint(folder / "checkpoints" / "best")
    assert config.model.kind.series_as == "digits" and config.model.digits.num_values == 12
    rows = read_predictions(folder / "results" / "test_predictions.jsonl")
    assert rows and all(len(row["probabilities"]) == 5 for row in rows)


def test_the_guides_device_and_gradient_checkpointing_are_options(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = ["--from_scratch", "--device", "cpu", "--gradient_checkpointing", f"results_dir={tmp_path}"]
    with caplog.at_level("INFO"):
        assert command(data_dir, ["stage4_sleep_cot"], *more) == 0
    folder = stage_dir(tmp_path, "stage4_sleep_cot")
    assert load_checkpoint_config(folder / "checkpoints" / "best").model.gradient_checkpointing
    start = json.loads((folder / "log.jsonl").read_text().splitlines()[0])
    counts = start["label_counts"]
    assert {split: sum(of_split.values()) for split, of_split in counts.items()} == {"train": 20, "val": 10}
    for split, of_split in counts.items():
        listed = ", ".join(
            f"{label} {count} ({100 * count / sum(of_split.values()):.1f} %)" for label, count in of_split.items()
        )
        assert f"{split}: {sum(of_split.values())} samples; {listed}" in caplog.text
    assert "test: 10 samples; Wake" in caplog.text


@pytest.mark.parametrize(
    ("device", "said"), [("tpu", "wanted cpu, cuda or cuda:N"), ("cuda:x", "wanted"), ("cuda:99", "CUDA GPUs")]
)
def test_a_device_that_is_not_there_is_an_error(
    device: str, said: str, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    more = ["--device", device, f"results_dir={tmp_path}"]
    assert said in fails_with_one_line(data_dir, capsys, ["stage0_encoder"], *more)


def test_each_fold_has_its_own_results_and_tests_its_own_subjects(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = f"stage.train_dir={write_split(tmp_path / 'folds', 'loso')}"
    for fold in (0, 3):
        assert command(data_dir, ["stage0_encoder"], data, f"results_dir={tmp_path}", f"stage.fold={fold}") == 0
        folder = tmp_path / "no_llm" / "classifier" / "stage0_encoder" / f"fold_{fold}" / "results"
        rows = read_predictions(folder / "test_predictions.jsonl")
        assert {row["recording"] for row in rows} == {f"night{fold}"}
        metrics = json.loads((folder / "metrics.json").read_text())
        assert (metrics["fold"], metrics["leaky"]) == (fold, False)
        assert f"stage0_encoder fold {fold}: accuracy" in capsys.readouterr().out
    assert "stage.fold=N" in fails_with_one_line(data_dir, capsys, ["stage0_encoder"], data)


def test_a_split_by_epoch_is_marked_in_every_output(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    data = [f"stage.train_dir={write_split(tmp_path / 'leaky', 'by_epoch')}", f"results_dir={tmp_path}"]
    stages = ["stage0_encoder", "stage4_sleep_cot"]
    assert command(data_dir, stages, "--from_scratch", *data) == 0
    printed = capsys.readouterr().out
    for stage in stages:
        folder = stage_dir(tmp_path, stage)
        rows = read_predictions(folder / "results" / "test_predictions.jsonl")
        assert all(row["leaky"] for row in rows)
        assert 0.05 * 160 < len(rows) < 0.15 * 160
        assert json.loads((folder / "results" / "metrics.json").read_text())["leaky"] is True
        assert json.loads((folder / "log.jsonl").read_text().splitlines()[0])["leaky"] is True
        assert f"LEAKY: {stage}" in caplog.text
        assert f"{stage}: LEAKY" in printed


def test_a_leak_is_found_before_anything_is_trained(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = [write_recording(small_recording("again", 10, 99, subject="subject of night2"), tmp_path / "test", "test")]
    write_participants(rows, tmp_path / "test")
    more = [f"stage.test_dir={tmp_path / 'test'}", f"results_dir={tmp_path / 'out'}"]
    error = fails_with_one_line(data_dir, capsys, ["stage0_encoder"], *more)
    assert "subject subject of night2 is in the training data of stage0_encoder" in error
    assert not (tmp_path / "out").exists()


def test_a_leak_through_the_run_that_a_stage_starts_from_is_found(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cohort = write_split(tmp_path / "shares", "50/25/25")
    more = [f"results_dir={tmp_path}", "stage.predecessor=stage0_encoder"]
    assert command(data_dir, ["stage0_encoder"], f"stage.train_dir={cohort}", more[0]) == 0
    trained = next(row for row in read_participants(cohort) if row.split.part == "train")
    path = cohort / f"{trained.recording}.parquet"
    others = [small_recording(name, 10, seed, subject=name) for seed, name in ((50, "x"), (51, "y"))]
    rows = [write_recording(other, tmp_path / "later", split) for other, split in zip(others, SPLITS, strict=False)]
    rows.append(write_recording(read_recording(path), tmp_path / "later", "test"))
    write_participants(rows, tmp_path / "later")
    error = fails_with_one_line(data_dir, capsys, ["stage4_sleep_cot"], f"stage.train_dir={tmp_path / 'later'}", *more)
    assert f"subject {trained.subject} is in the training data of stage0_encoder" in error


def test_what_a_run_inferred_is_no_other_setting_when_it_is_resumed() -> None:
    wanted = RunConfig()
    saved = replace(wanted, model=replace(wanted.model, fs_hz=100.0, epoch_s=30.0, typical_spectrum=(1.0, 2.0)))
    assert compare_settings(saved, wanted) == []
    assert compare_settings(saved, replace(wanted, seed=1)) == ["seed: 0 -> 1"]
