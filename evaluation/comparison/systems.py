"""Systems of a comparison: baselines, checkpoints and files of predictions. Answers are saved while they come."""

import argparse
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tslm.baselines.inputs import BaselineInputs, Nights, Scorer, UnfitNightsError
from tslm.config.checkpoint import load_checkpoint_config
from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import PARTICIPANTS_FILE
from tslm.files import hash_file, read_json, write_json
from tslm.predictions.rows import PredictionRow, read_predictions, write_predictions
from tslm.predictions.scorings import read_scorings
from tslm.predictions.smoothing import Smoothing, smooth_predictions
from tslm.predictions.transitions import fit_cohort_transitions
from tslm.predictions.truth import TrueEpoch, align_rows
from tslm.progress_bar import progress_bar

SAVE_EVERY_S = 30.0
_TEXT_BASELINES = ("text_digits", "text_evidence")
_MAX_NAMED = 5  # epochs in an error message
ROWS_AT_ONCE = 32  # that a checkpoint answers before they are saved


@dataclass(frozen=True)
class System:
    """A system to compare, before it has answered."""

    name: str
    kind: str  # baseline, checkpoint or file
    about: str
    fit: Callable[[BaselineInputs], Scorer] | None = None  # None: it has answered already
    settings: Mapping[str, Any] = field(default_factory=dict)  # that its answers depend on, beside the inputs
    reads_eeg_alone: bool = False  # reads only the first channel


@dataclass(frozen=True)
class Answered:
    """Answers of a system; without rows `note` gives the reason."""

    system: System
    rows: list[PredictionRow]  # of one system
    path: Path | None
    fit_s: float | None = None  # None: not measured here
    answer_s: float | None = None  # for all rows
    note: str = ""


def answer(system: System, inputs: BaselineInputs, folder: Path, resume: bool) -> Answered:
    """Answer the epochs by one system; rows are saved in `folder` as they come.

    With `resume`, saved answers with the same settings on the same data are reused.

    Raises:
        ValueError, OSError: what is wrong with the data, a checkpoint or a language model.
    """
    assert system.fit is not None
    if system.reads_eeg_alone:
        train, test = (replace(nights, channels=nights.channels[:1]) for nights in (inputs.train, inputs.test))
        inputs = replace(inputs, train=train, test=test)
    path, made_path = folder / f"{system.name}.jsonl", folder / f"{system.name}.json"
    partial_path = folder / f"{system.name}.part.jsonl"
    key = describe_inputs(inputs) | {"system": system.name, **system.settings}
    made = read_json(made_path) if resume else {}
    same = made.get("key") == json.loads(json.dumps(key))
    if same and path.is_file():
        return Answered(system, read_predictions(path), path, made["fit_s"], made["answer_s"])
    rows = read_predictions(partial_path) if same and partial_path.is_file() else []
    answer_s = float(made["answer_s"]) if rows else 0.0
    path.unlink(missing_ok=True)
    missing = inputs.sample_ids - {row["sample_id"] for row in rows}
    started = time.perf_counter()
    try:
        scorer = system.fit(replace(inputs, sample_ids=frozenset(missing)))
    except (ImportError, UnfitNightsError) as error:
        return Answered(system, [], None, note=str(error))
    fit_s = time.perf_counter() - started

    def save() -> None:
        if rows:
            write_predictions(rows, partial_path)
            write_json({"key": key, "fit_s": fit_s, "answer_s": answer_s}, made_path)

    previous_s, saved_at = answer_s, time.perf_counter()
    started = saved_at
    try:
        with progress_bar(total=len(inputs.sample_ids), initial=len(rows), desc=system.name, unit="epoch") as bar:
            for row in scorer():
                rows.append({**row, "system": system.name})
                bar.update()
                answer_s = previous_s + time.perf_counter() - started
                if time.perf_counter() - saved_at > SAVE_EVERY_S:
                    save()
                    saved_at = time.perf_counter()
    except UnfitNightsError as error:
        return Answered(system, [], None, note=str(error))
    finally:  # also after Ctrl-C
        save()
    partial_path.replace(path)
    return Answered(system, rows, path, fit_s, answer_s)


def describe_inputs(inputs: BaselineInputs) -> dict[str, Any]:
    """Inputs that the answers depend on, for JSON: content of the nights, channels, epochs and seed."""
    return {
        "train": _describe_nights(inputs.train),
        "test": _describe_nights(inputs.test),
        "label_set": inputs.label_set.name,
        "wanted": sorted(inputs.sample_ids),
        "seed": inputs.seed,
    }


def build_baseline_system(name: str, arguments: argparse.Namespace) -> System:
    """A baseline of BASELINES with its settings."""
    from tslm.baselines.table import BASELINES

    about, settings = BASELINES[name].about, dict[str, Any]()
    if name in _TEXT_BASELINES:
        settings = {key: getattr(arguments, key) for key in ("llm", "digits", "free_answers")}
        about += f" ({arguments.llm}{', free answers' if arguments.free_answers else ''})"
    return System(name, "baseline", about, BASELINES[name].fit, settings, name in _TEXT_BASELINES)


