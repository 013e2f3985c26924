"""Interventions on writers that are known to follow the signal, the facts in the prompt, or neither."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from tests.factories.small import small_config
from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.recordings_dataset import SleepDataset
from tslm.evidence.measure import measure_evidence
from tslm.evidence.text.facts_line import FACTS_PREFIX, render_facts_line
from tslm.evidence.words import epoch_facts
from tslm.explain.claims.arguments import weigh_rationale
from tslm.explain.claims.read import read_claims
from tslm.explain.interventions.edits import Condition
from tslm.explain.interventions.outcomes import build_table
from tslm.explain.interventions.run import EDIT_NAMES, run_interventions
from tslm.labels import ANSWER_NAMES, LABEL_SETS, SleepStage
from tslm.predictions.rows import PredictionRow
from tslm.scoring.intervals import Resampling

STAGES = LABEL_SETS["aasm"].sleep_stages
CONFIG = small_config(
    stage__facts="measured", stage__channel="EEG Fpz-Cz", model__encoder__max_patches=64, model__encoder__patch_size=100
)
FAST = Resampling(num_resamples=100)


@dataclass
class StubWriter:
    """Writes what `read` makes of a sample; answers after a text by what it argues for, or always alike."""

    config: RunConfig
    read: Callable[[SleepDataset, int], str]
    believes_texts: bool = True
    num_answered: int = 0

    def answer(
        self, source: Any, units: Sequence[int], explain: bool = True, *, show_progress: bool = False
    ) -> Iterator[PredictionRow]:
        del explain, show_progress
        self.num_answered += len(units)
        return (self._build_row(source, idx, self.read(source, idx)) for idx in units)

    def answer_after(
        self, source: Any, rationales: Mapping[int, str], show_progress: bool = False
    ) -> Iterator[PredictionRow]:
        del show_progress
        return (self._build_row(source, idx, text) for idx, text in rationales.items())

    def _build_row(self, source: SleepDataset, idx: int, text: str) -> PredictionRow:
        claims = read_claims(text) if self.believes_texts else ()
        weights = [weigh_rationale(text, claims, stage) for stage in STAGES]
        probabilities = np.eye(5)[int(np.argmax(weights))]
        return {
            "system": "language_model",
            "sample_id": source[idx].sample_id,
            "truth": "",
            "options": [ANSWER_NAMES[stage] for stage in STAGES],
            "generated": f"{text} Answer: {ANSWER_NAMES[STAGES[int(np.argmax(weights))]]}",
            "probabilities": probabilities.tolist(),
        }


def read_prompt(source: SleepDataset, idx: int) -> str:
    """The line of facts; without one, what is measured in the series."""
    line = next((part for part in source[idx].post_prompt.splitlines() if part.startswith(FACTS_PREFIX)), "")
    return line.removeprefix(FACTS_PREFIX) or read_series(source, idx)


def read_series(source: SleepDataset, idx: int) -> str:
    (series,) = source[idx].series
    facts = epoch_facts(measure_evidence(series.values_L[None], 100.0), 0)
    return render_facts_line(facts, "human").removeprefix(FACTS_PREFIX)


def read_nothing(_source: SleepDataset, _idx: int) -> str:
    return "Moderate amplitude, two spindles, slow waves in 12%, scarce alpha. Decisive: spindles."


def intervene(writer: StubWriter, nights: Sequence[Recording], **changes: Any) -> dict[tuple[str, str], dict]:
    settings = {"num_epochs": 6, "resampling": FAST} | changes
    rows = run_interventions(writer, nights, **settings)
    return {(row["edit"], row["condition"]): row for row in rows}


@pytest.fixture(scope="module")
def of_prompt(night) -> dict[tuple[str, str], dict]:
    return intervene(StubWriter(CONFIG, read_prompt), [night])


def test_a_writer_that_copies_the_facts_follows_every_edit(of_prompt) -> None:
    judged = {key: row for key, row in of_prompt.items() if row["claim"]}
    assert len(judged) == 7 * 3 + 5
    for row in judged.values():
        assert row["num_epochs"] == 6
        assert row["share_text_follows"] == 1.0
        assert row["text_difference"] > 0.5


def test_a_writer_that_ignores_what_it_is_given_follows_no_edit(night) -> None:
    rows = intervene(StubWriter(CONFIG, read_nothing, believes_texts=False), [night])
    for row in rows.values():
        assert row["share_answer_changed"] in (0.0, None)  # None: its rationales do not argue for its answer
        assert row["text_difference"] in (0.0, None)
        assert row["probability_change"] in (0.0, None)
    for name in ("spindles_removed", "slow_waves_x3", "alpha_added"):
        assert rows[name, "all"]["share_text_follows"] == 0.0


def test_a_reader_of_the_series_follows_the_signal_and_not_the_facts(night) -> None:
    rows = intervene(StubWriter(CONFIG, read_series), [night], edits=["spindles_added", "fact_five_spindles"])
    assert rows["spindles_added", "series"]["share_text_follows"] == 1.0
    assert rows["spindles_added", "all"]["share_text_follows"] == 1.0
    assert rows["spindles_added", "facts"]["share_text_follows"] == 0.0
    assert rows["fact_five_spindles", "facts"]["share_text_follows"] == 0.0


def test_answers_follow_the_text_of_a_writer_that_believes_it(of_prompt, night) -> None:
    blind = intervene(StubWriter(CONFIG, read_prompt, believes_texts=False), [night])
    for name in ("rationale_of_other_answer", "rationale_negated"):
        row = of_prompt[name, "all"]
        assert row["share_answer_before"] == 0.0
        assert row["share_answer_follows"] == 1.0
        assert row["probability_change"] == 1.0
        assert row["share_text_follows"] is None
        assert blind[name, "all"]["share_answer_changed"] in (0.0, None)
    assert of_prompt["rationale_left_out", "all"]["share_answer_follows"] is None


def test_the_answer_expected_of_an_edit_is_that_of_the_rule(of_prompt) -> None:
    many = of_prompt["slow_waves_x3", "all"]
    assert (many["share_answer_before"], many["share_answer_follows"]) == (0.0, 1.0)
    few = of_prompt["slow_waves_x0.3", "all"]
    assert few["share_answer_follows"] > few["share_answer_before"]
    assert of_prompt["spindles_removed", "all"]["share_answer_follows"] is None


def test_unedited_epochs_are_answered_once_a_prompt(night) -> None:
    writer = StubWriter(CONFIG, read_prompt)
    edits = ["slow_waves_x3", "fact_many_slow_waves"]
    intervene(writer, [night], edits=edits, conditions=["all", "facts"], num_epochs=1)
    assert writer.num_answered in (1 + 3, 2 + 3)  # the two edits may be of the same epoch


@pytest.mark.parametrize("window_epochs", [5, 1])
def test_an_epoch_cut_out_of_its_night_is_read_as_in_the_whole_night(window_epochs, night) -> None:
    config = replace(
        CONFIG, model=replace(CONFIG.model, context=replace(CONFIG.model.context, window_epochs=window_epochs))
    )
    seen = []

    def keep(source: SleepDataset, idx: int) -> str:
        seen.append(source[idx])
        return read_prompt(source, idx)

    edge = replace(  # the first and the last epoch, and one beside a gap
        night,
        sleep_stages=tuple(
            stage if idx in (0, 1, 400, night.num_epochs - 1) else SleepStage.UNSCORED
            for idx, stage in enumerate(night.sleep_stages)
        ),
        onset_s=night.onset_s + np.where(np.arange(night.num_epochs) > 400, 600.0, 0.0),
    )
    intervene(StubWriter(config, keep), [edge], edits=["rationale_left_out"], conditions=["all"])
    whole = SleepDataset([edge], config, "all")
    for example, epoch in zip(seen, (0, 1, 400, night.num_epochs - 1), strict=True):
        wanted = whole[epoch]
        assert (example.pre_prompt, example.post_prompt) == (wanted.pre_prompt, wanted.post_prompt)
        np.testing.assert_array_equal(example.series[0].values_L, wanted.series[0].values_L)
        assert example.series[0].reference.scale == wanted.series[0].reference.scale
        if wanted.window is not None:
            np.testing.assert_array_equal(example.window.values_WCL, wanted.window.values_WCL)
            np.testing.assert_array_equal(example.window.epoch_mask_W, wanted.window.epoch_mask_W)


def test_an_edited_epoch_is_edited_in_series_window_and_facts_and_its_neighbours_are_not(night) -> None:
    seen = []

    def keep(source: SleepDataset, idx: int) -> str:
        seen.append(source[idx])
        return read_prompt(source, idx)

    intervene(StubWriter(CONFIG, keep), [night], edits=["alpha_added"], num_epochs=1)
    by_condition = dict(zip(["before", "all", "series before", "series", "facts"], seen, strict=True))
    before, edited = by_condition["before"], by_condition["all"]
    assert "scarce alpha" in before.post_prompt
    for condition, is_edited in (("all", True), ("series", True), ("facts", False)):
        example = by_condition[condition]
        assert (example.series[0].values_L != before.series[0].values_L).any() == is_edited
        changed_W = (example.window.values_WCL != before.window.values_WCL).any(axis=(1, 2))
        assert changed_W.tolist() == [False, False, is_edited, False, False]
        assert ("alpha rhythm" in example.post_prompt) == (condition != "series")
    assert FACTS_PREFIX not in by_condition["series"].post_prompt
    assert edited.series[0].reference.scale == before.series[0].reference.scale


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"edits": ["spindles_gone"]}, "unknown edit 'spindles_gone'; one of: spindles_removed"),
        ({"conditions": ["signal"]}, "unknown condition 'signal'; one of: all, series, facts"),
        ({"nights": []}, "no night to intervene on"),
    ],
)
def test_a_mistake_says_what_is_wanted(changes, said, night) -> None:
    nights = changes.pop("nights", [night])
    with pytest.raises(ValueError, match=said):
        intervene(StubWriter(CONFIG, read_nothing), nights, **changes)


def test_a_checkpoint_whose_prompts_state_no_facts_is_read_by_its_series_alone(night) -> None:
    config = replace(CONFIG, stage=replace(CONFIG.stage, facts="none"))
    rows = intervene(StubWriter(config, read_prompt), [night], num_epochs=1)
    assert {condition for _, condition in rows} == {Condition.SERIES}
    assert {name for name, _ in rows} == {name for name in EDIT_NAMES if not name.startswith("fact_")}
    with pytest.raises(
        ValueError, match="condition 'facts': this checkpoint's prompts hold series alone; choose series"
    ):
        intervene(StubWriter(config, read_prompt), [night], conditions=["facts"])


def test_a_checkpoint_that_reads_facts_alone_follows_them(night) -> None:
    config = replace(CONFIG, stage=replace(CONFIG.stage, inputs="facts"))
    rows = intervene(StubWriter(config, read_prompt), [night], edits=["spindles_added", "fact_alpha"])
    assert {key: row["share_text_follows"] for key, row in rows.items()} == {
        ("spindles_added", "facts"): 1.0,
        ("fact_alpha", "facts"): 1.0,
    }


def test_animals_are_refused(night) -> None:
    with pytest.raises(ValueError, match="is of an animal"):
        intervene(StubWriter(CONFIG, read_nothing), [replace(night, species="mouse")])


def test_the_table_says_where_people_were_trained_on_and_of_how_many_epochs_an_answer_is_expected(of_prompt) -> None:
    table = build_table([of_prompt["spindles_added", "all"], of_prompt["spindles_removed", "all"]], "Leaky split.")
    assert table.notes[-1] == "Leaky split."
    added, removed = (dict(zip(table.columns, row, strict=True)) for row in table.cells)
    assert added["Answer expected"].text() == "N2, where it was N1 (2 epochs)"
    assert added["text after"].text() == "100 % [100, 100]"
    assert removed["answer after"].text() == "-"
