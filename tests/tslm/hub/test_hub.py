import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoProcessor, AutoTokenizer

from tests.factories.small import AASM, CHANNEL, build_small_model, collate, small_config, small_recording
from tests.factories.staging import save_narrow_novelty
from tslm.cli.main import main
from tslm.data.prepared.recordings import round_to_stored, write_recording
from tslm.data.samples.recordings_dataset import SleepDataset
from tslm.hub import TSLMClassifier, TSLMProcessor, TSLMTextModel, repository
from tslm.labels import SleepStage
from tslm.predictions.calibration import Calibration, save_calibration
from tslm.predictions.night_scorer import NightScorer
from tslm.predictions.transitions import TRANSITIONS_FILE, Transitions, save_transitions
from tslm.training.checkpoints.checkpoint import WEIGHTS_FILE, load_checkpoint, load_weights, save_checkpoint

TIMING = {"model__fs_hz": 20.0, "model__epoch_s": 30.0}
CLASSIFIER = {"model__name": "classifier", "stage__task": "night", **TIMING}
NIGHT = round_to_stored(small_recording(num_epochs=12))
SIGNAL = NIGHT.channels[CHANNEL].ravel()


TRANSITIONS = Transitions(AASM, 30.0, np.full(5, 0.2), np.full((5, 5), 0.2), np.full(5, 0.2))


@pytest.fixture(scope="module")
def config(tiny_llm: Path) -> Any:
    return small_config(tiny_llm, **TIMING)