def check_rows(
    name: str, rows: Sequence[PredictionRow], truth: Mapping[str, TrueEpoch], compared: Collection[str]
) -> list[PredictionRow]:
    """Rows of the compared epochs in the order of the truth.

    Args:
        name: of the system, for messages.
        rows: its predictions, for all epochs of the truth or for exactly the compared ones; further rows without a
            reference answer, of epochs that no expert scored, are left out.
        truth: all epochs of the test nights (`tslm.predictions.truth.read_truth`).
        compared: sample_ids of the epochs to compare.

    Raises:
        ValueError: rows of other epochs, epochs without a row or with several, or another truth; the message names
            them.
    """
    sample_ids = [sample_id for sample_id in truth if sample_id in compared]
    rows = [row for row in rows if row["truth"] is not None or row["sample_id"] in truth]
    is_part = len(rows) == len(sample_ids) < len(truth)
    try:
        aligned = align_rows(rows, sample_ids if is_part else list(truth), "the test data")
    except ValueError as error:
        raise ValueError(f"{name}: {error}; systems are compared on the same epochs only") from error
    if other := [row["sample_id"] for row in aligned if row["truth"] not in (None, truth[row["sample_id"]]["truth"])]:
        raise ValueError(
            f"{name}: {len(other)} of {len(aligned)} epochs have another expert's stage than the test data: "
            f"{', '.join(other[:_MAX_NAMED])}; generate the predictions again, or name the data they are of"
        )
    return [row for row in aligned if row["sample_id"] in compared]


def read_file(name: str, path: Path) -> list[Answered]:
    """The systems of a file of predictions as they are; errors as `read_scorings`.

    The first one is called `name`, further ones `name:system`.
    """
    answered = []
    for idx, (system, scoring) in enumerate(read_scorings(path).items()):
        about = f"answers of {system.replace('_', ' ')}, read from {path}"
        answered.append(Answered(System(f"{name}:{system}" if idx else name, "file", about), [*scoring.rows], path))
    return answered


def smooth_answers(answered: Sequence[Answered], inputs: BaselineInputs, num_epochs: int, out: Path) -> list[Answered]:
    """Further systems: the same answers smoothed by the transitions of the training hypnograms (Viterbi).

    Raises:
        ValueError: answers without probabilities, or of only some of the `num_epochs` of the test nights.
    """
    if answered and len(inputs.sample_ids) < num_epochs:
        raise ValueError("--smooth needs all epochs of the nights; leave --max_epochs out")
    smoothed = []
    for one in (one for one in answered if one.rows):
        train = inputs.train
        chain = fit_cohort_transitions(train.cohort_dir, inputs.label_set, train.fold)
        rows = smooth_predictions(one.rows, Smoothing("hmm"), chain)
        name = f"{one.system.name}+hmm"
        path = out / "predictions" / f"{name}.jsonl"
        write_predictions(rows, path)
        about = f"{one.system.name}, smoothed by the transitions of the training hypnograms"
        smoothed.append(Answered(System(name, one.system.kind, about), rows, path, one.fit_s, one.answer_s))
    return smoothed


def build_checkpoint_system(name: str, checkpoint_dir: Path, with_rationale: bool, device: str) -> System:
    """A checkpoint that reads the channels it was trained with.

    Raises:
        FileNotFoundError, ValueError: there is no whole checkpoint.
    """
    from tslm.predictions.stager import check_answers
    from tslm.training.checkpoints.checkpoint import hash_checkpoint

    trained = load_checkpoint_config(checkpoint_dir)
    check_answers(trained, checkpoint_dir)
    weights = hash_checkpoint(checkpoint_dir)
    how = "" if not trained.writes_text else ", with rationales" if with_rationale else ", answers at once"
    about = f"{trained.model.name} checkpoint{how}"
    return System(
        name,
        "checkpoint",
        about,
        lambda inputs: _load_scorer(checkpoint_dir, trained, inputs, with_rationale, device),
        {"weights": weights, "with_rationale": with_rationale},
    )


def _load_scorer(
    checkpoint_dir: Path, trained: RunConfig, inputs: BaselineInputs, with_rationale: bool, device: str
) -> Scorer:
    from tslm.predictions.stager import find_test_leak, open_stager

    if trained.model.label_set != inputs.label_set.name:
        raise UnfitNightsError(
            f"{checkpoint_dir} answers {trained.model.label_set}, the comparison {inputs.label_set.name}"
        )
    test = inputs.test
    is_leaky = find_test_leak(trained, test.cohort_dir, test.fold)
    curriculum_stage = replace(trained.stage, test_dir=str(test.cohort_dir), fold=test.fold)
    stager = open_stager(checkpoint_dir, device, replace(trained, stage=curriculum_stage))

    def answer_rows() -> Iterator[PredictionRow]:
        for night in replace(test, channels=trained.stage.channels).read():
            epochs = [epoch for epoch in range(night.num_epochs) if night.name_epoch(epoch) in inputs.sample_ids]
            for row in stager.answer(night, epochs, with_rationale, ROWS_AT_ONCE):
                yield {**row, "leaky": True} if is_leaky else row

    return answer_rows


def _describe_nights(nights: Nights) -> dict[str, Any]:
    return {
        "participants": hash_file(nights.cohort_dir / PARTICIPANTS_FILE),  # it holds the checksum of every recording
        "split": nights.split,
        "channels": list(nights.channels),
        "fold": nights.fold,
    }
