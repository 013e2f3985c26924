import os
import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from evaluation.generate import main
from tests.factories.small import (
    CHANNEL,
    build_small_model,
    small_config,
    small_recording,
    split_by_epoch,
    write_small_cohort,
)
from tslm.data.prepared.recordings import read_participants, write_participants, write_recording
from tslm.data.splits.split import BY_EPOCH, Split
from tslm.file_lock import hold_lock
from tslm.predictions.epoch_writer import EpochWriter
from tslm.predictions.journal import PredictionJournal
from tslm.predictions.rows import read_predictions
from tslm.predictions.scorings import parse_row_answer
from tslm.training.checkpoints.checkpoint import save_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A classifier that was trained on the small cohort in `trained`."""
    cohort = str(write_small_cohort(tmp_path / "trained"))
    config = small_config(
        model__name="classifier",
        stage__task="night",
        stage__trained=("encoder", "classifier"),
        stage__train_dir=cohort,
    )
    save_checkpoint(build_small_model(config), config, {}, tmp_path / "best")
    return tmp_path / "best"


def generate(checkpoint: Path, data_dir: Path, *more: str) -> int:
    out = str(checkpoint.parent / "p.jsonl")
    return main(["--checkpoint", str(checkpoint), "--data", str(data_dir), "--out", out, "--device", "cpu", *more])


def test_every_epoch_of_the_split_is_answered(checkpoint: Path, tmp_path: Path) -> None:
    assert generate(checkpoint, tmp_path / "trained") == 0
    rows = read_predictions(tmp_path / "p.jsonl")
    assert [(row["recording"], row["epoch_idx"], row["leaky"]) for row in rows] == [
        ("night4", epoch, False) for epoch in range(10)
    ]


def test_channels_beside_the_first_are_the_ones_trained_on_or_those_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = write_small_cohort(tmp_path / "trained")
    config = small_config(
        model__name="classifier",
        stage__task="night",
        stage__extra_channels=("EMG",),
        stage__trained=("encoder", "classifier"),
        stage__train_dir=str(cohort),
    )
    save_checkpoint(build_small_model(config), config, {}, tmp_path / "best")
    answers = []
    for more in ([], ["--extra_channels", "EMG"], ["--channel", "EMG", "--extra_channels", CHANNEL]):
        assert generate(tmp_path / "best", cohort, *more) == 0
        answers.append([row["probabilities"] for row in read_predictions(tmp_path / "p.jsonl")])
    assert answers[0] == answers[1] != answers[2]
    for more, said in (
        (["--extra_channels"], "1 channels were given; the checkpoint was trained with: "),
        (["--extra_channels", "EOG"], "'EOG'"),
    ):
        assert generate(tmp_path / "best", cohort, *more) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]


def test_an_encoder_that_only_fills_in_is_refused_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = write_small_cohort(tmp_path / "trained")
    config = small_config(
        model__name="masked_encoder",
        stage__task="unlabelled",
        stage__trained=("encoder",),
        stage__train_dir=str(cohort),
    )
    save_checkpoint(build_small_model(config), config, {}, tmp_path / "best")
    assert generate(tmp_path / "best", cohort) == 2
    assert (
        "train stage0_encoder from it, with stage.predecessor=stage0_masked" in capsys.readouterr().err.splitlines()[-1]
    )


def test_people_the_checkpoint_was_trained_on_are_no_test(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = write_small_cohort(tmp_path / "other")
    write_participants([replace(row, split=Split("test")) for row in read_participants(cohort)], cohort)
    assert generate(checkpoint, cohort) == 2
    assert "error: subject subject of night1 is in the training data" in capsys.readouterr().err
    assert not (tmp_path / "p.jsonl").exists()
    assert generate(checkpoint, tmp_path / "trained", "--split", "train") == 0
    assert {row["recording"] for row in read_predictions(tmp_path / "p.jsonl")} == {"night1", "night2"}


@pytest.fixture
def writer(tmp_path: Path, tiny_llm: Path) -> Path:
    """A language model that was trained on the small cohort in `trained`."""
    cohort = str(write_small_cohort(tmp_path / "trained"))
    config = small_config(tiny_llm, stage__train_dir=cohort, stage__max_new_tokens=30)
    save_checkpoint(build_small_model(config, lora_noise=0.1), config, {}, tmp_path / "best")
    return tmp_path / "best"


def test_verified_texts_keep_answers_and_first_texts_and_the_command_counts_the_changed_ones(
    writer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert generate(writer, tmp_path / "trained") == 0
    plain = read_predictions(tmp_path / "p.jsonl")
    false = "Low amplitude, RMS 999 uV."  # said of every epoch, in every text
    explain = EpochWriter._explain
    monkeypatch.setattr(
        EpochWriter,
        "_explain",
        lambda *arguments: [each | {"generated": f"{false} {each['generated']}"} for each in explain(*arguments)],
    )
    assert generate(writer, tmp_path / "trained", "--verify") == 0
    verified = read_predictions(tmp_path / "p.jsonl")
    assert "10 predictions (10 texts written again, 10 with a struck sentence)" in capsys.readouterr().out
    for row, first in zip(verified, plain, strict=True):
        assert (row["first_generated"], row["tries"]) == (f"{false} {first['generated']}", 3)
        assert false in "".join(sentence for _, sentence in row["struck"])
        assert parse_row_answer(row) == parse_row_answer(first)
        assert row["probabilities"] == first["probabilities"]


def test_sampled_texts_depend_on_the_seed_and_the_first_of_several_is_scored(writer: Path, tmp_path: Path) -> None:
    data, drawn = tmp_path / "trained", []
    for more in (["--seed", "7"], ["--seed", "7"], ["--seed", "8"]):
        assert generate(writer, data, "--temperature", "1.5", "--num_texts", "3", *more) == 0
        drawn.append(read_predictions(tmp_path / "p.jsonl"))
    assert drawn[0] == drawn[1]
    assert [row["texts"] for row in drawn[0]] != [row["texts"] for row in drawn[2]]
    for row in drawn[0]:
        assert row["generated"] == row["texts"][0]
        assert len(set(row["texts"])) > 1
        assert row["sampling"] == {"temperature": 1.5, "top_p": 1.0, "seed": 7}


def test_without_a_temperature_texts_are_the_likeliest_ones_and_a_low_top_p_leaves_no_others(
    writer: Path, tmp_path: Path
) -> None:
    assert generate(writer, tmp_path / "trained") == 0
    greedy = read_predictions(tmp_path / "p.jsonl")
    assert generate(writer, tmp_path / "trained", "--temperature", "1.5", "--top_p", "1e-9") == 0
    sampled = read_predictions(tmp_path / "p.jsonl")
    assert [row["generated"] for row in sampled] == [row["generated"] for row in greedy]
    assert "sampling" not in greedy[0] and "texts" not in sampled[0]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--temperature", "-1"], "--temperature -1: wanted 0"),
        (["--temperature", "nan"], "--temperature nan"),
        (["--temperature", "1", "--top_p", "0"], "--top_p 0: wanted a probability"),
        (["--temperature", "1", "--num_texts", "0"], "--num_texts 0: wanted 1"),
        (["--num_texts", "2"], "give --temperature"),
        (["--seed", "1"], "give --temperature"),
        (["--temperature", "1", "--verify"], "leave out --no_rationale"),
        (["--temperature", "1", "--no_rationale"], "leave out --no_rationale"),
    ],
)
def test_options_of_sampling_that_cannot_be_are_refused(
    more: list[str], said: str, writer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(writer, tmp_path / "trained", *more) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_only_rationales_that_end_in_an_option_can_be_verified(
    writer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ("--no_rationale", "--free_answers"):
        assert generate(writer, tmp_path / "trained", "--verify", more) == 2
        assert "--verify checks rationales" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "p.jsonl").exists()


def test_a_classifier_has_no_text_to_verify(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(checkpoint, tmp_path / "trained", "--verify") == 2
    assert "a classifier writes no text" in capsys.readouterr().err.splitlines()[-1]


def test_inputs_name_the_system_and_are_refused_where_there_is_nothing_to_choose(
    checkpoint: Path, tiny_llm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(checkpoint, tmp_path / "trained", "--inputs", "series") == 2
    assert "a classifier writes no text" in capsys.readouterr().err.splitlines()[-1]
    for folder, changes in (("asks", {"stage__task": "choice"}), ("reads", {})):
        config = small_config(tiny_llm, stage__train_dir=str(tmp_path / "trained"), **changes)
        save_checkpoint(build_small_model(config), config, {}, tmp_path / folder)
    assert generate(tmp_path / "asks", tmp_path / "trained", "--inputs", "series") == 2
    assert "the task choice has none" in capsys.readouterr().err.splitlines()[-1]
    assert generate(tmp_path / "reads", tmp_path / "trained", "--inputs", "facts") == 2  # trained without facts
    assert "leaves nothing to read" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "p.jsonl").exists()
    assert generate(tmp_path / "reads", tmp_path / "trained", "--inputs", "series", "--num_samples", "2") == 0
    rows = read_predictions(tmp_path / "p.jsonl")
    assert {(row["system"], row["inputs"]) for row in rows} == {("language_model:series", "series")}


def test_a_split_by_epoch_marks_every_answer(checkpoint: Path, tmp_path: Path) -> None:
    recording = split_by_epoch(small_recording("night1", 60))
    write_participants([write_recording(recording, tmp_path / "leaky", BY_EPOCH)], tmp_path / "leaky")
    assert generate(checkpoint, tmp_path / "leaky") == 0
    rows = read_predictions(tmp_path / "p.jsonl")
    assert 2 <= len(rows) <= 12
    assert all(row["leaky"] for row in rows)


@pytest.fixture
def stop_after_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C when the first block is on disk and part of the second; a call that is resumed runs to its end."""
    append = PredictionJournal.append

    def append_or_stop(journal: PredictionJournal, rows: list) -> None:
        if journal.num_blocks == 1:
            with journal.partial.open("a") as file:
                file.write('{"system": "classifier", "sam}')
            raise KeyboardInterrupt
        append(journal, rows)

    monkeypatch.setattr(PredictionJournal, "append", append_or_stop)