@pytest.fixture(scope="module")
def folder(config: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text model's checkpoint, its adapter off its start."""
    path = tmp_path_factory.mktemp("hub") / "best"
    save_checkpoint(build_small_model(config, lora_noise=0.1), config, {"step": 3}, path)
    save_calibration(Calibration(answer=2.5), path)
    save_transitions(TRANSITIONS, path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return AutoModel.from_pretrained(folder)


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    return AutoProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def classifier_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small_config(**CLASSIFIER)
    path = tmp_path_factory.mktemp("hub") / "classifier"
    save_checkpoint(build_small_model(config), config, {}, path)
    save_narrow_novelty(path)
    save_transitions(TRANSITIONS, path)
    return path


def equal_states(one: Any, other: Any) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_auto_classes_rebuild_what_was_trained(folder: Path, model: Any, processor: Any, config: Any) -> None:
    assert isinstance(model, TSLMTextModel)
    assert isinstance(processor, TSLMProcessor)
    assert AutoConfig.from_pretrained(folder).run == config
    assert not model.training
    inputs = processor(SIGNAL, fs_hz=20, epoch_idx=[2, 5])
    merged, _ = load_checkpoint(folder)
    ids = model.generate(**inputs, max_new_tokens=8, constrained=False)
    special = processor._collate
    batch = collate(config, [SleepDataset([NIGHT], config)[idx] for idx in (2, 5)], with_response=False)
    assert torch.equal(ids, merged.generate(batch, 8, special.end_token_id, special.pad_token_id))


def test_the_processor_gives_the_batch_of_the_prepared_night_bit_for_bit(processor: Any, config: Any) -> None:
    inputs = processor(SIGNAL, fs_hz=20, epoch_idx=[0, 6, 11], name="night1")
    batch = collate(config, [SleepDataset([NIGHT], config)[idx] for idx in (0, 6, 11)], with_response=False)
    assert inputs["sample_ids"] == batch.sample_ids
    for name in ("input_ids", "attention_mask", "slot", "series_seen"):
        assert torch.equal(inputs[f"{name}_BT"], getattr(batch, f"{name}_BT"))
    for name in ("series_SL", "series_lengths_S", "series_channel_S", "window_BWCL", "epoch_mask_BW", "scored_idx_B"):
        assert torch.equal(inputs[name], getattr(batch, name)), name
    assert bool((inputs["sleep_stage_idx_BW"] == -100).all())


def test_unit_and_rate_are_brought_to_the_models(processor: Any) -> None:
    plain = processor(SIGNAL, fs_hz=20, epoch_idx=3)
    in_mv = processor({CHANNEL: SIGNAL / 1000, "other": SIGNAL}, fs_hz=20, epoch_idx=3, unit="mV")
    torch.testing.assert_close(in_mv["series_SL"], plain["series_SL"], rtol=1e-4, atol=1e-4)
    time = np.arange(100 * 360) / 100
    rhythm = np.sin(2 * np.pi * 0.7 * time)
    slow = processor(rhythm[::5], fs_hz=20, epoch_idx=3)["series_SL"]
    fast = processor(rhythm, fs_hz={CHANNEL: 100.0}, epoch_idx=3)["series_SL"]
    torch.testing.assert_close(fast, slow, rtol=0, atol=0.02)


def test_a_constant_night_is_read(model: Any, processor: Any) -> None:
    ids = model.generate(**processor(np.full(1200, 7.0), fs_hz=20), max_new_tokens=2)
    assert len(ids) == 2


def test_an_answer_is_decoded_to_rationale_and_stage(processor: Any) -> None:
    ids = [processor.tokenizer(text)["input_ids"] for text in (" Slow waves. Answer: Non-REM stage 3", "no idea")]
    end = processor.tokenizer.eos_token_id
    first, second = processor.batch_decode([[*one, end, end] for one in ids])
    assert (first.rationale, first.sleep_stage) == ("Slow waves.", SleepStage.N3)
    assert (second.text, second.sleep_stage) == ("no idea", None)


def test_the_classifier_gives_the_probabilities_of_the_whole_night(classifier_dir: Path) -> None:
    model, processor = AutoModel.from_pretrained(classifier_dir), AutoProcessor.from_pretrained(classifier_dir)
    assert isinstance(model, TSLMClassifier)
    with torch.no_grad():
        probabilities = model(**processor(SIGNAL, fs_hz=20)).logits[0].softmax(-1).numpy()
    plain, config = load_checkpoint(classifier_dir)
    expected = NightScorer(plain, config).score(NIGHT)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)  # softmax of numpy and of torch
    assert model.config.id2label[0] == "Wake"


def test_a_classifier_gives_no_logits_that_are_not_finite(classifier_dir: Path) -> None:
    model, processor = AutoModel.from_pretrained(classifier_dir), AutoProcessor.from_pretrained(classifier_dir)
    inputs = processor(SIGNAL, fs_hz=20)
    inputs["window_BWCL"][0, 3] = torch.nan
    with pytest.raises(ValueError, match="no finite probabilities"):
        model(**inputs)


@pytest.mark.parametrize("value", [np.inf, 9.97e36, 1e22])
def test_a_fill_value_changes_no_more_than_a_missing_sample(value: float, processor: Any) -> None:
    spoilt, gappy = (np.where(np.arange(len(SIGNAL)) == 700, each, SIGNAL) for each in (value, np.nan))
    expected = processor.cut_night(gappy, 20).channels[CHANNEL]
    assert np.array_equal(processor.cut_night(spoilt, 20).channels[CHANNEL], expected)


def test_a_classifier_that_has_learned_to_do_without_a_channel_takes_a_night_that_lacks_it(tmp_path: Path) -> None:
    changes = {"stage__extra_channels": ("EMG",), "model__prior_epochs": 60.0, "model__typical_spectrum": (0.5,) * 64}
    config = small_config(**CLASSIFIER, **changes, model__channel_dropout=0.3)
    save_checkpoint(build_small_model(config), config, {}, tmp_path / "best")
    model, processor = AutoModel.from_pretrained(tmp_path / "best"), AutoProcessor.from_pretrained(tmp_path / "best")
    with torch.no_grad():
        probabilities = model(**processor({CHANNEL: SIGNAL}, fs_hz=20)).logits[0].softmax(-1).numpy()
    lacking = replace(NIGHT, channels={CHANNEL: NIGHT.channels[CHANNEL]})
    expected = NightScorer(*load_checkpoint(tmp_path / "best")).score(lacking)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)  # softmax of numpy and of torch
    needs = TSLMProcessor(small_config(**CLASSIFIER, stage__extra_channels=("EMG",)), None)
    with pytest.raises(ValueError, match="there is no signal 'EMG'"):
        needs({CHANNEL: SIGNAL}, fs_hz=20)


