import json
import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from tests.factories.rows import classify, make_row
from tslm.predictions.rows import (
    DERIVED_KEYS,
    read_intact_predictions,
    read_predictions,
    write_predictions,
)
from tslm.predictions.scorings import collect_samples, join_scorings, parse_scorings, read_scorings
from tslm.scoring.systems import score_systems

VERIFIED = {"first_generated": "It is.", "tries": 1, "struck": [[0, "No. "]], "claims_before": {}, "claims_after": {}}


def test_rows_come_back_as_written(tmp_path):
    rows = [
        make_row(0),
        make_row(1, probabilities=[0.2] * 5, evidence={"delta": 0.5, "µ": 2.0}, events=[["alpha", 3, 1.5]]),
    ]
    path = tmp_path / "run" / "test_predictions.jsonl"
    write_predictions(rows, path)
    assert read_predictions(path) == rows
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_line_holds_what_its_text_says_and_a_reader_parses_the_text_anew(tmp_path):
    path = tmp_path / "p.jsonl"
    caption = make_row(2, "", "Slow.", options=[])
    rows = [make_row(0, generated="Slow waves. Answer: N3"), make_row(1, generated="Slow waves, all over."), caption]
    write_predictions(rows, path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    said = [(line.get("generated_stage", "no key"), line["reasoning"]) for line in lines]
    assert said == [("Non-REM stage 3", "Slow waves."), (None, "Slow waves, all over."), ("no key", "Slow.")]
    wrong = lines[0] | {"generated_stage": "Wake", "reasoning": "None."}
    path.write_text(json.dumps(wrong) + "\n")
    (back,) = read_predictions(path)
    assert not set(DERIVED_KEYS) & back.keys()
    write_predictions([back], path)
    assert json.loads(path.read_text()) == lines[0]


def test_a_row_without_text_has_nothing_derived_from_one(tmp_path):
    path = tmp_path / "p.jsonl"
    write_predictions([classify(make_row(0), [0.2] * 5)], path)
    assert not set(DERIVED_KEYS) & json.loads(path.read_text()).keys()


@pytest.mark.parametrize("texts", [[], [1], "text"])
def test_texts_of_a_row_must_be_a_list_of_texts(texts, tmp_path):
    with pytest.raises(ValueError, match="row 1: texts is"):
        write_predictions([make_row(0) | {"texts": texts}], tmp_path / "p.jsonl")


@pytest.mark.parametrize("line", [{}, {"truth": None}])
def test_a_row_without_a_reference_is_read_with_and_without_the_key_and_written_as_null(tmp_path, line):
    path, row = tmp_path / "p.jsonl", {name: value for name, value in make_row(0).items() if name != "truth"}
    path.write_text(json.dumps(row | line) + "\n")
    (back,) = read_predictions(path)
    assert back == row | {"truth": None}
    write_predictions([row | line], tmp_path / "again.jsonl")
    assert json.loads((tmp_path / "again.jsonl").read_text())["truth"] is None


def test_numpy_values_and_nan_become_plain_json(tmp_path):
    path = tmp_path / "p.jsonl"
    row = make_row(np.int64(3), probabilities=np.full(5, 0.2), evidence={"a": np.float32("nan"), "b": np.bool_(True)})
    write_predictions([row], path)
    (back,) = read_predictions(path)
    assert back["evidence"] == {"a": None, "b": True}
    assert back["epoch_idx"] == 3
    assert back["probabilities"] == [0.2] * 5


def test_a_refused_row_leaves_the_older_file_alone(tmp_path):
    path = tmp_path / "p.jsonl"
    write_predictions([make_row(0)], path)
    with pytest.raises(ValueError, match=r"row 2 repeats sample_id 'n1:0'"):
        write_predictions([make_row(0), make_row(0)], path)
    with pytest.raises(ValueError, match="none of its options"):
        write_predictions([make_row(0, truth="Coma")], path)
    assert len(read_predictions(path)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.jsonl"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"sample_id": "b", "truth": "Wa', "line 2 is not whole JSON"),
        ("[1, 2]", "line 2 is not a JSON object"),
        (json.dumps({"system": "yasa", "sample_id": "b"}), "line 2 has no 'options'"),
        (json.dumps(make_row(1) | {"truth": 5}), "truth is 5, which is no text"),
        (json.dumps(make_row(1, options=["Wake", "Coma"], truth="REM sleep")), "truth 'REM sleep' is none"),
        (json.dumps(make_row(1) | {"answer": "Coma"}), "answer 'Coma' is none of its options"),
        (json.dumps(make_row(1) | {"generated": 5}), "generated is 5, which is no text"),
        (json.dumps(make_row(1) | {"tries": 2}), "verified text but no 'first_generated'"),
        (json.dumps(make_row(1) | VERIFIED | {"tries": "2"}), "tries is '2', which is no whole number"),
        (json.dumps(make_row(1) | VERIFIED | {"struck": [[999, "No."]]}), "no offset in 'generated'"),
        (json.dumps(make_row(1) | VERIFIED | {"struck": ["No."]}), "no offset in 'generated'"),
        (json.dumps({k: v for k, v in make_row(1).items() if k != "generated"}), "neither 'generated' nor 'answer'"),
        (json.dumps(make_row(1, probabilities=[0.5])), "must be 5 finite numbers"),
        (json.dumps(make_row(1, probabilities=[0.5, 0.5, 0, 0, None])), "must be 5 finite numbers"),
        (
            json.dumps(make_row(1, probabilities=[0.5, 0.2, 0.1, 0, 0])),
            "line 2: probabilities must be 0 or more and sum to 1, not 0.8",
        ),
        (json.dumps(make_row(1, probabilities=[0.9, 0.2, -0.1, 0, 0])), "must be 0 or more"),
        (json.dumps(make_row(1, events=[["spindles", 3.0]])), r"line 2: events: \['spindles', 3.0\] is no event"),
    ],
)
def test_a_bad_line_is_named_or_left_out_on_request(tmp_path, line, message):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(make_row(0)) + "\n" + line + "\n" + json.dumps(make_row(2)) + "\n")
    with pytest.raises(ValueError, match=message):
        read_predictions(path)
    rows, bad_lines = read_intact_predictions(path)
    assert [row["epoch_idx"] for row in rows] == [0, 2]
    assert bad_lines == [2]


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch_idx": "x"},
        {"epoch_idx": 3.5},
        {"epoch_idx": True},
        {"onset_s": 1e308},
        {"epoch_idx": -1},
        {"epoch_idx": 10**400},
        {"recording": 5},
        {"target": [[]]},
        {"temperature": "hot"},
        {"temperature": 0},
        {"smoothing": "bogus"},
        {"evidence": [1]},
        {"evidence": {"rms_uv": "high"}},
        {"log_likelihoods": "much"},
        {"sampling": {"top_p": [1]}},
        {"events": "spindles"},
        {"leaky": "no"},
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_its_key(tmp_path, wrong):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(make_row(0) | wrong) + "\n")
    with pytest.raises(ValueError, match=rf"line 1: {next(iter(wrong))}(\.\w+)? is"):
        read_predictions(path)


