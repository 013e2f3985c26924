import ast
import inspect
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tslm.config import schema
from tslm.config.compose import compose_config, configs_dir, list_group
from tslm.config.files import load_config, merge_config, save_config, valid_keys
from tslm.config.schema import RunConfig
from tslm.data.cohorts.cohort import load_cohort

STAGE = "stage4_sleep_cot"


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("train.batchsize=4", "train.batch_size"),
        ("optim.batch_size=4", "train.batch_size"),
        ("model.encoder.patch_sise=4", "model.encoder.patch_size"),
        ("sed=1", "seed"),
    ],
)
def test_an_unknown_key_on_the_command_line_names_the_nearest_valid_one(override: str, nearest: str) -> None:
    key = override.split("=")[0]
    with pytest.raises(ValueError, match=f"unknown key '{key}'.*'{nearest}'") as caught:
        compose_config(STAGE, overrides=[override])
    assert "\n" not in str(caught.value)


def test_an_unknown_key_in_a_yaml_file_names_the_nearest_valid_one(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("defaults: [config]\nmodel:\n  encoder:\n    num_layer: 3\n")
    with pytest.raises(ValueError, match="unknown key 'model.encoder.num_layer'.*'model.encoder.num_layers'"):
        compose_config(STAGE, preset=str(preset))


def test_an_unknown_key_for_one_stage_names_the_nearest_valid_one(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text(f"defaults: [config]\nper_stage:\n  {STAGE}:\n    train: {{epochs: 3}}\n")
    with pytest.raises(ValueError, match="unknown key 'train.epochs'.*'train.train_epochs'"):
        compose_config(STAGE, preset=str(preset))


def test_settings_for_a_stage_that_does_not_exist_are_an_error(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("defaults: [config]\nper_stage:\n  stage4_sleep: {seed: 3}\n")
    with pytest.raises(ValueError, match="'stage4_sleep'.*stage4_sleep_cot"):
        compose_config(STAGE, preset=str(preset))


@pytest.mark.parametrize("override", ["train.batch_size=many", "train=3", "optim.lr_lora=fast", "stage.trained=3"])
def test_a_bad_value_is_one_line_that_names_the_key(override: str) -> None:
    with pytest.raises(ValueError, match=override.split("=")[0]) as caught:
        compose_config(STAGE, overrides=[override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["=4", "train.batch_size", "+seed=3", "~seed", "seed=1,2", "llm=tiny", "seed=[1"])
def test_what_is_no_plain_override_is_refused(override: str) -> None:
    with pytest.raises(ValueError, match="key=value|--llm|seed"):
        compose_config(STAGE, overrides=[override])


@pytest.mark.parametrize(
    "config",
    [RunConfig(), replace(RunConfig(), seed=7, results_dir="elsewhere"), compose_config(STAGE, "guide", llm="tiny")],
    ids=["defaults", "changed", "guide"],
)
def test_a_saved_config_loads_as_it_was(config: RunConfig, tmp_path: Path) -> None:
    save_config(config, tmp_path / "run" / "config.yaml")
    assert load_config(tmp_path / "run" / "config.yaml") == config


def test_a_saved_config_states_every_key(tmp_path: Path) -> None:
    save_config(RunConfig(), tmp_path / "config.yaml")
    text = (tmp_path / "config.yaml").read_text()
    assert all(f"{key.rsplit('.', 1)[-1]}:" in text for key in valid_keys())


def test_a_missing_config_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no config at"):
        load_config(tmp_path / "config.yaml")


def test_a_saved_config_with_keys_of_a_newer_version_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: {sampling_law: even}\n")
    with pytest.raises(ValueError, match="unknown key 'model.sampling_law'.*perhaps a newer one"):
        load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    "text", ["${oc.env:TSLM_TEST_KEY}", "a ${seed}", "\\\\${oc.env:TSLM_TEST_KEY}", "${unfinished"]
)
def test_no_setting_refers_to_the_environment_or_to_another(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSLM_TEST_KEY", "sk-secret")
    saved = tmp_path / "config.yaml"
    saved.write_text(f"llm: {{source: '{text}'}}\n")
    (tmp_path / "cohort.yaml").write_text(f"channels: {{EEG: {{any: [{{plus: '{text}'}}]}}}}\n")
    tries = {
        "llm.source": lambda: merge_config({"llm": {"source": text}}),
        "stage.trained": lambda: merge_config({"stage": {"trained": ["encoder", text]}}),
        "results_dir": lambda: compose_config(STAGE, overrides=[f"results_dir={text}"]),
        "config.yaml: llm.source": lambda: load_config(saved),
        "cohort.yaml: channels.EEG.any.plus": lambda: load_cohort(str(tmp_path / "cohort.yaml")),
    }
    for where, read in tries.items():
        with pytest.raises(ValueError, match=f"{where}=.*write the value itself") as caught:
            read()
        assert "sk-secret" not in str(caught.value)


PRESETS_AND_STAGES = [
    *(("config", stage) for stage in list_group("stage")),
    *((preset, stage) for preset in list_group(".") if preset != "config" for stage in ("stage0_encoder", STAGE)),
]


@pytest.mark.parametrize(("preset", "stage"), PRESETS_AND_STAGES)
def test_every_stage_and_every_preset_composes(preset: str, stage: str) -> None:
    config = compose_config(stage, preset)
    assert config.stage.name == stage
    assert not config.stage.predecessor or config.stage.predecessor in list_group("stage")


@pytest.mark.parametrize("llm", [name for name in list_group("llm") if name != "custom"])
def test_every_language_model_composes_under_its_own_name(llm: str) -> None:
    assert compose_config(STAGE, llm=llm).llm.name == llm


@pytest.mark.parametrize("model", list_group("model"))
def test_every_model_composes_under_its_own_name(model: str) -> None:
    assert compose_config(STAGE, model=model).model.name == model


def test_a_model_that_is_asked_for_holds_against_a_preset_and_yields_to_the_command_line() -> None:
    plain, asked = (compose_config("stage0_encoder", "rodent", model=name).model for name in ("", "cnn_bilstm"))
    assert (plain.encoder.num_layers, plain.context.window_epochs) == (1, 5)
    assert (asked.encoder.num_layers, asked.context.window_epochs) == (0, 7)
    assert asked.encoder.patch_size == plain.encoder.patch_size == 250
    overrides = ["model.context.window_epochs=60"]
    assert compose_config("stage0_encoder", model="ssm", overrides=overrides).model.context.window_epochs == 60


@pytest.mark.parametrize(
    ("stage", "model", "trained"),
    [
        ("stage0_encoder", "", "classifier"),
        ("stage0_encoder", "flamingo", "classifier"),
        ("stage0_encoder", "ssm", "ssm"),
        ("stage0_masked", "ssm", "masked_encoder"),
        ("stage1_mcq", "flamingo", "flamingo"),
    ],
)
def test_a_stage_keeps_its_own_model_where_the_one_asked_for_is_of_another_kind(
    stage: str, model: str, trained: str
) -> None:
    assert compose_config(stage, model=model).model.name == trained


def test_a_preset_may_choose_a_scorer(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("defaults: [config, {model: cnn}]\n")
    model = compose_config("stage0_encoder", str(preset)).model
    assert (model.name, model.encoder.front_end) == ("cnn", "cnn")


@pytest.mark.parametrize(("llm", "name"), [("Owner/Some-Model-1B", "some-model-1b"), ("./folder/mine", "mine")])
def test_any_hub_id_or_folder_is_a_language_model_and_names_the_results(llm: str, name: str) -> None:
    config = compose_config(STAGE, llm=llm)
    assert (config.llm.source, config.llm.name) == (llm, name)


def test_precedence_is_defaults_yaml_preset_stage_command_line(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text(
        "defaults: [config]\ntrain: {batch_size: 2, patience: 2, grad_accum: 2}\n"
        f"per_stage:\n  {STAGE}:\n    train: {{patience: 3, grad_accum: 3}}\n"
    )
    config = compose_config(STAGE, preset=str(preset), overrides=["train.grad_accum=4"])
    assert (config.train.batch_size, config.train.patience, config.train.grad_accum) == (2, 3, 4)
    other = compose_config("stage1_mcq", preset=str(preset))
    assert (other.train.patience, other.stage.max_new_tokens) == (2, 24)


def test_values_with_spaces_and_lists_reach_the_config() -> None:
    config = compose_config(STAGE, overrides=["stage.channel=EEG Pz-Oz", "stage.trained=[lora]"])
    assert config.stage.channel == "EEG Pz-Oz"
    assert config.stage.trained == ("lora",)


@pytest.mark.parametrize(
    ("arguments", "listed"),
    [
        ({"curriculum_stage": "stage9"}, "stage4_sleep_cot"),
        ({"curriculum_stage": STAGE, "model": "gpt"}, "soft_prompt"),
        ({"curriculum_stage": STAGE, "preset": "guid"}, "guide"),
    ],
)
def test_a_wrong_name_lists_the_right_ones(arguments: dict, listed: str) -> None:
    with pytest.raises(ValueError, match=listed):
        compose_config(**arguments)


def test_a_preset_that_names_no_other_changes_the_defaults(tmp_path: Path) -> None:
    preset = tmp_path / "bare.yaml"
    preset.write_text("seed: 3\n")
    assert compose_config(STAGE, preset=str(preset)) == replace(compose_config(STAGE), seed=3)


def test_a_preset_that_names_itself_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("defaults: [other]\n")
    (tmp_path / "other.yaml").write_text("defaults: [mine]\n")
    with pytest.raises(ValueError, match="name it again"):
        compose_config(STAGE, preset="mine", config_dir=tmp_path)


def test_a_broken_yaml_file_is_a_clear_error(tmp_path: Path) -> None:
    preset = tmp_path / "broken.yaml"
    preset.write_text("seed: [3\n")
    with pytest.raises(ValueError, match="is no YAML file"):
        compose_config(STAGE, preset=str(preset))


def test_guide_preset_holds_the_numbers_of_the_guide() -> None:
    config = compose_config(STAGE, "guide")
    train = {"train_epochs": 60, "batch_size": 4, "patience": 5, "min_delta": 1e-4, "grad_accum": 1}
    assert asdict(config.train).items() >= train.items()
    assert asdict(config.optim) == {
        "lr_encoder": 2e-4,
        "lr_projector": 1e-4,
        "lr_gates": 1e-2,  # the guide has none
        "lr_lora": 2e-4,
        "weight_decay": 1e-2,
        "warmup_fraction": 0.03,
        "max_grad_norm": 1.0,
    }
    encoder = {"front_end": "conv", "patch_size": 4, "d_model": 128, "num_layers": 6, "num_heads": 8, "d_ff": 1024}
    assert asdict(config.model.encoder).items() >= encoder.items()
    assert (config.model.projector.kind, config.model.projector.merge) == ("linear", 1)
    assert (config.model.normalization, config.model.context.kind) == ("zscore", "none")
    assert (config.model.label_set, config.stage.max_new_tokens) == ("aasm_movement", 400)
    assert config.stage.predecessor == "stage3_cot"


def test_yaml_files_state_no_default_twice() -> None:
    assert merge_config({}) == RunConfig()
    assert (configs_dir() / "preset" / "config.yaml").is_file()


def test_every_setting_says_on_its_line_what_it_means() -> None:
    source = inspect.getsource(schema)
    for group in [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]:
        for node in [node for node in group.body if isinstance(node, ast.AnnAssign)]:
            is_group = "default_factory=" in ast.unparse(node) and "dict" not in ast.unparse(node)
            last_line = source.splitlines()[(node.end_lineno or 0) - 1]
            assert is_group or "  # " in last_line, f"{group.name}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "override",
    ["train.precision=fp99", "train.batch_size=0", "train.train_epochs=-1", "stage.prompt_style=foo"],
)
def test_a_value_that_no_run_can_use_is_refused_when_the_settings_are_read(override: str) -> None:
    with pytest.raises(ValueError, match=override):
        compose_config("stage4_sleep_cot", overrides=[override])


BOMBS = {
    "lists": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{new}: &{new} [{', '.join(9 * [f'*{old}'])}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "merges": "a: &a {x: 1}\n"
    + "".join(
        f"{new}: &{new} {{<<: [{', '.join(9 * [f'*{old}'])}]}}\n"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "itself": "a: &a [*a]\n",
    "depth": "a: " + 20_000 * "[" + "\n",
    "control": "a: \x00\n",
    "number": f"a: {5000 * '9'}\n",
    "key": "? {a: 1}\n: 2\n",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_yaml_file_that_cannot_be_is_refused_in_one_line_at_once(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="config.yaml is no YAML file") as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "key"),
    [({"model": []}, "model"), ({"model": {"encoder": 3}}, "model.encoder"), ({"train": None}, "train")],
)
def test_a_group_of_settings_must_be_a_mapping(settings: dict, key: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key} is .*; wanted a mapping"):
        merge_config(settings)


@pytest.mark.parametrize("nested", [{"a": 1}, ["a"]])
def test_a_list_of_single_values_holds_no_list_or_mapping(nested: object) -> None:
    with pytest.raises(ValueError, match="stage.extra_channels holds .*; wanted a list of single values"):
        merge_config({"stage": {"extra_channels": ["EMG", nested]}})


def test_an_unknown_label_set_lists_those_there() -> None:
    with pytest.raises(ValueError, match="unknown model.label_set 'cat'; one of: aasm"):
        merge_config({"model": {"label_set": "cat"}})
