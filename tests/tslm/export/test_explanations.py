import json
from dataclasses import replace
from pathlib import Path

from tslm.export.explanations import write_explanations
from tslm.export.night import NightResult
from tslm.files import DISCLAIMER
from tslm.labels import ANSWER_NAMES


def read_epochs(night: NightResult, path: Path) -> list[dict]:
    write_explanations(night, path)
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["disclaimer"] == DISCLAIMER
    return written["epochs"]


def test_a_claim_has_its_span_its_measurement_and_its_verdict(night: NightResult, tmp_path: Path) -> None:
    epochs = read_epochs(night, tmp_path / "explanations.json")
    assert [epoch["epoch_idx"] for epoch in epochs] == list(night.epoch_idx)
    for idx, epoch in enumerate(epochs):
        assert epoch["answer"] == ANSWER_NAMES[night.sleep_stages[idx]]
        assert epoch["reasoning"] == "It rests. There are 2 spindles."
        (claim,) = epoch["claims"]
        assert epoch["reasoning"][claim["start"] : claim["stop"]] == claim["text"]
        assert (claim["column"], claim["measured"]) == ("spindle_count", 2.0 + idx % 2)
        assert claim["verdict"] == ("contradicted" if idx % 2 else "supported")


def test_a_struck_sentence_is_shown_apart_from_the_text(night: NightResult, tmp_path: Path) -> None:
    epochs = read_epochs(night, tmp_path / "explanations.json")
    assert [len(epoch["struck"]) for epoch in epochs] == [int(idx == 1) for idx in range(40)]
    (struck,) = epochs[1]["struck"]
    assert (struck["text"], struck["offset"]) == ("There is one K-complex. ", 9)
    (claim,) = struck["claims"]
    assert (claim["feature"], claim["verdict"]) == ("k_complexes", "contradicted")
    assert struck["text"][claim["start"] : claim["stop"]] == claim["text"]
    assert struck["reason"] == "a claim is contradicted"
    assert struck["text"] not in epochs[1]["text"]


def test_a_struck_sentence_of_true_claims_was_an_argument(night: NightResult, tmp_path: Path) -> None:
    assert night.rows is not None
    argued = night.rows[0] | {"evidence": {"spindle_count": 2.0}, "struck": [(0, "Two spindles mean wake. ")]}
    (first, *_) = read_epochs(replace(night, rows=[argued, *night.rows[1:]]), tmp_path / "explanations.json")
    (struck,) = first["struck"]
    assert {claim["verdict"] for claim in struck["claims"]} == {"supported"}
    assert "argument" in struck["reason"]


def test_an_answer_that_cannot_be_read_is_null(night: NightResult, tmp_path: Path) -> None:
    assert night.rows is not None
    mute = night.rows[0] | {"generated": "There are 2 spindles."}
    (first, *_) = read_epochs(replace(night, rows=[mute, *night.rows[1:]]), tmp_path / "explanations.json")
    assert first["answer"] is None
