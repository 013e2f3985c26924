"""One raw night to one prepared recording: epochs, wake trimmed, evidence and rationales beside the labels.

1. bring all channels to one rate and one start, and cut them into scoring epochs as far as the hypnogram reaches
2. keep the epochs from `wake_margin_min` before the first sleep to as long after the last
3. leave out those of which too much was not recorded, interpolate the rest
4. measure each kept epoch's evidence on the first channel, and muscle tone on the EMG channel if there is one;
   flag the artefacts of the first channel, and say whether the lights were on
5. write a rationale a kept epoch from that evidence
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from data_prep.rationales.write import DEFAULT_STYLE, write_rationales
from tslm.data.cohorts.lights import find_lit_epochs
from tslm.data.prepared.recordings import IDENTITY, Recording
from tslm.data.readers.align import align_recording
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.evidence.measure import measure_evidence
from tslm.evidence.muscle import ENVELOPE_BELOW_HZ, find_emg_channel, measure_emg
from tslm.hypnogram import SLEEP
from tslm.labels import SleepStage, species_group
from tslm.signals.artifacts import SATURATION_OF_GROUP_UV, flag_artifacts
from tslm.signals.gaps import MAX_MISSING_SHARE, bridge_gaps, find_whole_epochs

WAKE_MARGIN_MIN = 30.0


def prepare_night(
    raw: RawRecording,
    wake_margin_min: float = WAKE_MARGIN_MIN,
    seed: int = 0,
    rationale: str = DEFAULT_STYLE,
) -> Recording:
    """Cut a night into epochs and add what can be measured in each.

    Movement and unscored epochs inside the kept span stay, with labels MOVE and UNSCORED, so that
    time runs on without gaps; who trains or scores leaves them out by their label.

    Args:
        raw: Signals in microvolt and one stage per epoch, both from the start of the recording.
        wake_margin_min: Minutes kept before the first and after the last epoch of sleep.
        seed: Seed of the rationales' wording; each recording draws its own from it.
        rationale: Style of the rationales, one of `data_prep.rationales.write.STYLES`.

    Returns:
        The recording at the highest rate of its channels, with evidence columns, a bool column `<kind>_flag` for
        each of ARTIFACT_KINDS, a column `light` (1 on, 0 off) where the times of light are known, and a
        `rationale` column.

    Raises:
        ValueError: No channel, or a night without sleep.
    """
    if not raw.signals:
        raise ValueError(f"{raw.recording} has no channel; name at least one")
    rates_hz = {name: signal.fs_hz for name, signal in raw.signals.items()}
    raw = align_recording(raw)
    fs_hz = next(iter(raw.signals.values())).fs_hz
    epoch_samples = round(raw.epoch_s * fs_hz)
    if abs(epoch_samples - raw.epoch_s * fs_hz) > 1e-6:
        raise ValueError(
            f"{raw.recording}: {raw.epoch_s:g} s at {fs_hz:g} Hz is no whole number of samples; resample it"
        )
    num_epochs = min(len(signal.values) // epoch_samples for signal in raw.signals.values())
    kept = find_kept_span(raw.sleep_stages[:num_epochs], round(wake_margin_min * 60 / raw.epoch_s))
    if not kept:
        raise ValueError(
            f"{raw.recording} holds no epoch of sleep within its signal; leave it out or check its hypnogram"
        )
    cut = {name: _cut_epochs(signal, epoch_samples, kept) for name, signal in raw.signals.items()}
    is_whole = np.all([find_whole_epochs(epochs_EL) for epochs_EL in cut.values()], axis=0)
    if not is_whole.any():
        raise ValueError(f"{raw.recording}: more than {MAX_MISSING_SHARE:.0%} of every epoch is missing")
    channels, gap_notes = _mend_gaps(cut, is_whole)
    epoch_idx = kept.start + np.flatnonzero(is_whole)
    sleep_stages = tuple(raw.sleep_stages[idx] for idx in epoch_idx)
    onset_s = epoch_idx * raw.epoch_s
    evidence = measure_evidence(next(iter(channels.values())), fs_hz, raw.species)
    saturation_uv = SATURATION_OF_GROUP_UV[species_group(raw.species)]
    with_gaps_EL = next(iter(cut.values()))[is_whole]
    flags = flag_artifacts(with_gaps_EL, fs_hz, saturation_uv=saturation_uv)
    emg_name = find_emg_channel(channels)
    if emg_name is not None:
        evidence |= _measure_emg(channels[emg_name], fs_hz, rates_hz[emg_name])
    columns: dict[str, np.ndarray | list[str]] = {**evidence}
    columns |= {f"{kind}_flag": flags_E for kind, flags_E in flags.items()}
    lit_E = find_lit_epochs(raw.start, raw.lights_on, raw.lights_off, onset_s, raw.epoch_s)
    if lit_E is not None:
        columns["light"] = lit_E.astype(np.int8)
    rationales = write_rationales(evidence, sleep_stages, _seed_of(seed, raw.recording), raw.species, rationale)
    return Recording(
        **{name: getattr(raw, name) for name in IDENTITY},
        fs_hz=fs_hz,
        epoch_s=raw.epoch_s,
        channels=channels,
        sleep_stages=sleep_stages,
        onset_s=onset_s,
        columns={**columns, "rationale": rationales},
        units={name: signal.unit for name, signal in raw.signals.items() if signal.unit != "uV"},
        notes=(*raw.notes, *gap_notes),
    )


def find_kept_span(sleep_stages: Sequence[SleepStage], margin_epochs: int) -> range:
    """Epochs from `margin_epochs` before the first sleep to as many after the last; empty without sleep."""
    asleep = [idx for idx, stage in enumerate(sleep_stages) if stage in SLEEP]
    if not asleep:
        return range(0)
    return range(max(0, asleep[0] - margin_epochs), min(len(sleep_stages), asleep[-1] + margin_epochs + 1))


def _measure_emg(epochs_EL: np.ndarray, fs_hz: float, recorded_fs_hz: float) -> dict[str, np.ndarray]:
    """Muscle tone; a channel that was recorded as a slow envelope is measured as one."""
    if recorded_fs_hz >= ENVELOPE_BELOW_HZ:
        return measure_emg(epochs_EL, fs_hz)
    return measure_emg(epochs_EL[:, :: max(1, round(fs_hz / recorded_fs_hz))], recorded_fs_hz)


def _cut_epochs(signal: RawSignal, epoch_samples: int, kept: range) -> np.ndarray:
    values = signal.values[kept.start * epoch_samples : kept.stop * epoch_samples]
    return np.asarray(values, dtype=np.float32).reshape(len(kept), epoch_samples)


def _mend_gaps(cut: Mapping[str, np.ndarray], is_whole: np.ndarray) -> tuple[dict[str, np.ndarray], list[str]]:
    """Whole epochs of each channel, missing samples interpolated linearly inside their epoch; and what was done."""
    notes = []
    num_left_out = int((~is_whole).sum())
    if num_left_out:
        notes.append(f"{num_left_out} epochs left out: more than {MAX_MISSING_SHARE:.0%} of their samples are missing")
    channels = cut if is_whole.all() else {name: epochs_EL[is_whole] for name, epochs_EL in cut.items()}
    mended: dict[str, np.ndarray] = {}
    for name, epochs_EL in channels.items():
        mended[name] = bridge_gaps(epochs_EL)
        missing_EL = np.isnan(epochs_EL)
        if missing_EL.any():
            num_epochs = int(missing_EL.any(axis=1).sum())
            notes.append(f"{name}: {int(missing_EL.sum())} missing samples in {num_epochs} epochs interpolated")
    return mended, notes


def _seed_of(seed: int, recording: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{recording}".encode()).digest()[:4])
