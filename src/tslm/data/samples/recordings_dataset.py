"""Datasets of prepared recordings: epochs for a language model, windows of the night for a classifier."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tslm.answers.grammar import render_response
from tslm.batch import IGNORE_INDEX, Example, NightWindow, Reference, Series
from tslm.config.schema import STATING_FACTS, RunConfig
from tslm.data.cohorts.suitability import check_recordings
from tslm.data.events import recording_events
from tslm.data.evidence import find_prepared_evidence, read_evidence
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.corpus_dataset import one_hot
from tslm.data.samples.inputs import find_flagged, measure_inputs, normalize_inputs
from tslm.data.samples.night_windows import (
    augment_window,
    build_targets,
    choose_epochs,
    cut_sleep_stage_indices,
    cut_window,
    drop_channels,
    find_domains,
    index_sleep_stages,
)
from tslm.data.samples.references import ReferenceMeter, average_spectra, draw_excerpt, keep_excerpt
from tslm.evidence.events import MIN_FS_HZ, render_events
from tslm.evidence.measure import EVIDENCE_COLUMNS
from tslm.evidence.text.closing import render_closing, replace_closing
from tslm.evidence.text.facts_line import phrase_facts, render_facts_line
from tslm.evidence.words import epoch_facts
from tslm.labels import ANSWER_NAMES, LABEL_SETS, species_group
from tslm.prompts import (
    render_series_text,
    render_sleep_prompt,
)

References = Sequence[tuple[Reference | None, ...]]  # of each recording, those of its channels


class RecordingsDataset:
    """Samples around an epoch of prepared recordings: `samples` holds the position of each, (night, epoch).

    `references` are those of the recordings' channels, for parts of nights; None: measured on the recordings. With
    `varied`, for training, windows may be normalised as parts of shorter recordings (`augment.excerpt_share`).
    """

    samples: list[tuple[int, int]]
    window_epochs: int
    domains: tuple[str, ...] = ()  # sites that training tells apart

    def __init__(
        self,
        recordings: list[Recording],
        config: RunConfig,
        references: References | None = None,
        varied: bool = False,
    ) -> None:
        check_recordings(recordings, config.model)
        self.config, self.recordings, self.channels = config, recordings, config.stage.channels
        self.label_set = LABEL_SETS[config.model.label_set]
        self.sleep_stages = self.label_set.sleep_stages
        self.meters = [] if references else [ReferenceMeter(recording, config) for recording in recordings]
        # Of training's nights where the config does not know any yet.
        self.typical_spectrum = config.model.typical_spectrum or (average_spectra(self.meters) if varied else ())
        self.references = references or [meter.measure(self.typical_spectrum) for meter in self.meters]
        self.varied = varied
        self.measured_inputs = [measure_inputs(recording, config) for recording in recordings]
        self.inputs = [self._normalize_inputs(night) for night in range(len(recordings))]
        self.sleep_stage_idx = [index_sleep_stages(recording, self.label_set) for recording in recordings]
        if varied and config.stage.drop_flagged:
            for recording, idx_E in zip(recordings, self.sleep_stage_idx, strict=True):
                idx_E[find_flagged(recording, config.stage.drop_flagged)] = IGNORE_INDEX
        self.targets = build_targets(recordings, self.sleep_stage_idx, self.label_set, config.loss)

    def __len__(self) -> int:
        return len(self.samples)

    def count_classes(self) -> np.ndarray:
        """(num_classes,) scored epochs per class."""
        scored = np.concatenate(self.sleep_stage_idx)
        return np.bincount(scored[scored != IGNORE_INDEX], minlength=len(self.sleep_stages))

    def _draw_part(self, night: int, epoch: int) -> slice:
        """The part of a night that is taken for the recording around an epoch.

        A causal model knows nothing of the recording after the window.
        """
        share = self.config.augment.excerpt_share if self.varied else 0.0
        part = draw_excerpt(epoch, self.recordings[night].num_epochs, share)
        if not (self.config.model.context.causal and self.meters):
            return part
        return slice(part.start, min(part.stop, epoch + self.window_epochs // 2 + 1))

    def _measure_part(
        self, night: int, part: slice, log_gains_CG: np.ndarray | None = None
    ) -> tuple[Reference | None, ...]:
        if log_gains_CG is None and not self._is_part(night, part):
            return self.references[night]
        return self.meters[night].measure(self.typical_spectrum, part, log_gains_CG)

    def _is_part(self, night: int, part: slice) -> bool:
        return part != slice(0, self.recordings[night].num_epochs)

    def _normalize_inputs(self, night: int, part: slice = slice(None)) -> np.ndarray | None:
        measured_EF = self.measured_inputs[night]
        return None if measured_EF is None else normalize_inputs(measured_EF, self.config.model.inputs, part)

    def _cut_window(self, night: int, epoch: int, part: slice, references: tuple[Reference | None, ...]) -> NightWindow:
        window = cut_window(
            self.recordings[night],
            self.channels,
            self.sleep_stage_idx[night],
            epoch,
            self.window_epochs,
            references,
            self.targets[night],
            self._normalize_inputs(night, part) if self._is_part(night, part) else self.inputs[night],
        )
        return keep_excerpt(window, epoch, part) if self.varied else window


class SleepDataset(RecordingsDataset):
    """One sample per epoch that the label set can answer, with its neighbours in a window.

    `unscored` (`night_windows.UNSCORED`) adds epochs without an expert's sleep stage, which have no answer. With
    `varied`, for training, some prompts lack the facts, single facts, or the signal (`stage.facts_dropout`, ...).
    """

    def __init__(
        self,
        recordings: list[Recording],
        config: RunConfig,
        unscored: str = "none",
        varied: bool = False,
        references: References | None = None,
    ) -> None:
        super().__init__(recordings, config, references, varied)
        self.stage = config.stage
        self._evidence: dict[int, dict[str, np.ndarray]] = {}  # of the nights whose facts were asked for
        self.taught: list[np.ndarray] = []  # see `teach`
        self.style = config.stage.prompt_style
        self.text_channels = self.channels if config.stage.extra_in_text else self.channels[:1]
        context = config.model.context
        alone = 1 if context.kind == "epoch" else 0
        self.window_epochs = context.window_epochs if context.sees_neighbours else alone
        self.samples = [
            (night, int(epoch))
            for night, idx in enumerate(self.sleep_stage_idx)
            for epoch in choose_epochs(idx, unscored)
        ]
        self.class_idx = np.array([self.sleep_stage_idx[night][epoch] for night, epoch in self.samples], dtype=np.int64)

    def __getitem__(self, idx: int) -> Example:
        return self.build_example(*self.samples[idx])

    def teach(self, probabilities: list[np.ndarray]) -> None:
        """Let training responses end in a sleep stage drawn from these probabilities, (E, K) of each night.

        A language model that learns the labels of few nights also learns what tells the stages apart in them alone; one
        that learns the answers of its classifier reads the night's state as the classifier does (Hinton et al. 2015).
        """
        self.taught = probabilities

    def build_example(self, night: int, epoch: int) -> Example:
        """Any epoch of a night; one that is not scored has no answer."""
        recording = self.recordings[night]
        is_scored = self.sleep_stage_idx[night][epoch] != IGNORE_INDEX
        answer = ANSWER_NAMES[recording.sleep_stages[epoch]] if is_scored else ""
        inputs = self._draw_inputs()
        facts = self._state_facts(night, epoch) if inputs != "series" else ""
        prompt = render_sleep_prompt(self.label_set.answers, recording.epoch_s, self.style, facts)
        part = self._draw_part(night, epoch)
        references = self._measure_part(night, part)
        series = [
            self._series(recording, epoch, channel_idx, reference)
            for channel_idx, reference in enumerate(references[: len(self.text_channels)])
            if reference is not None
        ]
        window = self._cut_window(night, epoch, part, references) if self.window_epochs else None
        if self.varied and window is not None:
            window = drop_channels(window, self.config)
        return Example(
            sample_id=recording.name_epoch(epoch),
            pre_prompt=prompt.pre_prompt,
            series=tuple(series) if inputs != "facts" else (),
            post_prompt=prompt.post_prompt,
            response=self._respond(night, epoch, answer) if is_scored else "",
            answer=answer,
            options=self.label_set.answers,
            window=window,
            closings=self._list_closings(night, epoch) if facts else (),
            reads_night=inputs != "facts",
        )

    def describe(self, idx: int) -> dict[str, Any]:
        """Recording, subject, epoch, measured evidence and its events, and whether the split leaks."""
        night, epoch = self.samples[idx]
        recording = self.recordings[night]
        evidence = {name: float(values_E[epoch]) for name, values_E in self.read_evidence(night).items()}
        is_measured = evidence.keys() >= set(EVIDENCE_COLUMNS) and recording.fs_hz >= MIN_FS_HZ
        of_one = slice(epoch, epoch + 1)
        events = recording_events(recording, self.stage.channel, of_one) if is_measured else []
        return {
            "recording": recording.recording,
            "subject": recording.subject,
            "epoch_idx": int(epoch),
            "onset_s": float(recording.onset_s[epoch]),
            "evidence": evidence,
            "inputs": self.stage.prompt_inputs,
            **({"events": render_events(events[0])} if events else {}),
            "leaky": recording.split.leaks,
            **({"within_subject": True} if recording.split.is_within_subject else {}),
        }

    def count_sample_classes(self) -> np.ndarray:
        """(num_samples, num_classes): the class of the epoch that is asked about."""
        return one_hot(self.class_idx, len(self.sleep_stages))

    def read_evidence(self, night: int) -> dict[str, np.ndarray]:
        """Evidence of the staged channel of a night, (E,) each; none of a prepared night where nothing asks for it."""
        if night not in self._evidence:
            read = read_evidence if self.stage.prompt_inputs in STATING_FACTS else find_prepared_evidence
            self._evidence[night] = read(self.recordings[night], self.stage.channel)
        return self._evidence[night]

    def _respond(self, night: int, epoch: int, answer: str) -> str:
        """The response that is learned: the prepared rationale and the answer, or those of the stage that is taught."""
        rationale = _rationale(self.recordings[night], epoch)
        if self.varied and self.taught:
            closings = self._write_closings(night, epoch)
            taught = int((np.cumsum(self.taught[night][epoch]) <= _draw_uniform()).sum().clip(0, len(closings) - 1))
            if closings[taught]:
                rationale = replace_closing(rationale, closings[taught])
                answer = self.label_set.answers[taught]
        return render_response(rationale, answer)

    def _draw_inputs(self) -> str:
        """What the next prompt holds: all, facts or series."""
        inputs = self.stage.prompt_inputs
        if not (self.varied and inputs == "all"):
            return inputs
        draw = _draw_uniform()
        if draw < self.stage.facts_dropout:
            return "series"
        return "facts" if draw >= 1 - self.stage.series_dropout else "all"

    def _state_facts(self, night: int, epoch: int) -> str:
        facts = epoch_facts(self.read_evidence(night), epoch)
        group = species_group(self.recordings[night].species)
        names = [name for section in phrase_facts(facts, group) for name in section]
        left_out = [name for name in names if self.varied and _draw_uniform() < self.stage.fact_dropout]
        return render_facts_line(facts, group, left_out)

    def _list_closings(self, night: int, epoch: int) -> tuple[str, ...]:
        """Of each answer the closing that holds; none where the model is free, or where an answer has none."""
        if self.style != "brief" or self.stage.reasons == "free" or not self.stage.constrained:
            return ()
        closings = self._write_closings(night, epoch)
        return closings if all(closings) else ()

    def _write_closings(self, night: int, epoch: int) -> tuple[str, ...]:
        facts = epoch_facts(self.read_evidence(night), epoch)
        is_human = species_group(self.recordings[night].species) == "human"
        return tuple(render_closing(facts, sleep_stage, is_human) for sleep_stage in self.sleep_stages)

    def _series(self, recording: Recording, epoch: int, channel_idx: int, reference: Reference) -> Series:
        name = self.text_channels[channel_idx]
        values_L, unit = recording.channels[name][epoch], recording.units.get(name, "uV")
        text = render_series_text(name, float(values_L.mean()), float(values_L.std()), unit, self.style)
        return Series(values_L, text, reference, channel_idx)


class NightDataset(RecordingsDataset):
    """Windows of consecutive epochs for the classifier, half a window apart, so that each epoch has neighbours.

    With `augmented`, the signal of every window drawn is changed by `config.augment`. With `unlabelled`, windows
    without any scored epoch are samples too.
    """

    def __init__(
        self, recordings: list[Recording], config: RunConfig, augmented: bool = False, unlabelled: bool = False
    ) -> None:
        super().__init__(recordings, config, varied=augmented)
        self.augment = config.augment if augmented else None
        if unknown := [name for name in config.augment.electrode_loss_of if name not in self.channels]:
            raise ValueError(
                f"augment.electrode_loss_of names {unknown[0]!r}; the model reads: {', '.join(self.channels)}"
            )
        self.domains = find_domains(recordings, config.loss) if augmented else ()
        self.window_epochs = config.model.context.window_epochs if config.model.context.sees_neighbours else 1
        step = max(1, self.window_epochs // 2)
        self.samples = [
            (night, centre)
            for night, recording in enumerate(recordings)
            for centre in range(min(step // 2, recording.num_epochs // 2), recording.num_epochs, step)
            if unlabelled
            or (cut_sleep_stage_indices(recording, self.sleep_stage_idx[night], centre, self.window_epochs) >= 0).any()
        ]

    def __getitem__(self, idx: int) -> Example:
        night, centre = self.samples[idx]
        recording, part = self.recordings[night], self._draw_part(night, centre)
        log_gains_CG = self.meters[night].draw_gains(self.augment.amplifier_jitter) if self.augment else None
        window = self._cut_window(night, centre, part, self._measure_part(night, part, log_gains_CG))
        if self.domains:
            site = getattr(recording, self.config.loss.domain_by)
            window = replace(window, domain_idx=self.domains.index(site))
        if self.augment is not None:
            window = augment_window(window, recording.fs_hz, self.augment, log_gains_CG, self.channels)
            window = drop_channels(window, self.config)
        return Example(recording.name_epoch(centre), "", (), "", "", "", self.label_set.answers, window)

    def describe(self, idx: int) -> dict[str, Any]:
        """Recording and centre of the window."""
        night, centre = self.samples[idx]
        return {"recording": self.recordings[night].recording, "epoch_idx": int(centre)}

    def count_sample_classes(self) -> np.ndarray:
        """(num_samples, num_classes) scored epochs of each window."""
        counts_NK = np.zeros((len(self.samples), len(self.sleep_stages)), dtype=np.int64)
        for counts_K, (night, centre) in zip(counts_NK, self.samples, strict=True):
            idx_W = cut_sleep_stage_indices(
                self.recordings[night], self.sleep_stage_idx[night], centre, self.window_epochs
            )
            counts_K += np.bincount(idx_W[idx_W != IGNORE_INDEX], minlength=len(counts_K))
        return counts_NK


def _draw_uniform() -> float:
    """A number from 0 to 1 of torch's generator, which training seeds by sample."""
    import torch

    return float(torch.rand(()))


def _rationale(recording: Recording, epoch: int) -> str:
    rationales = recording.columns.get("rationale")
    return rationales[epoch] if isinstance(rationales, list) else ""