MODES = {
    "classifier": ("checkpoint", ["--split", "train"]),
    "texts": ("writer", ["--batch_size", "4"]),
    "answers": ("writer", ["--batch_size", "4", "--no_rationale"]),
    "verified": ("writer", ["--batch_size", "1", "--verify"]),
    "sampled": ("writer", ["--batch_size", "4", "--temperature", "1.5", "--num_texts", "2"]),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_call_that_was_stopped_goes_on_and_leaves_the_bytes_of_one_that_was_not(
    mode: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fixture, more = MODES[mode]
    model, out = request.getfixturevalue(fixture), tmp_path / "p.jsonl"
    assert generate(model, tmp_path / "trained", *more) == 0
    whole = out.read_bytes()
    assert [path.name for path in tmp_path.glob("p.jsonl*")] == ["p.jsonl"]
    request.getfixturevalue("stop_after_a_block")
    assert generate(model, tmp_path / "trained", *more) == 1
    assert capsys.readouterr().err.splitlines()[-1] == ("error: interrupted; the same command with --resume goes on")
    assert out.read_bytes() == whole  # the last whole file stays
    assert generate(model, tmp_path / "trained", *more) == 2
    assert "--resume goes on with them" in capsys.readouterr().err.splitlines()[-1]
    assert generate(model, tmp_path / "trained", *more, "--resume", "--num_samples", "9") == 2
    assert "num_samples: 0 -> 9" in capsys.readouterr().err.splitlines()[-1]
    out.unlink()
    request.getfixturevalue("monkeypatch").undo()
    assert generate(model, tmp_path / "trained", *more, "--resume") == 0
    assert out.read_bytes() == whole
    assert [path.name for path in tmp_path.glob("p.jsonl*")] == ["p.jsonl"]


def test_what_would_fail_at_the_end_fails_before_anything_is_answered(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tslm.predictions.stager.open_stager", None)  # is not called
    arguments = ["--checkpoint", str(checkpoint), "--data", str(tmp_path / "trained"), "--device", "cpu"]
    (tmp_path / "file").write_text("")
    for out, said in ((tmp_path, "is a folder; give a file"), (tmp_path / "file" / "p.jsonl", "file")):
        assert main([*arguments, "--out", str(out)]) in (1, 2)
        assert said in capsys.readouterr().err
    table = tmp_path / "trained" / "participants.tsv"
    table.write_text(table.read_text() + table.read_text().splitlines()[-1] + "\n")
    assert main([*arguments, "--out", str(tmp_path / "p.jsonl")]) == 2
    assert "recording 'night4' stands in 2 rows; keep one of them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "said"),
    [("cuda:99", "--device cuda:99: there is no such device"), ("gpu", "wanted cpu, cuda or cuda:N")],
)
def test_a_device_that_is_not_there_is_one_line(
    device: str, said: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(checkpoint, tmp_path / "trained", "--device", device) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_second_call_with_the_same_out_is_refused_while_the_first_runs(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with hold_lock(tmp_path / "p.jsonl.lock", "p.jsonl", datetime(2026, 1, 2, tzinfo=UTC)):
        for more in ([], ["--resume"]):
            assert generate(checkpoint, tmp_path / "trained", *more) == 1
            said = capsys.readouterr().err.splitlines()[-1]
            assert f"process {os.getpid()} on {socket.gethostname()}, which began at 2026-01-02" in said
    assert generate(checkpoint, tmp_path / "trained") == 0


def test_a_cohort_of_animals_is_not_answered_by_a_model_of_people(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    night = replace(small_recording("m1", seed=9), species="mouse", subject="m1")
    write_participants([write_recording(night, tmp_path / "mice", "test")], tmp_path / "mice")
    assert generate(checkpoint, tmp_path / "mice", "--channel", "EMG") == 2
    assert "is of a mouse, and the model gives the sleep stages of a human" in capsys.readouterr().err
    assert not (tmp_path / "p.jsonl").exists()


def test_channels_that_are_not_those_of_the_training_are_said(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    cohort = tmp_path / "trained"
    assert generate(checkpoint, cohort, "--channel", "EMG") == 0
    assert f"'EMG' is read as {CHANNEL!r}, but is EMG" in caplog.text
    assert generate(checkpoint, cohort, "--extra_channels", "EMG") == 2
    assert f"2 channels were given; the checkpoint was trained with: {CHANNEL}" in capsys.readouterr().err
