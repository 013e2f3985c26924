"""One night as the page's scripts read it: a JSON object, and packed arrays beside it.

The object (`<script type="application/json" id="tslm-document">`), every list in time order:

- `recording`, `epoch_s`, `start` (ISO 8601 or ""), `blinded`
- `stages`: [{code, name, short}], from the top of a hypnogram to its bottom
- `epoch_idx`, `number`, `onset_s`, `sample_id`: of each epoch shown; its place in these lists is its `position`;
  `number` is what the reader sees: `epoch_idx`, or the epoch's number in the file
- `expert`: code of each epoch's stage or null; the key is absent where the expert is hidden, or scored no epoch
- `systems`: [{name, answers: [code or null], not_asked: [positions that it was not asked for], probabilities: [[of each
  stage of `stages`] or null] or null, uncertainty: [0 to 1 or null] or null}]
- `writer`: name of the first system that writes texts, or null; `rationales`: its texts, [{pieces, struck, claims,
  answer, cut}], see `tslm.report.rationales`; `verdicts`: the words for a claim's;
  `references`: [text] where there are some
- `events`: {channel that was measured, lanes: [[kind, name]], epochs: [[lane, onset, duration, ...] or null]}: where
  waveforms lie in each epoch, in hundredths of a second; null where that is not known
- `rules`: {citation as it stands in the texts, such as "(6.B)": [name, words]}
- `evidence`: {names, values: [[text or null of each name]]}
- `flags`: {kind: [positions]} or null where nothing looked for artefacts
- `emg`: {channel, unit, num_windows, values} or null; `spectrogram` and `waveforms`: shapes of the
  packed arrays, or null
- `lists`: [{name, positions}]: epochs worth a look, the first list is the one that the keys step through
- `notes`: sentences on what was left out or made coarser

Of a long recording the keys of `PACKED` travel as gzip beside the object (`split_document`); the page puts
them back before it shows its first epoch.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tslm.answers.grammar import remove_special_tokens
from tslm.data.prepared.recordings import Recording
from tslm.evidence.events import Event, render_events
from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.predictions.nights import SHORT_NAMES, STAGE_OF_ANSWER, find_epoch_s, shown_levels
from tslm.predictions.scorings import Scoring, collect_samples, render_system
from tslm.report.events import EVENT_NAMES, collect_events, pack_events
from tslm.report.format import describe_measurement
from tslm.report.night.tracks import (
    Spectrogram,
    describe_envelope,
    find_flags,
    has_flags,
    measure_spectrogram,
    unit_of,
)
from tslm.report.night.waveforms import pack_waveforms
from tslm.report.rationales import VERDICTS, describe_rationale, find_rules
from tslm.scoring.probabilities import measure_entropy

MAX_CHANNELS = 3
UNCERTAIN_FROM = 0.5  # normalised entropy
PACKED = ("rationales", "references", "evidence", "events")
_PACKED_FROM_BYTES = 1_500_000  # of JSON; smaller documents stay readable in the page's source


@dataclass(frozen=True)
class NightDocument:
    """What the page embeds: `data` as JSON, `blobs` (gzip) by name."""

    data: Mapping[str, Any]
    blobs: Mapping[str, bytes] = field(default_factory=dict)


def build_night_document(
    scorings: Mapping[str, Scoring],
    recording: Recording | None = None,
    *,
    show_expert: bool = True,
    max_bytes: int = 4_000_000,
    number_from_file: bool = False,
) -> NightDocument:
    """The night of one recording.

    Args:
        scorings: predictions of one recording, all of sleep stages, with `epoch_idx`.
        recording: its signals; None: a page without spectrogram, EMG, flags and waveforms.
        show_expert: False leaves the expert's stages and reference texts out.
        max_bytes: what all of it may take in the page.
        number_from_file: count epochs from the start of the file, as exports of staged nights do; False: within the
            recording.

    Raises:
        ValueError: the recording lacks an epoch that the rows name.
    """
    rows = sorted(collect_samples(scorings), key=lambda row: row["epoch_idx"])
    epoch_idx = np.array([row["epoch_idx"] for row in rows])
    if recording is not None and epoch_idx[-1] >= recording.num_epochs:
        raise ValueError(
            f"the predictions name epoch {epoch_idx[-1]} of {recording.recording}, which has {recording.num_epochs}; "
            "give the data that was scored"
        )
    events = collect_events(rows, recording)
    levels = shown_levels(rows)
    sample_ids = [row["sample_id"] for row in rows]
    systems = [_describe_system(scoring, sample_ids, levels) for scoring in scorings.values()]
    writer = next((scoring for scoring in scorings.values() if scoring.writes_text), None)
    expert = [None if row["truth"] is None else str(STAGE_OF_ANSWER[row["truth"]]) for row in rows]
    has_expert = show_expert and any(expert)
    written = {row["sample_id"] for row in writer.rows} if writer else set()
    with_text = [idx for idx, sample_id in enumerate(sample_ids) if sample_id in written]
    lists = _list_epochs(systems, expert if has_expert else None, with_text)
    data: dict[str, Any] = {
        "version": 1,
        "recording": rows[0].get("recording", ""),
        "epoch_s": recording.epoch_s if recording is not None else find_epoch_s(rows),
        "start": recording.start if recording is not None else "",
        "blinded": not show_expert,
        "stages": [{"code": str(s), "name": ANSWER_NAMES[s], "short": SHORT_NAMES[s]} for s in levels],
        "epoch_idx": epoch_idx.tolist(),
        "sample_id": sample_ids,
        "systems": systems,
        "lists": lists,
        "writer": render_system(writer.system) if writer else None,
        "rationales": _describe_rationales(writer, rows, events) if writer else [],
        "verdicts": [str(verdict) for verdict in VERDICTS],
        "rules": _describe_rules(writer) if writer else {},
        "evidence": _describe_evidence(rows),
        "events": _describe_events(events, recording),
        "flags": None,
        "emg": None,
        "spectrogram": None,
        "waveforms": None,
        "notes": [],
    }
    data["onset_s"] = [row.get("onset_s", row["epoch_idx"] * data["epoch_s"]) for row in rows]
    onsets = np.array(data["onset_s"])
    data["number"] = np.rint(onsets / data["epoch_s"]).astype(int).tolist() if number_from_file else data["epoch_idx"]
    if has_expert:
        data["expert"] = expert
    if show_expert and any(row.get("target") for row in rows):
        data["references"] = [remove_special_tokens(row.get("target", "")).strip() for row in rows]
    if data["events"] is None:
        why = "were not given" if recording is None else "cannot be measured"
        data["notes"].append(f"Where waveforms lie is not known: the predictions do not say, and the signals {why}.")
    blobs: dict[str, bytes] = {}
    if recording is not None:
        _add_signals(data, blobs, recording, epoch_idx, max_bytes)
    else:
        data["notes"].append("The signals were not given, so waveforms and spectrogram are not shown.")
    return NightDocument(data, blobs)


def split_document(night: NightDocument) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:
    """The object and the blobs as they are embedded: texts among the blobs where the object would be large."""
    if len(embed_json(night.data)) < _PACKED_FROM_BYTES:
        return night.data, night.blobs
    texts = {name: night.data[name] for name in PACKED if name in night.data}
    packed = gzip.compress(embed_json(texts).encode(), mtime=0)
    rest = {name: value for name, value in night.data.items() if name not in texts}
    return rest, {"texts": packed, **night.blobs}


def embed_json(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the element it stands in, whatever a recording or a model wrote."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _describe_rationales(
    writer: Scoring, samples: Sequence[Mapping[str, Any]], events: Sequence[Sequence[Event] | None]
) -> list[dict[str, Any]]:
    row_of: dict[str, Mapping[str, Any]] = {row["sample_id"]: row for row in writer.rows}
    rows = [row_of.get(sample["sample_id"], {}) for sample in samples]
    return [
        describe_rationale(
            row.get("generated", ""),
            sample.get("evidence") or {},
            None if found is None else render_events(found),
            row.get("struck", ()),
        )
        for row, sample, found in zip(rows, samples, events, strict=True)
    ]


def _describe_rules(writer: Scoring) -> dict[str, list[str]]:
    rules = find_rules("\n".join(row.get("generated", "") for row in writer.rows))
    return {citation: [*rule] for citation, rule in rules.items()}


def _describe_system(scoring: Scoring, sample_ids: Sequence[str], levels: Sequence[SleepStage]) -> dict[str, Any]:
    position_of = {row["sample_id"]: idx for idx, row in enumerate(scoring.rows)}
    places = [position_of.get(sample_id) for sample_id in sample_ids]
    answers = [None if idx is None else scoring.answers[idx] for idx in places]
    probabilities_NK, known = scoring.read_probabilities([ANSWER_NAMES[sleep_stage] for sleep_stage in levels])
    shares = dict(zip(known, probabilities_NK.round(4).tolist(), strict=True))
    entropies = dict(zip(known, measure_entropy(probabilities_NK).round(4).tolist(), strict=True))
    return {
        "name": render_system(scoring.system),
        "answers": [None if answer is None else str(STAGE_OF_ANSWER[answer]) for answer in answers],
        "not_asked": [position for position, idx in enumerate(places) if idx is None],
        "probabilities": [None if idx is None else shares.get(idx) for idx in places] if known else None,
        "uncertainty": [None if idx is None else entropies.get(idx) for idx in places] if known else None,
    }


def _describe_evidence(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    keys = list(dict.fromkeys(key for row in rows for key in row.get("evidence") or {}))
    found = [row.get("evidence") or {} for row in rows]
    return {
        "names": [describe_measurement(key, 0.0)[0] for key in keys],
        "values": [
            [describe_measurement(key, values[key])[1] if key in values else None for key in keys] for values in found
        ],
    }


def _list_epochs(
    systems: Sequence[Mapping[str, Any]], expert: Sequence[str | None] | None, written: Sequence[int]
) -> list[dict[str, Any]]:
    """Epochs worth a look, by why; `written` are the positions of those with a text."""
    num = len(systems[0]["answers"])
    left_out = [set(system["not_asked"]) for system in systems]
    answers = [
        {system["answers"][idx] for system, without in zip(systems, left_out, strict=True) if idx not in without}
        for idx in range(num)
    ]
    differ = [idx for idx in range(num) if len(answers[idx]) > 1]
    lists: list[dict[str, Any]] = [{"name": "the systems disagree", "positions": differ}] if len(systems) > 1 else []
    if 0 < len(written) < num:
        lists.insert(0, {"name": "epochs with a text", "positions": written})
    if expert is not None:
        known = [idx for idx in range(num) if expert[idx] is not None]
        wrong = [idx for idx in known if answers[idx] - {expert[idx]}]
        lists.insert(0, {"name": "a system differs from the expert", "positions": wrong})
    uncertainties = [system["uncertainty"] for system in systems if system["uncertainty"] is not None]
    if uncertainties:
        most = [max((values[idx] or 0.0) for values in uncertainties) for idx in range(num)]
        lists.append(
            {"name": "a system is uncertain", "positions": [i for i in range(num) if most[i] >= UNCERTAIN_FROM]}
        )
        order = sorted(range(num), key=lambda idx: -most[idx])
        lists.append({"name": "least certain first", "positions": order, "ranked": True})
    return lists


def _describe_events(events: Sequence[Sequence[Event] | None], recording: Recording | None) -> dict[str, Any] | None:
    """Where waveforms lie; None where that is known of no epoch."""
    if all(found is None for found in events):
        return None
    channel = recording.measured_channel or next(iter(recording.channels)) if recording is not None else ""
    packed = [None if found is None else pack_events(found) for found in events]
    return {"channel": channel, "lanes": list(EVENT_NAMES.items()), "epochs": packed}


def _add_signals(
    data: dict[str, Any], blobs: dict[str, bytes], recording: Recording, epoch_idx: np.ndarray, max_bytes: int
) -> None:
    shown = _pick_channels(recording)
    channels = {name: recording.channels[name][epoch_idx] for name in shown}
    positions = np.round((np.asarray(data["onset_s"]) - data["onset_s"][0]) / data["epoch_s"]).astype(int)
    spectrogram = measure_spectrogram(channels[shown[0]], recording.fs_hz, positions)
    data["spectrogram"] = _describe_spectrogram(spectrogram, shown[0])
    blobs["spectrogram"] = gzip.compress(spectrogram.codes, mtime=0)
    data["emg"] = describe_envelope(recording, epoch_idx)
    data["flags"] = find_flags(recording, epoch_idx) if has_flags(recording) else None
    doubted = np.zeros(len(epoch_idx), dtype=bool)
    for listed in data["lists"]:
        if not listed.get("ranked"):
            doubted[listed["positions"]] = True
    embedded, beside = split_document(NightDocument(data, blobs))
    taken = len(embed_json(embedded).encode()) + sum(len(blob) for blob in beside.values()) * 4 // 3
    left_bytes = max_bytes - taken
    packed, kept = pack_waveforms(channels, recording.fs_hz, left_bytes, doubted)
    if packed:
        blobs |= {f"waveforms-{idx}": part.blob for idx, part in enumerate(packed)}
        data["waveforms"] = {
            "stored": None if kept.all() else np.flatnonzero(kept).tolist(),
            "channels": [
                {
                    "name": name,
                    "unit": unit_of(recording.units, name),
                    "limit": _pick_limit(channels[name]),
                    "fs_hz": part.fs_hz,
                    "num_samples": part.num_samples,
                    "bits": part.bits,
                }
                for name, part in zip(channels, packed, strict=True)
            ],
        }
    data["notes"] += _describe_waveforms(data["waveforms"], recording.fs_hz, len(epoch_idx))


def _describe_waveforms(waveforms: Mapping[str, Any] | None, fs_hz: float, num_epochs: int) -> list[str]:
    """What the reader must know of waveforms that are not drawn as they were recorded."""
    if waveforms is None:
        return ["The waveforms of this recording are too many for one page and were left out."]
    notes = []
    coarse = [
        f"{channel['name']} at {channel['fs_hz']:g} Hz in {2 ** channel['bits']} steps an epoch"
        for channel in waveforms["channels"]
        if channel["fs_hz"] < fs_hz or channel["bits"] < 8
    ]
    if coarse:
        notes.append(f"To keep the page small, waveforms are drawn coarser than recorded: {'; '.join(coarse)}.")
    if waveforms["stored"] is not None:
        notes.append(
            f"The recording is long: waveforms of {len(waveforms['stored']):,} of {num_epochs:,} epochs are on the "
            "page, of those where systems or expert differ or a system is uncertain."
        )
    return notes


def _pick_channels(recording: Recording) -> list[str]:
    """The first channel, which models read, then one EOG and one EMG where there are some."""
    names = list(recording.channels)
    wanted = [names[0]]
    for kind in ("EOG", "EMG"):
        wanted += [name for name in names[1:] if kind in name.upper() and name not in wanted][:1]
    wanted += [name for name in names if name not in wanted]
    return wanted[:MAX_CHANNELS]


def _pick_limit(epochs_NL: np.ndarray) -> float:
    """Half the height of a channel's chart, the same all night: a round value that holds nine epochs of ten."""
    peak_N = np.percentile(np.abs(epochs_NL - np.median(epochs_NL, axis=1, keepdims=True)), 99.5, axis=1)
    peak = float(np.percentile(peak_N, 90))
    scale = 10.0 ** np.floor(np.log10(max(peak, 1e-3)))
    return float(f"{next(step for step in (1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0) if peak <= step * scale) * scale:.4g}")


def _describe_spectrogram(spectrogram: Spectrogram, channel: str) -> dict[str, Any]:
    return {
        "channel": channel,
        "num_columns": spectrogram.num_columns,
        "num_freqs": spectrogram.num_freqs,
        "epochs_per_column": spectrogram.epochs_per_column,
        "first_hz": spectrogram.first_hz,
        "step_hz": spectrogram.step_hz,
        "low_db": round(spectrogram.low_db, 2),
        "high_db": round(spectrogram.high_db, 2),
    }
