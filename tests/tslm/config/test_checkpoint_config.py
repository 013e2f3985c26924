import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tslm import __version__
from tslm.config import checkpoint as checkpoint_config
from tslm.config.checkpoint import (
    CHECKPOINT_CONFIG_FILE,
    load_checkpoint_config,
    render_checkpoint_config,
    save_checkpoint_config,
)
from tslm.config.schema import ModelConfig, RunConfig

CONFIG = RunConfig(seed=7, model=ModelConfig(label_set="rodent"))


def write(folder: Path, **changes: object) -> Path:
    found = render_checkpoint_config(CONFIG) | changes
    (folder / CHECKPOINT_CONFIG_FILE).write_text(json.dumps(found))
    return folder


def test_the_settings_come_back_as_they_were_saved(tmp_path: Path) -> None:
    save_checkpoint_config(CONFIG, tmp_path)
    assert load_checkpoint_config(tmp_path) == CONFIG


def test_the_file_says_what_transformers_asks_for() -> None:
    found = render_checkpoint_config(CONFIG)
    assert found["model_type"] == "tslm_text"
    assert found["tslm_version"] == __version__
    assert found["id2label"] == {"0": "Wake", "1": "NREM sleep", "2": "REM sleep"}
    classifier = render_checkpoint_config(replace(CONFIG, model=replace(CONFIG.model, name="classifier")))
    assert classifier["architectures"] == ["TSLMClassifier"]


@pytest.mark.parametrize("version", ["0.2.0", "1.0", "10.0.1"])
def test_a_newer_version_is_named_beside_this_one(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_config, "__version__", "0.1.3")
    with pytest.raises(ValueError, match=f"made by tslm {version}, newer than this 0.1.3; upgrade"):
        load_checkpoint_config(write(tmp_path, tslm_version=version))


@pytest.mark.parametrize("version", ["0.1.0", "0.1.9", "0.0.9"])
def test_versions_of_this_release_and_older_ones_are_read(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_config, "__version__", "0.1.3")
    assert load_checkpoint_config(write(tmp_path, tslm_version=version)) == CONFIG


def test_an_unknown_key_names_the_version_that_wrote_it(tmp_path: Path) -> None:
    settings = render_checkpoint_config(CONFIG)["settings"] | {"sed": 1}
    with pytest.raises(ValueError, match=f"made by tslm {__version__}.*unknown key 'sed'.*'seed'"):
        load_checkpoint_config(write(tmp_path, settings=settings))


def test_a_checkpoint_cannot_ask_for_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSLM_TEST_KEY", "sk-secret")
    settings = render_checkpoint_config(CONFIG)["settings"] | {"llm": {"source": "${oc.env:TSLM_TEST_KEY}"}}
    with pytest.raises(ValueError, match="config.json.*llm.source=.*write the value itself") as caught:
        load_checkpoint_config(write(tmp_path, settings=settings))
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model_type": "tslm_te', "is damaged"),
        ('{"model_type": "llama"}', "another kind of model"),
        ("[]", "another kind of model"),
        ('{"model_type": "tslm_text"}', "has no 'settings'"),
        ('{"model_type": "tslm_text", "settings": []}', "has no 'settings'"),
        ('{"model_type": ' + 100_000 * "[", "is damaged"),
        ('{"model_type": "\\xff', "is damaged"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / CHECKPOINT_CONFIG_FILE).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        load_checkpoint_config(tmp_path)


@pytest.mark.parametrize(
    "key",
    [
        *("model.encoder.patch_size", "model.encoder.d_model", "model.encoder.num_heads", "model.encoder.max_patches"),
        *("model.context.hidden_size", "model.context.window_epochs", "model.flamingo.num_latents", "model.fs_hz"),
        *("model.projector.merge", "model.lora.rank", "model.digits.num_values", "model.epoch_s"),
    ],
)
@pytest.mark.parametrize("value", [-1, 10**9])
def test_sizes_that_cannot_be_are_refused_by_name_before_anything_is_built(
    tmp_path: Path, key: str, value: int
) -> None:
    settings = json.loads(json.dumps(render_checkpoint_config(CONFIG)["settings"]))
    *groups, name = key.split(".")
    group = settings
    for part in groups:
        group = group[part]
    group[name] = value
    with pytest.raises(ValueError, match=re.escape(f"{key}={value:g}; wanted")):
        load_checkpoint_config(write(tmp_path, settings=settings))


def test_an_encoder_of_more_weights_than_any_or_of_odd_heads_is_refused(tmp_path: Path) -> None:
    settings = render_checkpoint_config(CONFIG)["settings"]
    for encoder, said in (({"d_model": 8192, "num_layers": 90}, "weights"), ({"num_heads": 7}, "no multiple")):
        with pytest.raises(ValueError, match=f"model.encoder.*{said}"):
            load_checkpoint_config(write(tmp_path, settings=settings | {"model": {"encoder": encoder}}))
