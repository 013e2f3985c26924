import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslm.labels import ANSWER_NAMES, LABEL_SETS, RK_ANNOTATIONS, SleepStage, parse_sleep_stage


@given(st.sampled_from(list(ANSWER_NAMES)), st.sampled_from([str.lower, str.upper, str.title, "**{}**.".format]))
def test_every_answer_name_parses_to_its_stage_however_it_is_dressed(sleep_stage, dress):
    assert parse_sleep_stage(dress(ANSWER_NAMES[sleep_stage])) is sleep_stage


@pytest.mark.parametrize("sleep_stage", [s for s in SleepStage if s not in (SleepStage.MOVEMENT, SleepStage.UNSCORED)])
def test_every_code_parses_to_its_stage(sleep_stage):
    assert parse_sleep_stage(sleep_stage.value) is sleep_stage


@pytest.mark.parametrize(("text", "sleep_stage"), RK_ANNOTATIONS.items())
def test_annotation_texts_parse_to_the_stage_of_the_table(text, sleep_stage):
    expected = None if sleep_stage is SleepStage.UNSCORED else sleep_stage
    assert parse_sleep_stage(text) is expected


@pytest.mark.parametrize(
    ("text", "sleep_stage"),
    [
        ("awake", SleepStage.WAKE),
        ("stage wake", SleepStage.WAKE),
        ("NREM 1", SleepStage.N1),
        ("nrem-2", SleepStage.N2),
        ("Non\u2011REM stage 2", SleepStage.N2),
        ("non-REM sleep stage II", SleepStage.N2),
        ("Stage N2 sleep", SleepStage.N2),
        ("Non-REM stage 2 (N2)", SleepStage.N2),
        ("N3 (slow-wave sleep).", SleepStage.N3),
        ("Non-REM stage 4", SleepStage.N3),
        ("S4", SleepStage.N3),
        ("(REM)", SleepStage.REM),
        ("stage REM sleep", SleepStage.REM),
        ("paradoxical sleep", SleepStage.REM),
        ("stage 2 of non-REM sleep", SleepStage.N2),
        ("stage 2 NREM", SleepStage.N2),
        ("NREM sleep, stage 1", SleepStage.N1),
        ("non-rapid eye movement stage two", SleepStage.N2),
        ("N-2", SleepStage.N2),
        ("stage 3/4", SleepStage.N3),
        ("stages 3 and 4", None),
        ("stage 3 and 4", SleepStage.N3),
        ("delta sleep", SleepStage.N3),
        ("awake state", SleepStage.WAKE),
        ("REM stage", SleepStage.REM),
        ("R sleep", SleepStage.REM),
        ("non-rapid-eye-movement sleep", SleepStage.NREM),
        ("NREM", SleepStage.NREM),
        ("non-REM sleep", SleepStage.NREM),
        ("quiet wakefulness", SleepStage.WAKE),
        ("S0", SleepStage.WAKE),
        ("stage 0", SleepStage.WAKE),
        ("relaxed wake", SleepStage.WAKE),
        ("eyes-closed wakefulness", SleepStage.WAKE),
        ("fully awake", SleepStage.WAKE),
        ("N 2", SleepStage.N2),
        ("stage N 1", SleepStage.N1),
        ("N-II", SleepStage.N2),
        ("N III", SleepStage.N3),
        ("deep NREM sleep", SleepStage.N3),
        ("phasic REM", SleepStage.REM),
        ("dream sleep", SleepStage.REM),
    ],
)
def test_common_spellings_parse(text, sleep_stage):
    assert parse_sleep_stage(text) is sleep_stage


@pytest.mark.parametrize(
    "text",
    ["", " ", "?", "2", "ii", "one", "1 sleep", "i sleep", "stage", "sleep", "stage 5", "N4x", "N2 or N3", "wake rem"]
    + [
        "2 stage",
        "Wake (N1)",
        "Wake (quiet",
        "0",
        "quiet sleep",
        "light sleep",
        "active sleep",
        "Non-REM stage",
        "sleep stage ?",
        "not awake",
        "()",
        "stage (2)",
    ],
)
def test_unclear_names_parse_to_none(text):
    assert parse_sleep_stage(text) is None


@given(st.text(max_size=40))
def test_no_text_breaks_the_parser(text):
    assert parse_sleep_stage(text) in {None, *SleepStage}


@pytest.mark.parametrize("label_set", LABEL_SETS.values(), ids=lambda label_set: label_set.name)
def test_index_and_answers_of_a_label_set_agree(label_set):
    assert len(set(label_set.answers)) == len(label_set.sleep_stages)
    for idx, (sleep_stage, answer) in enumerate(zip(label_set.sleep_stages, label_set.answers, strict=True)):
        assert label_set.index(sleep_stage) == idx
        assert label_set.from_answer(answer) is sleep_stage
    assert label_set.index(SleepStage.UNSCORED) == -1
    with pytest.raises(ValueError, match="'Coma' is not an answer"):
        label_set.from_answer("Coma")
