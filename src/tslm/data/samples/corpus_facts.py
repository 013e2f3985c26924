"""Facts of a corpus' samples, measured in their own series: the prompt's line, and the evidence of ECG records."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from tslm.data.prepared.corpora import CorpusSample, parse_lead
from tslm.evidence.ecg import EcgFacts, list_ecg_facts, measure_ecg, render_ecg_facts
from tslm.evidence.series import UnmeasurableError
from tslm.evidence.text.captions import render_series_facts


def state_series_facts(sample: CorpusSample) -> str:
    """One line on each series of a sample, under its name where there are several."""
    named = zip(sample.series_names, sample.series, strict=True)
    fs_hz = sample.fs_hz if sample.unit == "uV" else 0.0
    return _join({name: _state(partial(render_series_facts, values_L, fs_hz)) for name, values_L in named})


def state_ecg_facts(sample: CorpusSample) -> str:
    """One line on each ECG record of a sample, under its name where there are several.

    Raises:
        ValueError: the sampling rate is not known.
    """
    if not sample.fs_hz:
        raise ValueError(f"{sample.sample_id} states no sampling rate (fs_hz), which measuring its ECG needs")
    records = _list_records(sample).items()
    return _join({name: _state(partial(_render_record, sample, record)) for name, record in records})


def list_ecg_evidence(sample: CorpusSample) -> dict[str, float]:
    """The measured figures of a sample's ECG; empty for several records, an unknown rate, and what is unmeasurable."""
    (record, *others) = _list_records(sample).values()
    if others or not sample.fs_hz:
        return {}
    try:
        return list_ecg_facts(*_measure(sample, record))
    except UnmeasurableError:
        return {}


def _list_records(sample: CorpusSample) -> dict[str, list[tuple[str, np.ndarray]]]:
    """(lead, series) pairs of each record."""
    records: dict[str, list[tuple[str, np.ndarray]]] = {}
    for name, values_L in zip(sample.series_names, sample.series, strict=True):
        record, lead = parse_lead(name)
        records.setdefault(record, []).append((lead, values_L))
    return records


def _render_record(sample: CorpusSample, record: Sequence[tuple[str, np.ndarray]]) -> str:
    return render_ecg_facts(*_measure(sample, record))


def _measure(sample: CorpusSample, record: Sequence[tuple[str, np.ndarray]]) -> tuple[EcgFacts, list[str]]:
    """Facts of a record, and the leads whose R heights are in millivolt."""
    if len({len(values_L) for _, values_L in record}) > 1:
        raise UnmeasurableError("the leads differ in length")
    leads = [lead for lead, _ in record] if sample.unit == "mV" else []
    return measure_ecg(np.stack([values_L for _, values_L in record]), sample.fs_hz), leads


def _state(render: Callable[[], str]) -> str:
    try:
        return render()
    except UnmeasurableError as error:
        return f"not measurable, {error}"


def _join(line_of: dict[str, str]) -> str:
    if len(line_of) == 1:
        return next(iter(line_of.values()))
    return ". ".join(f"{name}: {line}" for name, line in line_of.items())
