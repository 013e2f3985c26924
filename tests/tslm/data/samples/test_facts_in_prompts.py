from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.factories.recordings import AASM, EEG, build_night, draw_stages
from tests.factories.small import CHANNEL, sleep_dataset, small_config, small_recording
from tslm.config.schema import CurriculumStageConfig
from tslm.data.evidence import find_prepared_evidence, read_evidence
from tslm.data.prepared.recordings import read_recording, write_recording
from tslm.data.samples.recordings_dataset import SleepDataset
from tslm.evidence.measure import EVIDENCE_COLUMNS, measure_evidence
from tslm.evidence.text.closing import render_closing
from tslm.evidence.text.facts_line import FACTS_PREFIX, phrase_facts, render_facts_line
from tslm.evidence.words import epoch_facts


def build_dataset(varied: bool = False, **stage: object) -> SleepDataset:
    config = small_config(**{"stage__facts": "measured", **{f"stage__{key}": value for key, value in stage.items()}})
    return SleepDataset([small_recording(num_epochs=40)], config, varied=varied)


@pytest.mark.parametrize(
    ("inputs", "has_line", "num_series"), [("all", True, 1), ("facts", True, 0), ("series", False, 1)]
)
def test_a_prompt_holds_the_inputs_that_are_asked_for(inputs: str, has_line: bool, num_series: int) -> None:
    dataset = build_dataset(inputs=inputs)
    example = dataset[3]
    line = render_facts_line(epoch_facts(dataset.read_evidence(0), 3), "human")
    assert (f"\n{line}\n" in example.post_prompt) == has_line
    assert (FACTS_PREFIX in example.post_prompt) == has_line
    assert len(example.series) == num_series
    assert example.reads_night == (inputs != "facts")
    assert dataset.describe(3)["inputs"] == inputs


def test_each_answer_has_its_closing_where_the_prompt_states_the_facts() -> None:
    dataset = build_dataset(prompt_style="brief")
    facts = epoch_facts(dataset.read_evidence(0), 3)
    assert dataset[3].closings == tuple(render_closing(facts, sleep_stage) for sleep_stage in dataset.sleep_stages)


@pytest.mark.parametrize("stage", [{"inputs": "series"}, {"reasons": "free"}, {"constrained": False}])
def test_closings_are_free_without_facts_and_where_it_is_said(stage: dict[str, object]) -> None:
    assert build_dataset(**{"prompt_style": "brief", **stage})[3].closings == ()


def test_closings_of_full_rationales_vary_and_are_free() -> None:
    assert build_dataset(prompt_style="full")[3].closings == ()


def test_without_facts_the_prompt_is_as_it_was() -> None:
    none, series = build_dataset(facts="none"), build_dataset(inputs="series")
    assert none[5].post_prompt == series[5].post_prompt
    assert none.describe(5)["inputs"] == "series"


def test_training_leaves_out_the_facts_and_the_signal_as_often_as_it_is_told() -> None:
    dataset = build_dataset(True, facts_dropout=0.3, series_dropout=0.2, fact_dropout=0.0)
    torch.manual_seed(0)
    examples = [dataset[idx % 40] for idx in range(1000)]
    kinds = Counter((FACTS_PREFIX in item.post_prompt, bool(item.series)) for item in examples)
    assert kinds.keys() == {(True, True), (False, True), (True, False)}
    assert kinds[False, True] == pytest.approx(300, abs=45)
    assert kinds[True, False] == pytest.approx(200, abs=40)
    assert all(item.response == dataset[idx % 40].response for idx, item in enumerate(examples[:40]))


def test_single_facts_are_left_out_and_the_others_stay_word_for_word() -> None:
    dataset = build_dataset(True, facts_dropout=0.0, series_dropout=0.0, fact_dropout=0.5)
    phrases = {
        name: text
        for part in phrase_facts(epoch_facts(dataset.read_evidence(0), 2), "human")
        for name, text in part.items()
    }
    torch.manual_seed(0)
    seen = Counter(name for _ in range(200) for name, text in phrases.items() if text in dataset[2].post_prompt)
    assert seen.keys() == phrases.keys()
    assert all(60 < count < 200 for name, count in seen.items() if name != "slow_share")


def test_a_sample_varies_by_the_generator_alone() -> None:
    dataset = build_dataset(True, facts_dropout=0.4, series_dropout=0.4)
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append([dataset[idx].post_prompt for idx in range(20)])
    assert drawn[0] == drawn[1]


