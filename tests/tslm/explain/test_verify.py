import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.factories.rows import OPTIONS, make_row
from tests.factories.small import build_small_model, sleep_dataset, small_config
from tslm.answers.grammar import parse_answer
from tslm.explain.claims.read import read_claims, split_sentences
from tslm.explain.faithfulness import check_rationale, score_texts
from tslm.explain.verify import MAX_TRIES, restore_struck, strike_faults, verify_rows
from tslm.predictions.epoch_writer import EpochWriter
from tslm.predictions.fields import VERIFICATION_KEYS
from tslm.predictions.rows import read_predictions, write_predictions
from tslm.predictions.scorings import parse_row_answer, parse_scorings

EVIDENCE = {"rms_uv": 12.0, "spindle_count": 2.0, "k_complex_count": 0.0, "eye_movement_count": 1.0}
TRUE = (
    "RMS 12 uV.",
    "Two spindles, no K-complexes.",
    "One eye movement;",
    "Spindles are seen.",
    "Sawtooth waves.",
)
FALSE = ("RMS 40 uV.", "No spindles.", "Two spindles, one K-complex;", "Decisive: absent spindles.")
ANSWERS = OPTIONS[1:3]
TEXTS = st.builds(
    lambda sentences, answer: " ".join([*sentences, f"Answer: {answer}"]),
    st.lists(st.sampled_from((*TRUE, *FALSE)), max_size=5),
    st.sampled_from(ANSWERS),
)


class ScriptedWriter:
    """Writes given texts, of each unit one an attempt, and notes which units were asked for."""

    def __init__(self, texts):
        self.texts, self.asked = texts, []

    def rewrite(self, source, units, attempt, temperature, show_progress=False):
        self.asked.append(list(units))
        return [
            make_row(unit, generated=self.texts[unit][attempt - 1], probabilities=[1, 0, 0, 0, 0]) for unit in units
        ]


def verify(*texts_of_rows, **more):
    """Rows whose first text is the first of each, verified by a writer of the others."""
    rows = [make_row(idx, generated=first, evidence=EVIDENCE, **more) for idx, (first, *_) in enumerate(texts_of_rows)]
    writer = ScriptedWriter([rest for _, *rest in texts_of_rows])
    return rows, verify_rows(writer, None, range(len(rows)), rows), writer


def test_a_true_text_is_left_alone():
    (row,), (verified,), writer = verify([f"{' '.join(TRUE)} Answer: Wake"])
    assert writer.asked == []
    assert {name: value for name, value in verified.items() if name not in VERIFICATION_KEYS} == row
    assert (verified["first_generated"], verified["tries"], verified["struck"]) == (row["generated"], 0, [])
    assert verified["claims_before"] == verified["claims_after"]
    assert verified["claims_before"]["contradicted"] == 0


def test_a_false_text_is_written_again_until_one_is_true():
    true, false = "Two spindles. Answer: Wake", "Three spindles. Answer: Wake"
    _, verified, writer = verify([false, false, true, true], [true], [false, true])
    assert writer.asked == [[0, 2], [0]]
    assert [row["tries"] for row in verified] == [2, 0, 1]
    assert [row["generated"] for row in verified] == [true] * 3
    assert [row["struck"] for row in verified] == [[]] * 3
    assert [row["first_generated"] for row in verified] == [false, true, false]
    assert verified[0]["claims_before"] == {"supported": 0, "contradicted": 1, "not_checkable": 0}


def test_a_true_text_of_another_answer_is_not_taken():
    first = "RMS 12 uV. Three spindles. Answer: Wake"
    _, (verified,), _ = verify([first, *["Two spindles. Answer: REM sleep"] * MAX_TRIES])
    assert verified["tries"] == MAX_TRIES
    assert verified["generated"] == "RMS 12 uV. Answer: Wake"
    assert verified["struck"] == [(len("RMS 12 uV. "), "Three spindles. ")]


def test_where_no_text_is_true_the_one_with_the_fewest_false_claims_is_struck():
    worst, better = "RMS 40 uV. No spindles. Answer: Wake", "RMS 12 uV. Decisive: absent spindles. Answer: Wake"
    _, (verified,), _ = verify([worst, better, worst, better])
    assert verified["generated"] == "RMS 12 uV. Answer: Wake"  # the closing reason goes, the answer stays
    assert restore_struck(verified["generated"], verified["struck"])[0] == better
    assert verified["claims_before"]["contradicted"] == 2
    assert verified["claims_after"] == {"supported": 1, "contradicted": 0, "not_checkable": 0}


def test_an_argument_for_another_answer_is_written_again_or_struck():
    fitting = "Two spindles. Decisive (5.B): the spindles. Answer: Non-REM stage 2"
    for misused in ("Decisive (5.B): the eye movement.", "Decisive (7.B): the spindles.", "Doubt (5.B): the spindles."):
        first = f"Two spindles. {misused} Answer: Non-REM stage 2"
        assert check_rationale(first, EVIDENCE).is_faithful
        _, verified, _ = verify([first, fitting], [first] * (MAX_TRIES + 1))
        assert [row["generated"] for row in verified] == [fitting, "Two spindles. Answer: Non-REM stage 2"]
        assert [bool(row["struck"]) for row in verified] == [False, True]


