"""Inputs of a comparison: cohorts, channels, species, and the check for leaks between training and test."""

import argparse
from dataclasses import replace

from tslm.baselines.inputs import BaselineInputs, Nights, TextSettings
from tslm.config.schema import CurriculumStageConfig, RunConfig
from tslm.data.prepared.recordings import read_participants, read_recording
from tslm.data.splits.leakage import check_leakage
from tslm.evidence.muscle import find_emg_channel
from tslm.labels import LABEL_SETS, species_group
from tslm.predictions.stager import choose_device

LABEL_SET_OF_GROUP = {"human": "aasm", "rodent": "rodent"}


def build_inputs(arguments: argparse.Namespace) -> tuple[BaselineInputs, bool]:
    """Return the inputs of the baselines, and whether a split by epoch puts the same people into training and test.

    Raises:
        FileNotFoundError: there is no cohort.
        ValueError: a leak; cohorts of several species; no such channel, label set or fold.
    """
    curriculum_stage = CurriculumStageConfig(
        name="the baselines",
        task="night",
        train_dir=str(arguments.train),
        test_dir=str(arguments.data),
        fold=arguments.fold,
    )
    is_leaky = bool(check_leakage([RunConfig(stage=curriculum_stage)]))
    train, test = Nights(arguments.train, "train", ()), Nights(arguments.data, "test", ())
    groups = {}
    for nights in (train, test):
        found = {species_group(row.species) for row in read_participants(nights.cohort_dir)}
        if len(found) != 1:
            species = " and ".join(sorted(found)) or "no recordings"
            raise ValueError(f"{nights.cohort_dir} holds {species}; give a cohort of one species")
        groups[nights.cohort_dir] = found.pop()
    if len(set(groups.values())) != 1:
        found_groups = ", ".join(f"{folder} holds {group}s" for folder, group in groups.items())
        raise ValueError(f"training and test are of different kinds: {found_groups}")
    group = groups[arguments.data]
    name = arguments.label_set or LABEL_SET_OF_GROUP[group]
    if name not in LABEL_SETS:
        raise ValueError(f"unknown label set {name!r}; one of: {', '.join(LABEL_SETS)}")
    channels = _find_channels(replace(test, fold=arguments.fold), arguments)
    train, test = (replace(nights, channels=channels, fold=arguments.fold) for nights in (train, test))
    text = TextSettings(
        llm=arguments.llm,
        num_digit_values=arguments.digits,
        free_answers=arguments.free_answers,
        batch_size=arguments.batch_size,
        device=choose_device(arguments.device),
    )
    return BaselineInputs(train, test, LABEL_SETS[name], group, frozenset(), text, arguments.seed), is_leaky


def _find_channels(nights: Nights, arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the given channels; without a given EEG, the first channel whose name is neither an EOG's nor an EMG's."""
    name = next((night.recording for night in nights.read(with_signals=False)), None)
    if name is None:
        raise ValueError(f"{nights.cohort_dir} has no recording in split {nights.split!r}")
    has = list(read_recording(nights.cohort_dir / f"{name}.parquet").channels)
    found = [each for each in has if "eog" not in each.lower() and not find_emg_channel([each])]
    if not found and not arguments.channel:
        raise ValueError(f"{name} has no EEG among {', '.join(has)}; name one with --channel")
    channels = (arguments.channel or found[0], *arguments.extra_channels)
    if missing := [each for each in channels if each not in has]:
        raise ValueError(f"{name} of {nights.cohort_dir} has no channel {missing[0]!r}; it has: {', '.join(has)}")
    return channels
