"""Edited epochs answered by a language model, beside the same epochs unedited.

1. draw the epochs of an edit, and keep those whose effect the detectors confirm      (draw_cases)
2. cut each out of its night with the neighbours that the model reads, edited or not  (_cut_out)
3. answer them all at once; references are those of the unedited nights               (_answer)
4. compare text and answer before and after                                           (outcomes)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np

from tslm.answers.grammar import parse_answer, split_response
from tslm.config.schema import RunConfig
from tslm.data.evidence import read_evidence
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.dataset import find_task, has_facts_line
from tslm.data.samples.recordings_dataset import SleepDataset
from tslm.data.samples.references import measure_references
from tslm.evidence.criteria import Facts
from tslm.explain.claims.read import read_claims
from tslm.explain.interventions.edits import EDITS, Change, Condition, Edit, apply_facts, read_facts
from tslm.explain.interventions.effects import HUMAN_STAGES
from tslm.explain.interventions.outcomes import Answer, Outcome, describe_edit
from tslm.explain.interventions.rationale_edits import RATIONALE_EDITS, RationaleEdit, Replacement, Written
from tslm.labels import LABEL_SETS, SleepStage, species_group
from tslm.predictions.rows import PredictionRow
from tslm.scoring.intervals import DEFAULT_RESAMPLING, Resampling
from tslm.seeds import hash_seed

EDIT_NAMES = (*(edit.name for edit in EDITS), *(edit.name for edit in RATIONALE_EDITS))


class Writer(Protocol):
    """What is intervened on; `tslm.predictions.epoch_writer.EpochWriter` is one."""

    config: RunConfig

    def answer(
        self, source: Any, units: Sequence[int], explain: bool = True, *, show_progress: bool = False
    ) -> Iterator[PredictionRow]:
        """Rows with a rationale, in the order of `units`."""

    def answer_after(
        self, source: Any, rationales: Mapping[int, str], show_progress: bool = False
    ) -> Iterator[PredictionRow]:
        """Rows answered after given rationales, in their order."""


# What the prompts of a checkpoint hold -> the conditions that they allow.
_ALLOWED = {"all": tuple(Condition), "series": (Condition.SERIES,), "facts": (Condition.FACTS,)}


def run_interventions(
    writer: Writer,
    nights: Sequence[Recording],
    *,
    edits: Sequence[str] = EDIT_NAMES,
    conditions: Sequence[str] = (),
    num_epochs: int = 60,
    seed: int = 0,
    resampling: Resampling = DEFAULT_RESAMPLING,
    show_progress: bool = False,
    done: Sequence[Mapping[str, Any]] = (),
    keep: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Measure for each edit and condition how often the text, and the answer, follow.

    Args:
        writer: a language model that stages people's sleep, with constrained answers.
        nights: prepared recordings that it was not trained on, the EEG first among their channels.
        edits: names of rows of EDITS and RATIONALE_EDITS.
        conditions: names of `Condition`; empty: all that the checkpoint's prompts allow.
        num_epochs: largest number of epochs an edit.
        seed: of the draws of epochs and edits.
        resampling: of the intervals, over subjects.
        show_progress: whether bars are shown.
        done: rows of an earlier call with the same arguments, which are not measured again.
        keep: called with each new row as soon as it is measured.

    Returns:
        A row for each edit and condition, as `outcomes.describe_edit` gives it.

    Raises:
        ValueError: an unknown edit or condition, one that the prompts do not allow, no night, nights of animals, or a
            label set other than that of people.
    """
    chosen = check_edits(writer.config, edits, conditions)
    _check_nights(nights)
    answerer = _Answerer(writer, nights, seed, show_progress)
    rows = [dict(row) for row in done]
    whole = dict.fromkeys(_whole_prompt(condition) for condition in chosen)
    steps: list[tuple[Edit | RationaleEdit, Condition]] = [
        *((edit, one) for edit in EDITS if edit.name in edits for one in edit.conditions if one in chosen),
        *((change, one) for one in whole for change in RATIONALE_EDITS if change.name in edits),
    ]
    for edit, condition in steps[len(rows) :]:
        if isinstance(edit, RationaleEdit):
            outcomes, num_skipped = answerer.edit_rationales(edit, condition, num_epochs)
            effects = ("", edit.answer)
        else:
            cases, num_skipped = answerer.draw_cases(edit, num_epochs)
            outcomes, effects = answerer.edit_epochs(edit, cases, condition), (edit.effect.claim, edit.effect.answer)
        rows.append(describe_edit(edit.name, edit.what, condition, *effects, outcomes, num_skipped, resampling))
        if keep is not None:
            keep(rows[-1])
    return rows


def _whole_prompt(condition: Condition) -> Condition:
    """The condition whose prompts are the same where nothing is edited."""
    return Condition.ALL if condition == Condition.FACTS else condition


