from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from tests.factories.small import small_config, write_small_cohort
from tslm.config.schema import LLMConfig
from tslm.data.splits.provenance import describe_split
from tslm.models.llm.store import EMBEDDED_LLMS, find_licence
from tslm.training.checkpoints.model_card import render_model_card, write_model_card

EVALUATION = {
    "accuracy": 0.75,
    "cohen_kappa": 0.5,
    "per_class_f1": {"Wake": 0.8, "REM sleep": None},
    "num_samples": 841,
    "num_parse_failures": 2,
    "data": {
        "folder": "sleep_edf",
        "sources": ["sleep_edf"],
        "simulated": False,
        "species": ["human"],
        "subjects": 1,
        "recordings": 1,
        "epochs": 841,
        "split": "by subject",
    },
}
SMOLLM2 = LLMConfig()


def read_back(path: Path) -> Any:
    return ModelCard.load(path, ignore_metadata_errors=False)


def test_the_head_is_what_the_hub_reads(tmp_path: Path) -> None:
    write_model_card(small_config(llm=SMOLLM2), {"evaluation": EVALUATION}, tmp_path)
    data = read_back(tmp_path / "README.md").data
    assert (data.license, data.base_model) == ("apache-2.0", "HuggingFaceTB/SmolLM2-135M-Instruct")
    assert "sleep-staging" in data.tags
    found = {result.metric_type: (result.metric_value, result.dataset_name) for result in data.eval_results}
    assert found == {"accuracy": (0.75, "sleep_edf"), "cohen_kappa": (0.5, "sleep_edf")}


def test_a_folder_of_the_user_is_no_base_model_of_the_hub(tmp_path: Path) -> None:
    write_model_card(small_config("/models/mine"), {}, tmp_path)
    data = read_back(tmp_path / "README.md").data
    assert (data.license, data.base_model) == ("other", None)


def test_the_card_tells_data_scores_and_limits() -> None:
    text = render_model_card(small_config(llm=SMOLLM2), {"evaluation": EVALUATION}).text
    assert "841 epochs of 1 real recordings of 1 subjects (human; sleep_edf; split by subject)" in text
    assert "| Cohen's kappa | 0.500 |" in text
    assert "| F1 Wake | 0.800 |" in text
    assert "2 of 841 answers could not be read" in text
    assert "Not a medical device" in text
    assert "4-bit" in text


def test_a_leak_is_said_where_the_scores_stand() -> None:
    card = render_model_card(small_config(llm=SMOLLM2), {"evaluation": EVALUATION | {"leaky": True}})
    assert "This split leaks" in card.text
    assert card.data.eval_results[0].dataset_name == "sleep_edf (split leaks)"


def test_without_an_evaluation_the_card_says_so() -> None:
    card = render_model_card(small_config(llm=SMOLLM2), {})
    assert "Not evaluated yet." in card.text
    assert card.data.eval_results is None


def test_a_split_is_counted_by_subject_and_epoch(tmp_path: Path) -> None:
    cohort = write_small_cohort(tmp_path / "cohort", num_epochs=10)
    facts = describe_split(small_config(stage__train_dir=str(cohort)).stage, "train")
    assert (facts["subjects"], facts["recordings"], facts["epochs"]) == (2, 2, 20)
    assert facts["split"] == "by subject"


@pytest.mark.parametrize("name", EMBEDDED_LLMS)
def test_the_licence_of_every_embedded_model_is_known(name: str) -> None:
    assert find_licence(name)


@pytest.mark.parametrize(
    ("source", "licence"), [("meta-llama/Llama-3.2-1B", "llama3.2"), ("google/gemma-3-1b-pt", "gemma"), ("a/b", None)]
)
def test_licences_are_found_by_the_name_on_the_hub(source: str, licence: str | None) -> None:
    assert find_licence(source) == licence
