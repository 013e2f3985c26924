"""The table of the package, and a package made from small models: both hold what they say."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.factories.pages import find_absolute_paths
from tslm.config.checkpoint import load_checkpoint_config
from tslm.labels import LABEL_SETS
from tslm.models.llm.store import get_sha256
from tslm.pretrained import table
from tslm.pretrained.table import MAX_BYTES, TABLE_FILE, find_default_scorer, find_model, read_models

SHIPPED = table.FOLDER
FILES = {"README.md", "calibration.json", "config.json", "model.safetensors", "transitions.json"}
OF_SCORERS = {"novelty.json"}  # of a training with enough subjects
ADAPTER = {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"}


@pytest.fixture(params=["shipped", "made of small models"])
def folder(request: pytest.FixtureRequest) -> Path:
    return SHIPPED if request.param == "shipped" else request.getfixturevalue("package")


def list_files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def test_the_table_lists_the_folders_beside_it_and_they_are_small(folder: Path) -> None:
    models = read_models(folder)
    assert {path.name for path in folder.iterdir() if path.is_dir()} - {"__pycache__"} == set(models)
    assert sum(model.num_bytes for model in models.values()) <= MAX_BYTES


def test_a_row_says_what_the_checkpoint_says(folder: Path) -> None:
    for name, model in read_models(folder).items():
        config = load_checkpoint_config(folder / name)
        assert (model.fs_hz, model.epoch_s, model.label_set) == (
            config.model.fs_hz,
            config.model.epoch_s,
            config.model.label_set,
        )
        assert model.species == LABEL_SETS[model.label_set].species
        assert {*model.channels, *model.optional_channels} == set(config.stage.channels)
        assert set(model.optional_channels) == set(config.optional_channels)
        assert model.kind == ("explainer" if config.writes_text else "scorer")
        assert model.scores and all("cohen_kappa" in score.intervals for score in model.scores)
        if model.kind == "explainer":
            assert model.base_sha256 == config.llm.sha256 == get_sha256(model.base) != ""


def test_a_folder_holds_half_the_bytes_and_no_tokenizer_base_model_or_path_of_a_machine(folder: Path) -> None:
    for name, model in read_models(folder).items():
        files = list_files(folder / name)
        optional = OF_SCORERS if model.kind == "scorer" and folder != SHIPPED else set()
        needed = FILES | (ADAPTER if model.kind == "explainer" else set() if optional else OF_SCORERS)
        assert needed <= set(files) <= needed | optional
        assert sum(path.stat().st_size for path in files.values()) == model.num_bytes
        for path in files.values():
            assert path.stat().st_mode & 0o044 == 0o044  # read by everyone who may use the installation
            if path.suffix == ".safetensors":
                assert {tensor.dtype for tensor in load_file(path).values()} == {torch.bfloat16}
            else:
                assert not find_absolute_paths(path.read_text())


def test_a_name_comes_before_a_folder_which_is_written_with_a_dot(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "human").mkdir()
    assert find_model("human") == find_default_scorer() == package / "human"
    assert find_model("./human") == Path("human")
    with pytest.raises(
        FileNotFoundError, match=r"no folder rat, .* without a model 'rat' \(it has explain-tiny, human\)"
    ):
        find_model("rat")
    with pytest.raises(
        ValueError, match="explain-tiny is no scorer but the explainer of the package; name it by --llm"
    ):
        find_model("explain-tiny", "scorer")


def test_a_default_that_is_not_there_is_one_line_that_says_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / TABLE_FILE).write_text("{}\n")
    monkeypatch.setattr(table, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"without a model 'human' \(it has none yet\); name .* --model FOLDER"):
        find_default_scorer()


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    (tmp_path / TABLE_FILE).write_text("human: {kind: scorer}\n")
    with pytest.raises(ValueError, match=r"table.yaml is damaged"):
        read_models(tmp_path)