def check_edits(config: RunConfig, edits: Sequence[str], conditions: Sequence[str]) -> tuple[Condition, ...]:
    """The conditions to run: where none is named, all that the checkpoint's prompts allow.

    Raises:
        ValueError: as `run_interventions`, of the checkpoint and the names.
    """
    for kind, names, known in (("edit", edits, EDIT_NAMES), ("condition", conditions, tuple(Condition))):
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"unknown {kind} {unknown[0]!r}; one of: {', '.join(known)}")
    if not find_task(config.stage).stages_sleep:
        raise ValueError(f"this checkpoint was trained for stage.task={config.stage.task}; give one that stages sleep")
    if not set(HUMAN_STAGES) <= set(LABEL_SETS[config.model.label_set].sleep_stages):
        raise ValueError(
            f"interventions are on the sleep of people; this checkpoint's label set is {config.model.label_set!r}"
        )
    given = config.stage.inputs if has_facts_line(config.stage) else "series"
    allowed = _ALLOWED[given]
    chosen = tuple(Condition(name) for name in conditions) or allowed
    if refused := [condition for condition in chosen if condition not in allowed]:
        raise ValueError(
            f"condition {refused[0].value!r}: this checkpoint's prompts hold {given} alone; choose {', '.join(allowed)}"
        )
    return chosen


def _check_nights(nights: Sequence[Recording]) -> None:
    if not nights:
        raise ValueError("there is no night to intervene on; give a cohort of prepared nights with a test split")
    if animals := [night.recording for night in nights if species_group(night.species) != "human"]:
        raise ValueError(f"{animals[0]} is of an animal; spindles and alpha are edited as the human scalp shows them")


@dataclass(frozen=True)
class _Case:
    """One epoch of a night, edited."""

    night: int
    epoch: int
    facts: Facts  # before
    change: Change | None = None


