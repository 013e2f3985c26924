import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.factories.small import build_small_model, collate, sleep_dataset, small_config
from tslm.config.checkpoint import CHECKPOINT_CONFIG_FILE, load_checkpoint_config
from tslm.files import restore_swapped, swap_in
from tslm.models import build_model
from tslm.models.llm import backbone
from tslm.models.llm.store import get_sha256
from tslm.training.checkpoints.checkpoint import (
    STATE_FILE,
    WEIGHTS_FILE,
    load_checkpoint,
    load_weights,
    read_state,
    record_evaluation,
    save_checkpoint,
)
from tslm.training.checkpoints.resume import rotate_in
from tslm.training.optim import set_trained_parts

CLASSIFIER = {"model__name": "classifier", "stage__trained": ("encoder", "context", "classifier")}


@pytest.fixture(scope="module")
def config(tiny_llm: Path) -> Any:
    return small_config(tiny_llm)


@pytest.fixture
def saved(config: Any, tmp_path: Path) -> tuple[Any, Path]:
    """A model with adapters off their start, and its checkpoint."""
    model = build_small_model(config, lora_noise=0.1)
    save_checkpoint(model, config, {"step": 7}, tmp_path / "best")
    return model, tmp_path / "best"


@torch.no_grad()
def loss_of(model: Any, config: Any) -> float:
    return float(model(collate(config, [sleep_dataset(config)[3]])).loss_sum)


def test_a_saved_model_loads_with_equal_outputs(saved: Any, config: Any) -> None:
    model, folder = saved
    loaded, loaded_config = load_checkpoint(folder)
    assert loaded_config == config
    assert not loaded.training
    assert not any(param.requires_grad for param in loaded.parameters())
    assert loss_of(loaded, config) == pytest.approx(loss_of(model, config), rel=1e-6)  # adapters are merged
    assert loss_of(build_small_model(config), config) != pytest.approx(loss_of(model, config), rel=1e-3)


def test_the_next_stage_starts_from_equal_outputs_bit_for_bit(saved: Any, config: Any) -> None:
    model, folder = saved
    loaded = build_model(config)
    load_weights(loaded, config, folder, train_lora=True)
    assert loss_of(loaded.eval(), config) == loss_of(model, config)


def test_a_saved_classifier_loads_with_equal_outputs(tmp_path: Path) -> None:
    config = small_config(**CLASSIFIER)
    model = build_small_model(config)
    model.set_class_weights(torch.tensor([5, 4, 3, 2, 1]))
    save_checkpoint(model, config, {}, tmp_path / "best")
    loaded, _ = load_checkpoint(tmp_path / "best")
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    assert not (tmp_path / "best" / "adapter").exists()


def test_a_checkpoint_holds_its_config_state_and_no_frozen_weights(saved: Any, config: Any) -> None:
    _, folder = saved
    own = {CHECKPOINT_CONFIG_FILE, WEIGHTS_FILE, STATE_FILE, "README.md", "adapter"}
    copied = {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}
    assert {path.name for path in folder.iterdir()} == own | copied
    assert json.loads((folder / STATE_FILE).read_text()) == {"step": 7}
    assert load_checkpoint_config(folder) == config
    assert not any(path.suffix in (".pt", ".bin", ".pkl") for path in folder.rglob("*"))


def test_the_small_files_of_an_embedded_model_are_those_of_its_folder(config: Any, tiny_llm: Path, saved: Any) -> None:
    _, folder = saved
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (folder / name).read_bytes() == (tiny_llm / name).read_bytes()


def test_an_adapter_names_its_base_model_as_the_hub_does(config: Any, tmp_path: Path) -> None:
    model = build_small_model(config)
    for source, name in (("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct"), ("owner/llm", "owner/llm")):
        named = replace(config, llm=replace(config.llm, source=source))
        save_checkpoint(model, named, {}, tmp_path / "best")
        written = json.loads((tmp_path / "best" / "adapter" / "adapter_config.json").read_text())
        assert written["base_model_name_or_path"] == name
        assert load_checkpoint_config(tmp_path / "best").llm.sha256 == get_sha256(source)


def test_training_goes_on_from_no_adapter_of_other_weights(config: Any, tmp_path: Path) -> None:
    named = replace(config, llm=replace(config.llm, source="smollm2-135m"))
    save_checkpoint(build_small_model(config), named, {}, tmp_path / "best")
    path = tmp_path / "best" / "config.json"
    path.write_text(path.read_text().replace(get_sha256("smollm2-135m"), "0" * 64))
    with pytest.raises(ValueError, match=f"best was trained on smollm2-135m of SHA-256 {'0' * 12}, and this version"):
        load_weights(build_small_model(config), named, tmp_path / "best")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter/adapter_model.bin", "best_model.pt", "a/b.pkl"])
