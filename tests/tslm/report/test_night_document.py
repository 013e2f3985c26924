import gzip
import json

import numpy as np
import pytest

from tests.factories.pages import make_rows, small_night
from tests.factories.rows import OPTIONS, of_system
from tslm.predictions.rows import CLASSIFIER, LANGUAGE_MODEL
from tslm.predictions.scorings import parse_scorings
from tslm.report.night import document
from tslm.report.night.document import embed_json, split_document
from tslm.report.night.tracks import measure_envelope, measure_spectrogram


def build_night_document(rows, *arguments, **more):
    return document.build_night_document(parse_scorings(rows), *arguments, **more)


def test_lists_of_the_document_follow_the_epochs_in_time():
    rows, recording = small_night()
    both = parse_scorings(rows[::-1])
    data = document.build_night_document({name: both[name] for name in (LANGUAGE_MODEL, CLASSIFIER)}, recording).data
    of_classifier, rows = of_system(rows, CLASSIFIER), of_system(rows)
    assert data["epoch_idx"] == [row["epoch_idx"] for row in rows]
    assert [stage["short"] for stage in data["stages"]] == ["W", "REM", "N1", "N2", "N3"]
    names = {stage["name"]: stage["code"] for stage in data["stages"]}
    model, classifier = data["systems"]
    assert data["expert"] == [names[row["truth"]] for row in rows]
    assert model["answers"] == [names[answer] for answer in parse_scorings(rows)[LANGUAGE_MODEL].answers]
    of_wake = [row["probabilities"][OPTIONS.index("Wake")] for row in rows]
    assert [values[0] for values in model["probabilities"]] == pytest.approx(of_wake, abs=1e-4)
    assert classifier["uncertainty"] == pytest.approx(
        [-sum(p * np.log(p) for p in row["probabilities"]) / np.log(5) for row in of_classifier], abs=1e-3
    )
    wrong = [idx for idx in range(40) if {classifier["answers"][idx], model["answers"][idx]} != {data["expert"][idx]}]
    assert data["lists"][0]["positions"] == wrong
    assert data["flags"] == {"motion": [5]}
    assert data["emg"]["channel"] == "EMG submental"


def test_a_hidden_expert_is_nowhere_in_the_document():
    rows, recording = small_night()
    for row in rows:
        row |= {"truth": "REM sleep", "target": "the reference says so"}
    for row in of_system(rows):
        row["generated"] = "Alpha leads. Answer: Wake"
    for row in of_system(rows, CLASSIFIER):
        row |= {"probabilities": [0.9, 0.1, 0, 0, 0], "answer": "Wake"}
    shown, hidden = (build_night_document(rows, recording, show_expert=show) for show in (True, False))
    assert "expert" in shown.data
    assert "expert" not in hidden.data
    assert "reference" not in embed_json(hidden.data)
    assert not any(system["answers"].count("R") for system in hidden.data["systems"])
    for row in rows:
        row |= {"truth": "Wake", "target": "otherwise"}
    assert build_night_document(rows, recording, show_expert=False) == hidden


def test_without_signals_the_document_says_so():
    data = build_night_document(make_rows(20, classifier=False)).data
    assert data["spectrogram"] is data["waveforms"] is data["emg"] is None
    assert data["systems"][0]["probabilities"] is None
    assert "not given" in data["notes"][0]


def test_texts_of_a_long_recording_travel_packed_and_come_back_whole():
    rows, _ = small_night()
    short = build_night_document(rows)
    assert split_document(short) == (short.data, short.blobs)
    for row in of_system(rows):
        row["target"] = f"{row['sample_id']} " * 8000
    long = build_night_document(rows)
    rest, blobs = split_document(long)
    assert len(embed_json(rest)) < 100_000
    assert rest | json.loads(gzip.decompress(blobs["texts"])) == json.loads(embed_json(long.data))


def test_a_recording_that_lacks_an_epoch_is_named():
    rows, recording = small_night()
    rows = of_system(rows)
    rows[-1]["epoch_idx"] = 500
    with pytest.raises(ValueError, match="name epoch 500 of n1, which has 82"):
        build_night_document(rows, recording)


def test_what_does_not_fit_is_left_out_and_said():
    rows, recording = small_night()
    night = build_night_document(rows, recording, max_bytes=200_000)
    assert {channel["fs_hz"] for channel in night.data["waveforms"]["channels"]} == {50.0}
    assert "EEG Fpz-Cz at 50 Hz in" in night.data["notes"][0]
    night = build_night_document(rows, recording, max_bytes=30_000)
    assert night.data["waveforms"] is None
    assert "left out" in night.data["notes"][0]


def test_the_spectrogram_is_brightest_where_the_rhythm_is_and_empty_where_epochs_are_missing():
    seconds = np.arange(3000) / 100
    epochs_EL = np.stack([np.sin(2 * np.pi * hz * seconds) for hz in (5.0, 10.0, 20.0)]).astype(np.float32)
    shown = measure_spectrogram(epochs_EL, 100.0, np.array([0, 1, 3]))
    codes_WF = np.frombuffer(shown.codes, dtype=np.uint8).reshape(shown.num_columns, shown.num_freqs)
    assert [shown.first_hz + shown.step_hz * codes_WF[column].argmax() for column in (0, 1, 3)] == [5.0, 10.0, 20.0]
    assert not codes_WF[2].any()
    assert codes_WF[[0, 1, 3]].min() >= 1


def test_the_envelope_follows_the_muscle_within_the_epoch():
    noise_EL = np.random.default_rng(0).normal(0, 1, (4, 3000)).astype(np.float32)
    noise_EL[2, 1500:] *= 10
    envelope_EW = measure_envelope(noise_EL, 100.0)
    assert envelope_EW.shape == (4, 6)
    assert envelope_EW[2, 3:].min() > 5 * envelope_EW[2, :3].max()