def test_rows_without_evidence_text_or_options_are_left_alone():
    rows = [
        make_row(0, generated="No spindles. Answer: Wake"),
        make_row(1, generated="No spindles.", evidence=EVIDENCE, options=[]),
        {name: value for name, value in make_row(2, evidence=EVIDENCE, answer="Wake").items() if name != "generated"},
    ]
    assert verify_rows(ScriptedWriter([]), None, range(3), rows) == rows


@settings(max_examples=60)
@given(st.lists(st.lists(TEXTS, min_size=MAX_TRIES + 1, max_size=MAX_TRIES + 1), min_size=1, max_size=3))
def test_verified_texts_have_no_false_claim_and_the_answers_and_probabilities_of_the_first(texts_of_rows):
    rows, verified, _ = verify(*texts_of_rows, probabilities=[0.1, 0.4, 0.3, 0.1, 0.1])
    for row, texts, after in zip(rows, texts_of_rows, verified, strict=True):
        assert parse_row_answer(after) == parse_row_answer(row)
        assert after["probabilities"] == row["probabilities"]
        assert after["first_generated"] == row["generated"]
        assert after["claims_after"]["contradicted"] == 0
        whole, spans = restore_struck(after["generated"], after["struck"])
        assert whole in texts
        assert [whole[start:stop] for start, stop in spans] == [sentence for _, sentence in after["struck"]]
        assert (after["tries"] > 0) == (after["claims_before"]["contradicted"] > 0)


@settings(max_examples=60)
@given(TEXTS)
def test_striking_takes_only_the_sentences_that_hold_a_false_claim(text):
    sentences = split_sentences(text)
    assert "".join(sentences) == text[: text.rindex("Answer:")]
    kept, struck = strike_faults(text, EVIDENCE)
    assert {sentence.strip() for _, sentence in struck} == set(FALSE) & {sentence.strip() for sentence in sentences}
    assert [claim.feature for claim in read_claims(kept)] == [
        item.claim.feature
        for item in check_rationale(" ".join(s for s in sentences if s.strip() in TRUE), EVIDENCE).claims
    ]


def test_the_scores_before_verification_are_those_of_the_first_texts():
    texts = [[f"{idx % 4} spindles. RMS 12 uV. Answer: Wake", *["Two spindles. Answer: Wake"] * 3] for idx in range(24)]
    rows, verified, _ = verify(*texts)
    (before,), (after,) = (parse_scorings(some).values() for some in (rows, verified))
    scores = score_texts(after, num_resamples=20)
    assert scores["before_verification"] == score_texts(before, num_resamples=20)
    assert scores["before_verification"]["precision"] < scores["precision"] == 1
    assert scores["grounded"] == scores["before_verification"]["grounded"]
    assert scores["verification"]["share_rewritten"] == 0.75
    assert scores["verification"]["mean_tries"] == 0.75
    assert scores["verification"]["share_struck"] == scores["verification"]["share_sentences_struck"] == 0
    low, high = scores["intervals"]["claims_per_rationale"]
    assert low <= scores["claims_per_rationale"] <= high


def test_struck_sentences_are_counted_among_all():
    _, verified, _ = verify(
        *[["RMS 12 uV. No spindles. Answer: Wake"] * (MAX_TRIES + 1)] * 4, ["RMS 12 uV. Answer: Wake"]
    )
    (scoring,) = parse_scorings(verified).values()
    changed = score_texts(scoring, num_resamples=0)["verification"]
    assert (changed["share_struck"], changed["share_rewritten"]) == (0.8, 0.8)
    assert changed["share_sentences_struck"] == pytest.approx(4 / 9)


def test_verified_rows_are_read_back_as_they_were_written(tmp_path):
    _, verified, _ = verify(["RMS 12 uV. No spindles. Answer: Wake"] * (MAX_TRIES + 1), ["RMS 12 uV. Answer: Wake"])
    write_predictions(verified, tmp_path / "p.jsonl")
    read = read_predictions(tmp_path / "p.jsonl")
    for row in read:
        row["struck"] = [tuple(struck) for struck in row["struck"]]
    assert read == verified
    assert [restore_struck(row["generated"], row["struck"])[0] for row in read] == [
        "RMS 12 uV. No spindles. Answer: Wake",
        "RMS 12 uV. Answer: Wake",
    ]


def test_a_model_writes_the_same_texts_again_in_any_batch(tiny_llm):
    configs = [small_config(tiny_llm, train__eval_batch_size=size, stage__max_new_tokens=30) for size in (3, 1)]
    model = build_small_model(configs[0], lora_noise=0.1)
    dataset, units = sleep_dataset(configs[0]), [8, 1, 4, 5]
    first, again, alone, other = (
        [
            (row["sample_id"], row["generated"])
            for row in EpochWriter(model, config).rewrite(dataset, units, attempt, 0.8)
        ]
        for config, attempt in ((configs[0], 1), (configs[0], 1), (configs[1], 1), (configs[0], 2))
    )
    assert first == again == alone
    assert [sample_id for sample_id, _ in first] == [f"night1:{idx}" for idx in units]
    assert all(text != text_2 for (_, text), (_, text_2) in zip(first, other, strict=True))
    assert all(parse_answer(text, OPTIONS) in OPTIONS for _, text in first)