def test_a_folder_with_a_pickle_is_refused(saved: Any, name: str) -> None:
    _, folder = saved
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match="is a pickle, which can run any code"):
        load_checkpoint(folder)


def test_weights_that_are_not_finite_are_refused(saved: Any) -> None:
    _, folder = saved
    tensors = load_file(folder / WEIGHTS_FILE)
    tensors["fusion.projector.layers.0.bias"][0] = torch.nan
    save_file(tensors, folder / WEIGHTS_FILE)
    with pytest.raises(ValueError, match="projector.*holds NaN"):
        load_checkpoint(folder)


def test_others_may_read_a_checkpoint_where_the_umask_lets_them(saved: Any) -> None:
    folder = saved[1]
    (folder / "plain").touch()
    modes = {path.name: path.stat().st_mode for path in folder.rglob("*") if path.is_file()}
    assert modes == dict.fromkeys(modes, modes["plain"])


def test_an_evaluation_is_kept_beside_what_was_known(saved: Any) -> None:
    _, folder = saved
    record_evaluation(folder, {"accuracy": 0.5})
    assert read_state(folder) == {"step": 7, "evaluation": {"accuracy": 0.5}}
    assert "| accuracy | 0.500 |" in (folder / "README.md").read_text()


def test_the_adapter_is_readable_by_peft_alone(saved: Any, tiny_llm: Path) -> None:
    model, folder = saved
    alone = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llm), folder / "adapter").eval()
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(alone(ids).logits, model.llm(ids).logits)


def test_a_loaded_adapter_goes_on_training_where_the_stage_trains_it(saved: Any, config: Any) -> None:
    _, folder = saved
    for trained in (("projector", "lora"), ("projector",)):
        stage_config = replace(config, stage=replace(config.stage, trained=trained))
        model = build_model(stage_config)
        load_weights(model, stage_config, folder, train_lora="lora" in trained)
        set_trained_parts(model, stage_config)
        adapters = [param for name, param in model.named_parameters() if "lora_" in name]
        assert adapters
        assert all(param.requires_grad == ("lora" in trained) for param in adapters)


@pytest.mark.parametrize(
    "failing",
    [
        "tslm.training.checkpoints.checkpoint.save_file",
        "tslm.models.llm.backbone.save_lora",
        "tslm.training.checkpoints.checkpoint.save_checkpoint_config",
        "tslm.training.checkpoints.checkpoint.write_state",
    ],
)
def test_an_interrupted_save_leaves_the_old_checkpoint_whole(
    failing: str, saved: Any, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder = saved
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(failing, fail)
        with pytest.raises(OSError, match="disk full"):
            save_checkpoint(build_small_model(config, seed=5), config, {"step": 8}, folder)
    after = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before
    save_checkpoint(model, config, {"step": 9}, folder)
    assert json.loads((folder / STATE_FILE).read_text()) == {"step": 9}
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_a_save_cut_off_between_its_renames_loses_no_checkpoint(
    saved: Any, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder = saved
    real_replace = os.replace

    def replace_but_one(source: Path, target: Path) -> None:
        if Path(source).name == "best.partial":
            raise OSError("killed")
        real_replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("tslm.files.os.replace", replace_but_one)
        with pytest.raises(OSError, match="killed"):
            save_checkpoint(build_small_model(config, seed=5), config, {"step": 8}, folder)
    assert not folder.exists()
    restore_swapped(folder)
    loaded, _ = load_checkpoint(folder)
    assert loss_of(loaded, config) == pytest.approx(loss_of(model, config), rel=1e-6)


@pytest.mark.parametrize("file", [WEIGHTS_FILE, "adapter/adapter_model.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_damaged_weights_are_one_clear_value_error(file: str, damage: str, saved: Any, config: Any) -> None:
    _, folder = saved
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2] if damage == "cut" else b"not a tensor" * 100)
    with pytest.raises(ValueError, match="is damaged.*train the stage again") as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "describes no adapters of LoRA but 'IA3'"),
        ({"peft_type": None}, "describes no adapters of LoRA but None"),
        ({"r": 3}, "is damaged"),
        ({"r": "many"}, "is damaged"),
        ({"target_modules": [[1]]}, "is damaged"),
        (None, "adapter_config.json is damaged"),
    ],
)
def test_a_damaged_description_of_the_adapter_is_one_line(change: dict | None, said: str, saved: Any) -> None:
    path = saved[1] / "adapter" / "adapter_config.json"
    described = json.loads(path.read_text())
    path.write_text(100_000 * "[" if change is None else json.dumps(described | change))
    with pytest.raises(ValueError, match=said) as caught:
        load_checkpoint(saved[1])
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_its_adapter_is_damaged(saved: Any) -> None:
    _, folder = saved
    (folder / "adapter").rename(folder / "elsewhere")
    with pytest.raises(ValueError, match="adapter.*missing"):
        load_checkpoint(folder)