def test_facts_of_a_night_without_columns_are_measured_and_equal_the_prepared_ones(tmp_path) -> None:
    night = build_night("n1", draw_stages(12, 0))
    prepared = replace(night, columns={**measure_evidence(night.channels[EEG], night.fs_hz)})
    write_recording(prepared, tmp_path, "test")
    stored = read_recording(tmp_path / "n1.parquet")
    measured = read_evidence(replace(stored, columns={}, measured_channel=""), EEG)
    assert find_prepared_evidence(stored, EEG).keys() >= set(EVIDENCE_COLUMNS)
    again = measure_evidence(stored.channels[EEG], stored.fs_hz)
    for name in EVIDENCE_COLUMNS:
        assert np.array_equal(measured[name], again[name])


def test_columns_of_another_channel_are_not_taken_for_the_staged_one() -> None:
    night = build_night("n1", draw_stages(6, 0))
    other = replace(night, channels={**night.channels, "EEG Pz-Oz": 3 * night.channels[EEG]})
    assert set(find_prepared_evidence(other, "EEG Pz-Oz")) == {"emg_tone"}
    assert read_evidence(other, "EEG Pz-Oz")["rms_uv"] == pytest.approx(
        3 * read_evidence(other, EEG)["rms_uv"], rel=1e-3
    )


def test_a_rate_that_the_detectors_do_not_take_is_said_with_what_to_do() -> None:
    bare = replace(small_recording(), columns={}, measured_channel="")
    dataset = SleepDataset([bare], small_config(stage__facts="measured"))
    with pytest.raises(ValueError, match=r"night1: .*20 Hz.*stage\.facts=none"):
        dataset[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"facts": "some"}, "stage.facts=some; wanted one of: measured, none"),
        ({"inputs": "eeg"}, "stage.inputs=eeg; wanted one of: all, facts, series"),
        ({"facts": "none", "inputs": "facts"}, "leaves nothing to read"),
        ({"fact_dropout": 1.5}, "stage.fact_dropout=1.5"),
        ({"facts_dropout": 0.6, "series_dropout": 0.6}, "exclude each other"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CurriculumStageConfig(**settings)


def test_a_flat_epoch_is_said_to_be_unmeasurable() -> None:
    night = build_night("n1", [AASM.sleep_stages[2]] * 4)
    night.channels[EEG][1] = 0.0
    bare = replace(night, columns={}, measured_channel="")
    config = small_config(stage__facts="measured", stage__channel=EEG)
    prompts = [SleepDataset([bare], config)[idx].post_prompt for idx in range(4)]
    assert ["cannot be measured" in prompt for prompt in prompts] == [False, True, False, False]
    assert "RMS 0" not in prompts[1]


def test_the_default_of_a_sleep_stage_states_the_facts() -> None:
    dataset = sleep_dataset(small_config(stage__facts=""))
    assert FACTS_PREFIX in dataset[0].post_prompt
    assert dataset.stage.channel == CHANNEL


def test_a_taught_response_ends_in_the_stage_that_the_classifier_draws_and_argues_for_it() -> None:
    dataset = build_dataset(varied=True, prompt_style="brief")
    plain = dataset[3]
    taught = next(idx for idx, name in enumerate(dataset.label_set.answers) if name != plain.answer)
    dataset.teach([np.eye(len(dataset.sleep_stages))[np.full(40, taught)]])
    response = dataset[3].response
    closing = render_closing(epoch_facts(dataset.read_evidence(0), 3), dataset.sleep_stages[taught])
    assert response.endswith(f"{closing} Answer: {dataset.label_set.answers[taught]}")
    assert dataset[3].answer == plain.answer  # the label stays what the sample counts as


def test_stages_are_drawn_as_often_as_they_are_probable() -> None:
    dataset = build_dataset(varied=True, prompt_style="brief")
    probability_K = np.array([0.0, 0.0, 0.3, 0.7, 0.0])
    dataset.teach([np.tile(probability_K, (40, 1))])
    torch.manual_seed(0)
    ends = Counter(dataset[3].response.rpartition("Answer: ")[2] for _ in range(300))
    assert set(ends) == {"Non-REM stage 2", "Non-REM stage 3"}
    assert 0.6 < ends["Non-REM stage 3"] / 300 < 0.8


def test_only_training_is_taught() -> None:
    dataset = build_dataset(prompt_style="brief")
    before = dataset[3].response
    dataset.teach([np.eye(5)[np.full(40, 4)]])
    assert dataset[3].response == before