def test_a_line_with_half_a_letter_or_endless_brackets_is_no_json(tmp_path):
    path = tmp_path / "p.jsonl"
    for line in (json.dumps(make_row(0) | {"recording": "\ud800"}), "[" * 100_000):
        path.write_text(line)
        with pytest.raises(ValueError, match="line 1 is not whole"):
            read_predictions(path)


def test_what_is_not_known_of_a_row_may_be_null_or_no_number(tmp_path):
    path = tmp_path / "p.jsonl"
    row = make_row(0) | {"onset_s": np.nan, "evidence": {"rms_uv": np.nan}, "temperature": None}
    known = {name: value for name, value in row.items() if name != "onset_s"} | {"evidence": {"rms_uv": None}}
    write_predictions([row], path)
    assert read_predictions(path) == [known]
    path.write_text(json.dumps(row))  # with NaN, as Python writes it
    assert read_predictions(path) == [known]


ODD = (None, -1, 0, 0.5, 1e308, 10**400, 2**63, True, "", "x", "\ud800", "a\nb", [], {}, [None], [[]], {"a": None})
ODD += (np.nan, np.inf, ["Wake"], [["alpha", 1, 2]], [["alpha", 1e308, 10**400]], [[{}, 1, 2]])  # type: ignore[assignment]