def test_a_missing_checkpoint_is_named(config: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        load_checkpoint(tmp_path / "absent")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model__encoder__num_layers", 2, "model.encoder num_layers=1, this run has num_layers=2"),
        ("model__normalization", "zscore", "model.normalization 'whitened', this run has 'zscore'"),
        ("model__projector__merge", 2, "model.projector merge=1, this run has merge=2"),
        ("model__label_set", "rodent", "model.label_set"),
        ("model__context__window_epochs", 7, "model.context window_epochs=5, this run has window_epochs=7"),
        ("model__lora__rank", 4, "model.lora rank=2, this run has rank=4"),
        ("llm__source", "another/model", "another/model"),
    ],
)
def test_other_settings_than_the_checkpoints_are_named(
    key: str, value: Any, said: str, saved: Any, config: Any
) -> None:
    _, folder = saved
    changed = small_config(config.llm.source, **{key: value})
    with pytest.raises(ValueError, match=said):
        load_weights(build_model(config), changed, folder)


def test_nights_of_another_rate_than_the_checkpoints_are_refused_and_an_unknown_rate_fits_any(
    config: Any, tmp_path: Path
) -> None:
    at_100_hz = small_config(**CLASSIFIER, model__fs_hz=100.0, model__epoch_s=30.0)
    save_checkpoint(build_small_model(at_100_hz), at_100_hz, {}, tmp_path / "best")
    load_weights(build_model(config), config, tmp_path / "best")
    at_500_hz = small_config(config.llm.source, model__fs_hz=500.0)
    with pytest.raises(ValueError, match="model.fs_hz 100.0, this run has 500.0"):
        load_weights(build_model(at_500_hz), at_500_hz, tmp_path / "best")


def test_weights_of_other_shapes_than_the_config_says_are_named(config: Any, tmp_path: Path) -> None:
    classifier_config = small_config(**CLASSIFIER)
    save_checkpoint(build_small_model(classifier_config), classifier_config, {}, tmp_path / "best")
    written = tmp_path / "best" / CHECKPOINT_CONFIG_FILE
    written.write_text(written.read_text().replace('"d_ff": 32', '"d_ff": 64'))
    with pytest.raises(ValueError, match=r"linear1.weight has shape \(32, 16\).* \(64, 16\)"):
        load_checkpoint(tmp_path / "best")


def test_a_classifiers_checkpoint_fills_the_reader_and_nothing_else(config: Any, tmp_path: Path) -> None:
    classifier_config = small_config(**CLASSIFIER, model__label_set="rodent")
    classifier = build_small_model(classifier_config, seed=3)
    save_checkpoint(classifier, classifier_config, {}, tmp_path / "best")
    model = build_small_model(config)
    before = {name: param.clone() for name, param in model.state_dict().items()}
    load_weights(model, config, tmp_path / "best")
    reader = {f"classifier.reader.{name}": param for name, param in classifier.reader.state_dict().items()}
    for name, param in model.state_dict().items():
        assert torch.equal(param, reader.get(name, before[name])), name


def test_a_classifiers_checkpoint_with_another_encoder_is_refused(config: Any, tmp_path: Path) -> None:
    classifier_config = small_config(**CLASSIFIER, model__encoder__d_model=32)
    save_checkpoint(build_small_model(classifier_config), classifier_config, {}, tmp_path / "best")
    with pytest.raises(ValueError, match="d_model=32, this run has d_model=16"):
        load_weights(build_model(config), config, tmp_path / "best")


TWO_CHANNELS = {"stage__extra_channels": ("EMG",)}


def test_a_model_of_two_channels_is_saved_and_goes_on_in_the_next_stage(config: Any, tmp_path: Path) -> None:
    classifier_config = small_config(**CLASSIFIER, **TWO_CHANNELS)
    classifier = build_small_model(classifier_config, seed=3)
    torch.nn.init.normal_(classifier.reader.channel_offset_CD)
    classifier.set_class_weights(torch.tensor([5, 4, 3, 2, 1]))
    save_checkpoint(classifier, classifier_config, {}, tmp_path / "stage0")
    text_config = small_config(config.llm.source, **TWO_CHANNELS)
    model = build_small_model(text_config)
    load_weights(model, text_config, tmp_path / "stage0")
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(tensor, model.classifier.state_dict()[name]), name
    save_checkpoint(model, text_config, {}, tmp_path / "stage4")
    assert loss_of(load_checkpoint(tmp_path / "stage4")[0], text_config) == pytest.approx(loss_of(model, text_config))