@pytest.mark.parametrize("kind", ["text", "classifier"])
def test_saving_what_was_loaded_gives_the_same_checkpoint(
    kind: str, folder: Path, classifier_dir: Path, tmp_path: Path
) -> None:
    source = folder if kind == "text" else classifier_dir
    AutoModel.from_pretrained(source).save_pretrained(tmp_path / "again")
    files = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    assert files == {path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file()}
    adapter = Path("adapter/adapter_config.json")
    for file in files - {Path("adapter/README.md"), adapter}:
        assert (source / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file
    if adapter in files:
        assert read_adapter_config(source / adapter) == read_adapter_config(tmp_path / "again" / adapter)


def read_adapter_config(path: Path) -> dict[str, Any]:
    """Settings of an adapter; peft keeps the target modules as a set, whose order on disk is not fixed."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return content | {"target_modules": sorted(content["target_modules"])}


def test_the_adapter_folder_gives_peft_alone_equal_logits(folder: Path, model: Any, tiny_llm: Path) -> None:
    alone = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llm), folder / "adapter").eval()
    ids = torch.arange(30)[None]
    with torch.no_grad():
        assert torch.equal(alone(ids).logits, model.model.llm(ids).logits)


@pytest.mark.parametrize("merge_first", [False, True])
def test_an_export_holds_a_plain_language_model_and_answers_alike(
    merge_first: bool, folder: Path, model: Any, processor: Any, config: Any, tmp_path: Path
) -> None:
    source = AutoModel.from_pretrained(folder, merge_adapter=True) if merge_first else model
    (source.save_pretrained if merge_first else source.save_merged)(tmp_path / "whole")
    whole = AutoModel.from_pretrained(tmp_path / "whole")
    batch = collate(config, [SleepDataset([NIGHT], config)[4]])
    inputs = {name: value for name, value in vars(batch).items() if value is not None}
    with torch.no_grad():
        assert float(whole(**inputs).loss) == pytest.approx(float(model(**inputs).loss), rel=1e-5)
        alone = AutoModelForCausalLM.from_pretrained(tmp_path / "whole" / "llm")
        ids = torch.arange(30)[None]
        torch.testing.assert_close(alone(ids).logits, model.model.llm(ids).logits, rtol=1e-5, atol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path / "whole" / "llm")("a b")["input_ids"]
    assert not (tmp_path / "whole" / "adapter").exists()
    assert (tmp_path / "whole" / TRANSITIONS_FILE).read_bytes() == (folder / TRANSITIONS_FILE).read_bytes()
    assert "with its trained adapter added" in (tmp_path / "whole" / "README.md").read_text()
    with pytest.raises(ValueError, match="is an export with a merged adapter; train on from what it was made of"):
        load_weights(build_small_model(config), config, tmp_path / "whole")


def test_an_export_needs_no_base_model(folder: Path, model: Any, tmp_path: Path) -> None:
    model.save_merged(tmp_path / "whole")
    written = tmp_path / "whole" / "config.json"
    text = written.read_text()
    written.write_text(text.replace(json.dumps(model.run_config.llm.source), '"gone/away"'))
    assert written.read_text() != text
    assert AutoModel.from_pretrained(tmp_path / "whole").model.llm is not None


def test_the_command_writes_the_same_export(
    folder: Path, model: Any, tmp_path: Path, capsys: pytest.CaptureFixture, classifier_dir: Path
) -> None:
    model.save_merged(tmp_path / "whole")
    assert main(["export", str(folder), "--format", "merged", "--out", str(tmp_path / "again")]) == 0
    for name in (WEIGHTS_FILE, "llm/model.safetensors", "config.json", "state.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert main(["export", str(classifier_dir), "--format", "merged", "--out", str(tmp_path / "none")]) == 2
    assert "is a TSLMClassifier" in capsys.readouterr().err


def test_files_that_are_no_part_of_a_checkpoint_are_never_lost(model: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for save in (model.save_pretrained, model.save_merged):
        with pytest.raises(FileExistsError, match="holds notes.txt, which is no part of a checkpoint"):
            save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    for _ in range(2):
        model.save_pretrained(tmp_path / "best")


def test_labels_are_scored_and_those_of_other_sets_refused(model: Any, processor: Any, folder: Path) -> None:
    inputs = processor(SIGNAL, fs_hz=20, epoch_idx=[2, 5])
    scores = model.score_labels(**inputs)
    assert scores.shape == (2, 5)
    torch.testing.assert_close(model.score_labels(labels=["REM sleep", "Wake"], **inputs), scores[:, [4, 0]])
    with pytest.raises(ValueError, match="'NREM sleep' is not an answer of aasm: Wake"):
        model.score_labels(labels=["NREM sleep"], **inputs)


def test_label_probabilities_are_flattened_by_the_checkpoints_temperature(model: Any, processor: Any) -> None:
    inputs = processor(SIGNAL, fs_hz=20, epoch_idx=[2, 5])
    expected = (model.score_labels(**inputs) / 2.5).softmax(dim=-1)
    torch.testing.assert_close(model.label_probabilities(**inputs), expected)


def test_answers_name_a_stage_unless_left_free(model: Any, processor: Any) -> None:
    inputs = processor(SIGNAL, fs_hz=20, epoch_idx=[2, 5])
    held = processor.batch_decode(model.generate(max_new_tokens=60, **inputs))
    free = processor.batch_decode(model.generate(max_new_tokens=60, constrained=False, **inputs))
    assert all(epoch.sleep_stage is not None for epoch in held)
    assert all(epoch.sleep_stage is None for epoch in free)  # random weights say nothing


class FakeApi:
    """Stands at the boundary of the hub: keeps what would be uploaded."""

    uploaded: dict[str, bytes]

    def __init__(self, token: Any = None) -> None:
        self.token = token

    def create_repo(self, repo_id: str, private: bool | None, exist_ok: bool) -> Any:
        return type("Repo", (), {"repo_id": f"me/{repo_id}"})

    def upload_folder(self, repo_id: str, folder_path: str, **_: Any) -> str:
        root = Path(folder_path)
        FakeApi.uploaded = {
            path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
        }
        return f"https://huggingface.co/{repo_id}/commit/1"


def test_a_push_uploads_the_folder_with_its_name_in_the_card(
    folder: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "HfApi", FakeApi)
    assert model.push_to_hub("stager", private=True) == "https://huggingface.co/me/stager/commit/1"
    expected = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert FakeApi.uploaded.keys() == expected
    assert FakeApi.uploaded[WEIGHTS_FILE] == (folder / WEIGHTS_FILE).read_bytes()
    assert b'AutoModel.from_pretrained("me/stager")' in FakeApi.uploaded["README.md"]


def test_a_name_on_the_hub_is_fetched_and_rebuilt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def download(name: str, allow_patterns: list[str], **options: Any) -> str:
        asked.append((name, options))
        return str(folder)

    monkeypatch.setattr(repository, "snapshot_download", download)
    fetched = TSLMTextModel.from_pretrained("me/stager", revision="v1")
    assert asked == [("me/stager", {"revision": "v1"})]
    assert fetched.config.name_or_path == "me/stager"


def test_a_hub_that_is_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise ConnectionError("name or service not known\nlong story")

    monkeypatch.setattr(repository, "snapshot_download", download)
    with pytest.raises(
        OSError, match="me/stager could not be loaded: the Hugging Face hub cannot be reached"
    ) as caught:
        TSLMTextModel.from_pretrained("me/stager")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"signals": np.full(1200, np.nan)}, "more than 10% of every epoch is missing"),
        ({"signals": np.zeros(0)}, "the series is empty"),
        ({"signals": np.zeros(599)}, "less than one epoch of 30 s"),
        ({"signals": np.zeros((2, 600))}, "give one dimension"),
        ({"signals": {"EMG": np.zeros(600)}}, f"there is no signal '{CHANNEL}'"),
        ({"signals": SIGNAL, "fs_hz": 0}, "fs_hz is 0; wanted a number of Hz above 0"),
        ({"signals": SIGNAL, "fs_hz": 1}, "it has 1 Hz; the model needs an EEG of 20 Hz or more"),
        ({"signals": SIGNAL, "fs_hz": "20"}, "fs_hz is '20'; wanted a number"),
        ({"signals": SIGNAL, "fs_hz": {"EMG": 20}}, "fs_hz is None; wanted a number"),
        ({"signals": ["a", "b"]}, "wanted numbers, one a sample; got list"),
        ({"signals": None}, "give one dimension"),
        ({"signals": SIGNAL, "unit": None}, "unknown unit None"),
        ({"signals": SIGNAL, "epoch_idx": "0"}, "epoch_idx is '0'; wanted a whole number"),
        ({"signals": SIGNAL, "epoch_idx": [1.5]}, r"epoch_idx is \[1.5\]; wanted a whole number"),
        ({"signals": SIGNAL, "unit": "g"}, "unknown unit 'g'"),
        ({"signals": SIGNAL, "epoch_idx": 12}, "no epoch 12; the night has 0 to 11"),
        ({"signals": SIGNAL, "epoch_idx": []}, "no epoch"),
    ],
)
def test_signals_that_cannot_be_read_are_one_clear_line(processor: Any, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        processor(**{"fs_hz": 20, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__fs_hz": 0.0}, "does not say at which rate"),
        ({"stage__task": "choice", "stage__name": "stage1_mcq"}, "stage1_mcq, which reads no nights"),
    ],
)
def test_checkpoints_that_read_no_night_say_so(config: Any, changes: Any, message: str, processor: Any) -> None:
    changed = config
    for key, value in changes.items():
        part, name = key.split("__")
        changed = replace(changed, **{part: replace(getattr(changed, part), **{name: value})})
    with pytest.raises(ValueError, match=message):
        TSLMProcessor(changed, processor.tokenizer)(SIGNAL, fs_hz=20)


def test_a_classifier_takes_no_epoch_and_is_no_text_model(classifier_dir: Path) -> None:
    with pytest.raises(ValueError, match="leave epoch_idx out"):
        TSLMProcessor.from_pretrained(classifier_dir)(SIGNAL, fs_hz=20, epoch_idx=1)
    with pytest.raises(ValueError, match="is a TSLMClassifier; load it with that class or with AutoModel"):
        TSLMTextModel.from_pretrained(classifier_dir)


def test_a_pretrained_encoder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    config = small_config(model__name="masked_encoder", stage__trained=("encoder",))
    save_checkpoint(build_small_model(config), config, {}, tmp_path / "encoder")
    for kind in (TSLMClassifier, TSLMTextModel):
        with pytest.raises(ValueError, match="pretrained encoder without a head; train stage0_encoder"):
            kind.from_pretrained(tmp_path / "encoder")


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="there is no checkpoint folder /nowhere/at/all"):
        TSLMTextModel.from_pretrained("/nowhere/at/all")


@pytest.mark.parametrize("kind", ["text", "classifier"])
def test_the_code_of_a_card_runs_as_printed(
    kind: str, folder: Path, classifier_dir: Path, capsys: pytest.CaptureFixture
) -> None:
    source = folder if kind == "text" else classifier_dir
    code = re.search(r"```python\n(.*?)```", (source / "README.md").read_text(), re.DOTALL)
    assert code is not None
    exec(code.group(1).replace("path/to/this/folder", str(source)), {})
    assert capsys.readouterr().out.strip()


def test_the_code_of_the_readme_runs_as_printed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_recording(NIGHT, tmp_path, "test")
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    code = re.search(r"## From Python.*?```python\n(.*?)```", readme, re.DOTALL)
    assert code is not None
    places = {"results/demo/smollm2-135m/soft_prompt/stage4_sleep_cot/checkpoints/best": str(folder)}
    places |= {"prepared/sleep_edf/SC4001E0.parquet": str(tmp_path / "night1.parquet"), "[100, 400]": "[1, 4]"}
    text = code.group(1)
    for printed, here in places.items():
        assert printed in text
        text = text.replace(printed, here)
    exec(text, {})
    assert "tensor(" in capsys.readouterr().out