def mutate_rows(rng: random.Random) -> bytes:
    """A file of four rows with odd values, or with damaged bytes."""
    rows = [
        make_row(0, evidence={"rms_uv": 12.0}, events=[["alpha", 1.0, 2.0]], target="Low. Answer: Wake"),
        make_row(1, probabilities=[0.2] * 5, log_likelihoods=[-1.0] * 5, temperature=1.5, leaky=False),
        make_row(2) | VERIFIED | {"texts": ["It is."], "sampling": {"top_p": 0.9}, "fold": 1},
        classify(make_row(0), [0.6, 0.1, 0.1, 0.1, 0.1], "yasa") | {"smoothing": {"method": "hmm"}},
    ]
    if rng.random() < 0.7:
        chosen, name = rng.choice(rows), rng.choice(sorted({name for row in rows for name in row}))
        value = rng.choice(ODD)
        for row in rows if rng.random() < 0.3 else [chosen]:
            parent, key = row, name
            while isinstance(parent.get(key), dict) and parent[key] and rng.random() < 0.7:
                parent, key = parent[key], next(iter(parent[key]))
            parent[key] = value
    text = bytearray("\n".join(map(json.dumps, rows)).encode())
    for _ in range(rng.choice((0, 0, 1, 3))):
        place = rng.randrange(len(text))
        text[place : place + rng.choice((0, 1, 40))] = rng.choice((b"", b"\n", b"\xff", b"[", b'"', b"1e999", b"null"))
    return bytes(text)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_read_and_scored_or_refused_in_one_line(tmp_path, seed):
    rng, path, num_read, refusals = random.Random(seed), tmp_path / "p.jsonl", 0, []
    for _ in range(60):
        path.write_bytes(mutate_rows(rng))
        for read in (read_predictions, lambda file: read_intact_predictions(file)[0]):
            try:
                rows = read(path)
                num_read += 1
                write_predictions(rows, tmp_path / "again.jsonl")
                assert read_predictions(tmp_path / "again.jsonl") == rows
                json.dumps(score_systems(parse_scorings(rows), num_resamples=0))
            except ValueError as error:
                refusals.append(str(error))
    assert not any("\n" in refusal for refusal in refusals)
    assert 30 < num_read < 120


@pytest.mark.parametrize(
    "old",
    [
        {name: value for name, value in make_row(1).items() if name != "system"},
        make_row(1, label_probabilities=[0.2] * 5),
        make_row(1, classifier_probabilities=None),
        make_row(1, smoothed_answer="Wake"),
    ],
)
def test_a_file_with_two_systems_in_a_row_is_refused_with_advice(tmp_path, old):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(make_row(0)) + "\n" + json.dumps(old) + "\n")
    for read in (read_predictions, read_intact_predictions):
        with pytest.raises(ValueError, match="an earlier version.*generate the predictions again") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_sample_may_have_a_row_of_each_system_and_the_text_of_a_row_counts(tmp_path):
    rows = [make_row(0), classify(make_row(0), [0, 0, 0, 0, 1]), make_row(1) | {"answer": "REM sleep"}]
    write_predictions([*rows, classify(make_row(1), [0.2] * 5) | {"answer": None}], tmp_path / "p.jsonl")
    scorings = read_scorings(tmp_path / "p.jsonl")
    assert {name: scoring.answers for name, scoring in scorings.items()} == {
        "language_model": ("Wake", "Wake"),
        "classifier": ("REM sleep", None),
    }


def test_systems_of_two_files_are_joined_on_the_samples_of_the_first():
    ours = parse_scorings([make_row(idx) for idx in (2, 1)])
    theirs = parse_scorings([classify(make_row(idx), [0, 0, 1, 0, 0]) for idx in range(4)])
    joined = join_scorings(ours, theirs)
    assert [row["epoch_idx"] for row in joined["classifier"].rows] == [2, 1]
    assert [sample["epoch_idx"] for sample in collect_samples(joined)] == [2, 1]
    with pytest.raises(ValueError, match="the predictions of language_model lack n1:0"):
        join_scorings(theirs, ours)
    with pytest.raises(ValueError, match="n1:2: the options of classifier are"):
        join_scorings(parse_scorings([make_row(2, options=["Wake", "REM sleep"])]), theirs)


@given(st.lists(st.floats(-8, 8), min_size=5, max_size=5))
def test_probabilities_rounded_to_six_digits_sum_closely_enough(scores):
    with tempfile.TemporaryDirectory() as folder:
        row = make_row(0, probabilities=softmax(scores).round(6).tolist())
        write_predictions([row], Path(folder) / "p.jsonl")
        assert read_predictions(Path(folder) / "p.jsonl") == [row]


def test_a_file_cut_inside_a_letter_is_a_bad_last_line(tmp_path):
    path = tmp_path / "p.jsonl"
    line = json.dumps(make_row(1, generated="10 µV"), ensure_ascii=False).encode()
    path.write_bytes(json.dumps(make_row(0)).encode() + b"\n" + line[: line.index("µ".encode()) + 1])
    with pytest.raises(ValueError, match="line 2 is not whole JSON"):
        read_predictions(path)


def test_missing_empty_duplicate_and_hopeless_files_are_errors(tmp_path):
    path = tmp_path / "p.jsonl"
    with pytest.raises(FileNotFoundError, match=r"evaluation\.generate"):
        read_predictions(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        read_predictions(path)
    path.write_text("nonsense\n")
    with pytest.raises(ValueError, match="none of 1 lines"):
        read_intact_predictions(path)
    path.write_text((json.dumps(make_row(0)) + "\n") * 2)
    for read in (read_predictions, read_intact_predictions):
        with pytest.raises(ValueError, match="line 2 repeats sample_id 'n1:0' of line 1"):
            read(path)