def test_a_checkpoint_of_other_channels_is_refused_by_name(config: Any, tmp_path: Path) -> None:
    classifier_config = small_config(**CLASSIFIER, **TWO_CHANNELS)
    save_checkpoint(build_small_model(classifier_config), classifier_config, {}, tmp_path / "best")
    for wanted in (config, small_config(**CLASSIFIER)):
        with pytest.raises(ValueError, match=r"made for the channels EEG Fpz-Cz, EMG, this run has EEG Fpz-Cz"):
            load_weights(build_model(wanted), wanted, tmp_path / "best")


def test_a_text_models_checkpoint_fills_a_classifiers_reader(saved: Any) -> None:
    model, folder = saved
    classifier_config = small_config(**CLASSIFIER)
    classifier = build_small_model(classifier_config, seed=4)
    load_weights(classifier, classifier_config, folder)
    assert torch.equal(classifier.reader.encoder.positions_1ND, model.reader.encoder.positions_1ND)


@pytest.mark.parametrize("kind", ["none", "epoch"])
def test_a_model_without_neighbours_starts_from_an_encoder_trained_with_them(
    kind: str, tiny_llm: Path, tmp_path: Path
) -> None:
    classifier_config = small_config(**CLASSIFIER)
    trained = build_small_model(classifier_config, seed=5).eval()
    save_checkpoint(trained, classifier_config, {}, tmp_path / "best")
    config = small_config(tiny_llm, model__context__kind=kind)
    assert classifier_config.model.context.sees_neighbours
    model = build_small_model(config, seed=6).eval()
    load_weights(model, config, tmp_path / "best")
    num_channels, num_samples = len(classifier_config.stage.channels), 3 * classifier_config.model.encoder.patch_size
    window_BWCL, mask_BW = torch.randn(2, 3, num_channels, num_samples), torch.ones(2, 3, dtype=torch.bool)
    alone, only = model.classifier.logits(window_BWCL, mask_BW)
    assert torch.equal(alone, trained.logits(window_BWCL, mask_BW)[0])
    assert torch.equal(alone, only)


def test_an_unknown_part_to_train_lists_the_parts(config: Any) -> None:
    wrong = replace(config, stage=replace(config.stage, trained=("encodr",)))
    with pytest.raises(ValueError, match="encodr.*encoder, projector, context, classifier, lora"):
        set_trained_parts(build_model(wrong), wrong)


def test_a_checkpoint_folder_may_move(saved: Any, config: Any, tmp_path: Path) -> None:
    model, folder = saved
    moved = folder.rename(tmp_path / "moved")
    assert loss_of(load_checkpoint(moved)[0], config) == pytest.approx(loss_of(model, config), rel=1e-6)


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_read_again(
    saved: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = saved
    newer = build_small_model(config, seed=1, lora_noise=0.2)
    save_checkpoint(newer, config, {"step": 8}, tmp_path / "newer")
    load_lora = backbone.load_lora

    def rotate_first(*arguments: Any) -> Any:  # the weights are read, the adapter is not
        if (tmp_path / "newer").exists():
            rotate_in(tmp_path / "newer", folder)
        return load_lora(*arguments)

    monkeypatch.setattr(backbone, "load_lora", rotate_first)
    loaded, _ = load_checkpoint(folder)
    assert loss_of(loaded, config) == pytest.approx(loss_of(newer, config), rel=1e-6)
    for which in ("best", "previous"):
        save_checkpoint(newer, config, {}, tmp_path / which)
    monkeypatch.setattr(backbone, "load_lora", lambda *_: swap_in(shutil.copytree(folder, tmp_path / "new"), folder))
    with pytest.raises(OSError, match="replaced again and again"):
        load_checkpoint(folder)


@pytest.mark.parametrize(  # no room for the config, for the weights, for the language model
    ("num_bytes", "with_llm"), [(100, False), (3000, False), (60_000, True)]
)
def test_a_full_disk_is_an_error_that_leaves_the_checkpoint_before_it(
    num_bytes: int, with_llm: bool, config: Any, tmp_path: Path, full_disk: Any
) -> None:
    model = build_small_model(config, lora_noise=0.1)
    if with_llm:
        model.llm = backbone.merge_lora(model.llm)
    save_checkpoint(model, config, {"step": 7}, tmp_path / "best", with_llm)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with full_disk(num_bytes), pytest.raises(OSError, match="File too large"):
        save_checkpoint(model, config, {"step": 8}, tmp_path / "best", with_llm)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
