"""Labels on the grid of epochs: epochs are cut where they were scored.

A label counts for the epochs whose middle it covers, so the file's epochs need not be the cohort's.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tslm.data.readers.hypnograms.config import HypnogramConfig
from tslm.data.readers.raw import Annotation
from tslm.hypnogram import SCORED
from tslm.labels import SleepStage

_LONGEST_S = 31 * 86400.0
_LEAST_SLACK_S = 0.5  # times are often rounded to seconds
_SLACK = 1 / 60  # of an epoch
_FITTING = 0.8  # share of labels that must begin on the grid
_MAX_NAMED = 5


@dataclass(frozen=True)
class Grid:
    """Where the epochs of a scorer lie."""

    origin_s: float  # start of the first whole epoch in the recording
    notes: tuple[str, ...] = ()


def build_sleep_stages(
    annotations: Sequence[Annotation],
    label_map: Mapping[str, SleepStage],
    config: HypnogramConfig,
    epoch_s: float,
    origin_s: float = 0.0,
) -> tuple[SleepStage | None, ...]:
    """Sleep stage of each epoch: that of the label which covers its middle, None where there is none.

    Where labels overlap, the later one in the file counts. Labels that `label_map` does not hold are ignored; without
    any other there is no epoch. Epochs begin at `origin_s`.

    Raises:
        ValueError: A label ends after more than a month.
    """
    labels = pick_labels(annotations, label_map, config)
    if not labels:
        return ()
    if config.until_next:
        labels = fill_durations(labels)
    silent_s = config.epoch_s or epoch_s
    spans = [
        (label.onset_s - origin_s, label.onset_s - origin_s + (label.duration_s or silent_s), label.text)
        for label in labels
    ]
    end_s = max(stop_s for _, stop_s, _ in spans)
    if not end_s <= _LONGEST_S:
        raise ValueError(f"a label ends at {end_s:g} s, more than a month after the start")
    sleep_stages: list[SleepStage | None] = [None] * max(0, round(end_s / epoch_s))
    for start_s, stop_s, text in spans:
        first, stop = (max(0, math.ceil(at_s / epoch_s - 0.5)) for at_s in (start_s, stop_s))
        stop = min(stop, len(sleep_stages))
        sleep_stages[first:stop] = [label_map[text]] * max(0, stop - first)
    return tuple(sleep_stages)


def pick_labels(
    annotations: Sequence[Annotation], label_map: Mapping[str, SleepStage], config: HypnogramConfig
) -> list[Annotation]:
    """The labels among annotations that are sleep stages of the cohort."""
    return [note for note in annotations if note.text in label_map and note.text not in config.ignore]


def fill_durations(labels: Sequence[Annotation], last_s: float = 0.0) -> list[Annotation]:
    """Labels without a duration last to the next one; the last keeps its own, or gets `last_s`."""
    ordered = sorted(labels, key=lambda label: label.onset_s)
    filled = [
        Annotation(label.onset_s, label.duration_s or following.onset_s - label.onset_s, label.text)
        for label, following in pairwise(ordered)
    ]
    return [*filled, replace(ordered[-1], duration_s=ordered[-1].duration_s or last_s)]


def complete_durations(
    labels: Sequence[Annotation], config: HypnogramConfig, epoch_s: float, duration_s: float
) -> tuple[list[Annotation], list[str]]:
    """Durations of labels that state none, and what was concluded.

    Onsets at equal steps are epochs. Labels that change from each to the next are bouts, which last to the next one;
    the last of them lasts to the end of the recording, but no longer than the longest before it.
    """
    silent_s = config.epoch_s or epoch_s
    if not labels or all(label.duration_s for label in labels):
        return list(labels), []
    ordered = sorted(labels, key=lambda label: label.onset_s)
    steps_s = [late.onset_s - early.onset_s for early, late in pairwise(ordered)]
    steps_s = [step_s for step_s in steps_s if step_s > 0]
    is_bare = not any(label.duration_s for label in labels)
    slack_s = find_slack(silent_s)
    least_s = min(steps_s, default=silent_s)
    changes = all(early.text != late.text for early, late in pairwise(ordered))
    is_even = sum(abs(step_s - least_s) <= slack_s for step_s in steps_s) >= _FITTING * len(steps_s)
    if config.until_next or (is_bare and changes and len(ordered) > 2 and not is_even):
        longest_s = max(steps_s, default=silent_s)
        rest_s = duration_s - ordered[-1].onset_s
        last_s = rest_s if silent_s <= rest_s <= max(longest_s, silent_s) else silent_s
        notes = [] if config.until_next else ["labels state no duration and change each time: each lasts to the next"]
        if last_s > 1.5 * silent_s:
            notes.append(f"the last label is taken to last to the end of the recording, {last_s:g} s")
        return fill_durations(ordered, last_s), notes
    if is_bare and is_even and not config.epoch_s and abs(least_s - silent_s) > slack_s and least_s < silent_s:
        return [replace(label, duration_s=least_s) for label in labels], [f"a label each {least_s:g} s"]
    return [replace(label, duration_s=label.duration_s or silent_s) for label in labels], []


def find_slack(step_s: float) -> float:
    """Seconds by which a label may begin beside the grid."""
    return min(max(_LEAST_SLACK_S, _SLACK * step_s), step_s / 4)


def find_grid(labels: Sequence[Annotation], config: HypnogramConfig, epoch_s: float) -> Grid:
    """The grid on which most labels begin.

    Args:
        labels: With durations, from the recording's first sample.
        config: Its `epoch_s` is the length of the scorer's epochs, if stated.
        epoch_s: Length of an epoch of the cohort.

    Raises:
        ValueError: Labels begin on no grid of that length.
    """
    step_s = config.epoch_s or epoch_s
    found = _vote(labels, step_s)
    note = ""
    if found is None and not config.epoch_s:
        commonest_s = Counter(round(label.duration_s, 3) for label in labels).most_common(1)[0][0]
        if 0 < commonest_s < epoch_s and (found := _vote(labels, commonest_s)) is not None:
            step_s = commonest_s
            note = f"scored in epochs of {step_s:g} s; an epoch has the label at its middle"
    if found is None:
        beside = ", ".join(f"{label.onset_s:g} s" for label in labels[:_MAX_NAMED])
        raise ValueError(
            f"its labels begin on no grid of {step_s:g} s ({beside}, ...); state the length of the scorer's epochs in "
            "hypnogram.epoch_s (1: labels begin at any second, and an epoch has the label at its middle)"
        )
    origin_s, num_beside = found
    notes = [note] if note else []
    if num_beside:
        notes.append(
            f"{num_beside} of {len(labels)} labels begin beside the grid; an epoch has the label at its middle"
        )
    return Grid(origin_s, tuple(notes))


def _vote(labels: Sequence[Annotation], step_s: float) -> tuple[float, int] | None:
    """Origin that most labels share and the number of those beside it; None where too few share one."""
    slack_s = find_slack(step_s)
    rests_s = [label.onset_s % step_s for label in labels]

    def distance_s(one_s: float, two_s: float) -> float:
        return abs((one_s - two_s + step_s / 2) % step_s - step_s / 2)

    exact = Counter(round(rest_s, 3) % step_s for rest_s in rests_s)
    near = {
        rest_s: sum(n for other_s, n in exact.items() if distance_s(rest_s, other_s) <= slack_s) for rest_s in exact
    }
    best_s = max(near, key=lambda rest_s: (near[rest_s], exact[rest_s], -rest_s))
    if near[best_s] < _FITTING * len(labels):
        return None
    if distance_s(best_s, 0.0) <= slack_s:
        best_s = 0.0
    return best_s, len(labels) - sum(distance_s(best_s, rest_s) <= 2 * slack_s for rest_s in rests_s)


def check_one_label(
    labels: Sequence[Annotation], label_map: Mapping[str, SleepStage], config: HypnogramConfig, epoch_s: float
) -> list[Annotation]:
    """Labels of one scorer; ValueError where an epoch has two different sleep stages and nothing chooses."""
    if config.scorer.isdigit():
        labels = _pick_by_order(labels, int(config.scorer), epoch_s)
    ordered = sorted(labels, key=lambda label: label.onset_s)
    apart = []
    reach_s, latest = -math.inf, None
    for label in ordered:
        if latest is not None and min(reach_s, label.onset_s + label.duration_s) - label.onset_s >= epoch_s / 2:
            one, two = label_map[latest.text], label_map[label.text]
            if one is not two and one in SCORED and two in SCORED:
                apart.append((latest, label))
        if label.onset_s + label.duration_s > reach_s:
            reach_s, latest = label.onset_s + label.duration_s, label
    if not labels:
        raise ValueError(f"no label is left by hypnogram.scorer={config.scorer}; choose another")
    if apart:
        early, late = apart[0]
        raise ValueError(
            f"{len(apart)} labels contradict another of the same time, first {early.text!r} and {late.text!r} at "
            f"{late.onset_s:g} s; choose with hypnogram.scorer (1: the first of an epoch in the file, 2: the second) "
            "or leave one label out with hypnogram.ignore"
        )
    return list(labels)


def _pick_by_order(labels: Sequence[Annotation], number: int, epoch_s: float) -> list[Annotation]:
    seen: Counter[int] = Counter()
    picked = []
    for label in labels:
        place = round(label.onset_s / epoch_s)
        seen[place] += 1
        if seen[place] == number:
            picked.append(label)
    return picked
