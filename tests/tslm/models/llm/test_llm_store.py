from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tslm.models.llm.folders import build_tiny_llm
from tslm.models.llm.store import (
    EMBEDDED_LLMS,
    explain_load_error,
    fetch_llm,
    get_cache_dir,
    is_llm_dir,
    resolve_llm,
)


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_llm(tmp_path_factory.mktemp("llm") / "tiny")


def test_resolving_tiny_builds_it_in_the_cache_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSLM_CACHE_DIR", str(tmp_path))
    assert resolve_llm("tiny") == tmp_path / "llm" / "tiny" == get_cache_dir() / "tiny"
    assert is_llm_dir(tmp_path / "llm" / "tiny")
    assert sorted(path.name for path in (tmp_path / "llm").iterdir()) == ["tiny"]


@pytest.mark.parametrize("name", EMBEDDED_LLMS)
def test_a_missing_embedded_model_names_the_command_that_brings_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"python -m data_prep.download llm {name}") as caught:
        resolve_llm(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_local_folder_and_a_hub_id_resolve_to_themselves(tiny_dir: Path, tmp_path: Path) -> None:
    assert resolve_llm(str(tiny_dir), tmp_path) == tiny_dir
    assert resolve_llm("someone/some-model", tmp_path) == "someone/some-model"


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no language model"):
        resolve_llm(str(tmp_path), tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        resolve_llm(str(tmp_path / "absent"), tmp_path)


def test_an_unknown_short_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="smollm2-135m"):
        resolve_llm("smolm2-135m", tmp_path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("You are trying to access a gated repo.\n401 Client Error", "accept its terms"),
        ("We couldn't connect to 'https://huggingface.co' to load the files", "cannot be reached"),
        ("x is not a local folder and is not a valid model identifier listed on", "no such model"),
        ("strange\nand long", "strange"),
    ],
)
def test_a_hub_failure_is_one_line_with_the_way_out(error: str, said: str) -> None:
    message = str(explain_load_error("meta-llama/Llama-3.2-1B", OSError(error)))
    assert said in message
    assert "\n" not in message
    assert "hf auth login" in message
    assert "smollm2-135m" in message


def test_the_converted_default_model_writes_english() -> None:
    folder = get_cache_dir() / "smollm2-135m"
    if not is_llm_dir(folder):
        pytest.skip("smollm2-135m is not in the cache: python -m data_prep.download llm smollm2-135m")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("The capital of France is", return_tensors="pt")
    written = tokenizer.decode(model.generate(**inputs, max_new_tokens=3, do_sample=False)[0])
    assert "Paris" in written


def test_fetching_a_local_model_needs_no_network(tiny_dir: Path, tmp_path: Path) -> None:
    assert fetch_llm(str(tiny_dir)) == tiny_dir
    assert fetch_llm("tiny", tmp_path) == tmp_path / "tiny"


def test_fetching_a_hub_model_without_the_hub_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match="hf auth login") as caught:
        fetch_llm("someone/some-model", tmp_path)
    assert "\n" not in str(caught.value)