class _Answerer:
    """Answers of a writer to epochs of nights, edited or not; unedited ones are answered once a prompt."""

    def __init__(self, writer: Writer, nights: Sequence[Recording], seed: int, show_progress: bool) -> None:
        self.writer, self.seed, self.show_progress = writer, seed, show_progress
        stage, context = writer.config.stage, writer.config.model.context
        self.reach = context.window_epochs // 2 if context.sees_neighbours else 0
        self.label_set = LABEL_SETS[writer.config.model.label_set]
        self.references = [measure_references(night, writer.config) for night in nights]
        self.nights = [
            replace(
                night,
                channels={name: night.channels[name] for name in stage.channels if name in night.channels},
                columns={**night.columns, **read_evidence(night, stage.channel)},
                measured_channel=stage.channel,
            )
            for night in nights
        ]
        self._unedited: dict[Condition, dict[tuple[int, int], PredictionRow]] = {}
        self._drawn: dict[str, tuple[list[_Case], int]] = {}

    def draw_cases(self, edit: Edit, num_epochs: int) -> tuple[list[_Case], int]:
        """Epochs whose edit the detectors confirm, in time order, and how many they did not confirm; drawn once."""
        if edit.name in self._drawn:
            return self._drawn[edit.name]
        cases: list[_Case] = []
        num_skipped = 0
        for night, epoch in self._draw_epochs(edit.effect.sleep_stages):
            if len(cases) == num_epochs:
                break
            facts = read_facts(self.nights[night], epoch)
            if not edit.effect.applies(facts):
                continue
            rng = self._seed(edit.name, night, epoch)
            change = edit.change(self.nights[night], epoch, rng)
            if change is None or not edit.effect.is_confirmed(facts, apply_facts(facts, change)):
                num_skipped += 1
                continue
            cases.append(_Case(night, epoch, facts, change))
        drawn = sorted(cases, key=lambda case: (case.night, case.epoch)), num_skipped
        self._drawn[edit.name] = drawn
        return drawn

    def edit_epochs(self, edit: Edit, cases: Sequence[_Case], condition: Condition) -> list[Outcome]:
        """Texts and answers to edited epochs beside those to the same epochs unedited."""
        before = self._answer_unedited(cases, _whole_prompt(condition))
        after = self._answer(cases, condition)
        outcomes = []
        for case, *rows in zip(cases, before, after, strict=True):
            assert case.change is not None
            new_facts = apply_facts(case.facts, case.change)
            claimed = [edit.effect.is_claimed(read_claims(row["generated"]), case.facts, new_facts) for row in rows]
            expectation = edit.effect.expect(self.nights[case.night].sleep_stages[case.epoch], case.change.sleep_stage)
            answers = [self._read_answer(row) for row in rows]
            outcomes.append(Outcome(self.nights[case.night].subject, answers, expectation, claimed))
        return outcomes

    def edit_rationales(self, edit: RationaleEdit, condition: Condition, num_epochs: int) -> tuple[list[Outcome], int]:
        """Answers after replaced rationales beside those after the model's own, and how many could not be replaced."""
        drawn = [_Case(*place, {}) for place in self._draw_epochs(HUMAN_STAGES)[:num_epochs]]
        cases = sorted(drawn, key=lambda case: (case.night, case.epoch))
        written: dict[int, Written] = {}
        for number, row in enumerate(self._answer_unedited(cases, condition)):
            rationale, (stage, _) = split_response(row["generated"])[0], self._read_answer(row)
            if rationale and stage is not None:
                written[number] = Written(rationale, stage)
        replaced: dict[int, Replacement] = {}
        for number, own in written.items():
            others = [other for place, other in written.items() if place != number]
            rng = self._seed(edit.name, cases[number].night, cases[number].epoch)
            if (replacement := edit.change(own, others, rng)) is not None:
                replaced[number] = replacement
        dataset, units = self._build_dataset([cases[number] for number in replaced], condition)
        before, after = (
            list(self.writer.answer_after(dataset, dict(zip(units, texts, strict=True)), self.show_progress))
            for texts in (
                [written[number].rationale for number in replaced],
                [replacement.rationale for replacement in replaced.values()],
            )
        )
        outcomes = [
            Outcome(
                self.nights[cases[number].night].subject,
                [self._read_answer(row) for row in rows],
                replaced[number].expectation,
            )
            for number, *rows in zip(replaced, before, after, strict=True)
        ]
        return outcomes, len(cases) - len(replaced)

    def _draw_epochs(self, sleep_stages: Sequence[SleepStage]) -> list[tuple[int, int]]:
        """All (night, epoch) of these sleep stages in an order that changes night and stage at every step."""
        drawn = []
        for stage in sleep_stages:
            for number, night in enumerate(self.nights):
                epochs = np.flatnonzero([one == stage for one in night.sleep_stages])
                order = self._seed(stage, number).permutation(epochs)
                drawn.append([(number, int(epoch)) for epoch in order])
        return [place for places in zip_longest(*drawn) for place in places if place is not None]

    def _answer_unedited(self, cases: Sequence[_Case], condition: Condition) -> list[PredictionRow]:
        known = self._unedited.setdefault(condition, {})
        places = {(case.night, case.epoch): _Case(case.night, case.epoch, case.facts) for case in cases}
        missing = [case for place, case in places.items() if place not in known]
        rows = self._answer(missing, condition)
        known |= {(case.night, case.epoch): row for case, row in zip(missing, rows, strict=True)}
        return [known[case.night, case.epoch] for case in cases]

    def _answer(self, cases: Sequence[_Case], condition: Condition) -> list[PredictionRow]:
        dataset, units = self._build_dataset(cases, condition)
        return list(self.writer.answer(dataset, units, show_progress=self.show_progress))

    def _build_dataset(self, cases: Sequence[_Case], condition: Condition) -> tuple[SleepDataset, list[int]]:
        """Each case's epoch among its neighbours as a recording of its own, and the indices of these epochs."""
        config = self.writer.config
        if condition == Condition.SERIES:
            config = replace(config, stage=replace(config.stage, inputs="series"))
        cut = [self._cut_out(case, condition) for case in cases]
        references = [self.references[case.night] for case in cases]
        dataset = SleepDataset([night for night, _ in cut], config, "all", references=references)
        starts = np.cumsum([0, *(night.num_epochs for night, _ in cut)])
        return dataset, [int(start) + at for start, (_, at) in zip(starts, cut, strict=False)]

    def _cut_out(self, case: _Case, condition: Condition) -> tuple[Recording, int]:
        night = self.nights[case.night]
        part = slice(max(0, case.epoch - self.reach), case.epoch + self.reach + 1)
        at = case.epoch - part.start
        channels = {name: values_EL[part] for name, values_EL in night.channels.items()}
        columns = {name: values[part] for name, values in night.columns.items()}
        if case.change is not None:
            edited = case.change.channels if condition != Condition.FACTS else {}
            channels |= {name: _put(channels[name], at, values_L) for name, values_L in edited.items()}
            columns |= {name: _put(np.asarray(columns[name]), at, value) for name, value in case.change.facts.items()}
        cut = replace(
            night,
            channels=channels,
            columns=columns,
            sleep_stages=night.sleep_stages[part],
            onset_s=night.onset_s[part],
        )
        return cut, at

    def _read_answer(self, row: PredictionRow) -> Answer:
        answer = parse_answer(row["generated"], row["options"]) if "generated" in row else row["answer"]
        probabilities = row.get("probabilities")
        return Answer(
            self.label_set.from_answer(answer) if answer else None,
            dict(zip(self.label_set.sleep_stages, probabilities, strict=True)) if probabilities else {},
        )

    def _seed(self, *names: str | int) -> np.random.Generator:
        return np.random.default_rng(hash_seed(self.seed, *names))


def _put(values: np.ndarray, at: int, value: np.ndarray | float) -> np.ndarray:
    edited = values.copy()
    edited[at] = value
    return edited
