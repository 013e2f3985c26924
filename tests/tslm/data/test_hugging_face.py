import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.factories.recordings import EEG, EMG, build_night, write_cohort
from tests.factories.small import write_small_corpus
from tslm.data import as_dataset, push_dataset
from tslm.data.prepared.corpora import read_corpus
from tslm.data.prepared.recordings import write_recording
from tslm.labels import SleepStage

datasets = pytest.importorskip("datasets", reason="the extra `evaluate` is not installed")
W, N2, R, UNSCORED = SleepStage.WAKE, SleepStage.N2, SleepStage.REM, SleepStage.UNSCORED


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_a_cohort_opens_as_a_typed_table_of_epochs(tmp_path: Path) -> None:
    night = build_night("a", (W, N2, UNSCORED, R))
    texts = {"rationale": ["one", "two", "three", "four"]}
    night = replace(night, columns={**night.columns, **texts})
    folder = write_cohort(tmp_path / "out", {"train": night, "test": build_night("b", (W,))})
    table = as_dataset(folder, "train", columns=["rationale"])
    channel, epochs_EL = next(iter(night.channels.items()))
    kind = table.features[channel]
    assert (kind.feature.dtype, kind.length) == ("float32", epochs_EL.shape[1])
    assert table.features["label"].names == ["W", "N1", "N2", "N3", "R"]
    assert table["label"][:] == [0, 2, None, 4]
    assert table["onset_s"][:] == night.onset_s.tolist()
    assert (table[1]["recording"], table[1]["subject"], table[1]["epoch_idx"]) == ("a", night.subject, 1)
    assert table["rationale"][:] == texts["rationale"]
    values = np.asarray(table.with_format("numpy")[channel][:])
    np.testing.assert_allclose(values, epochs_EL, atol=np.abs(epochs_EL).max() / 32767)
    assert as_dataset(folder, "test").num_rows == 1


def test_a_cohort_that_changed_is_read_anew(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path / "out", {"train": build_night("a", (W, N2))})
    assert as_dataset(folder).num_rows == 2
    write_cohort(folder, {"train": build_night("a", (W, N2, R))})
    assert as_dataset(folder)["label"][:] == [0, 2, 4]


def test_a_recording_that_is_not_the_prepared_one_is_named(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path / "out", {"train 1": build_night("a", (W, N2)), "train 2": build_night("b", (R,))})
    write_recording(build_night("b", (W,), seed=1), folder, "train")
    with pytest.raises(ValueError, match=r"b.parquet is not the file that was prepared"):
        as_dataset(folder)


def test_channels_that_some_recordings_lack_are_left_out(tmp_path: Path) -> None:
    both, other = build_night("a", (W,)), build_night("b", (R,))
    one = replace(other, channels={EEG: other.channels[EEG]})
    assert EMG in as_dataset(write_cohort(tmp_path / "out", {"train": both, "test": one})).column_names
    assert EMG not in as_dataset(write_cohort(tmp_path / "less", {"train 1": both, "train 2": one})).column_names
    none = replace(other, channels={"ECG": other.channels[EEG]})
    with pytest.raises(ValueError, match="b has no channel of the same name and rate as a"):
        as_dataset(write_cohort(tmp_path / "none", {"train 1": both, "train 2": none}))


def test_a_corpus_opens_as_a_table_of_samples(tmp_path: Path) -> None:
    write_small_corpus(tmp_path / "out", "choice")
    samples, table = read_corpus(tmp_path / "out", "train"), as_dataset(tmp_path / "out", "train")
    assert table.num_rows == len(samples)
    assert table[0]["options"] == list(samples[0].options)
    assert table[0]["series"] == [values_L.tolist() for values_L in samples[0].series]


@pytest.mark.parametrize(
    ("split", "columns", "said"),
    [("dev", (), "split 'dev'"), ("val", (), "no recording in the split val"), ("train", ("x",), "no column 'x'")],
)
def test_what_is_not_there_is_named(split: str, columns: tuple[str, ...], said: str, tmp_path: Path) -> None:
    folder = write_cohort(tmp_path / "out", {"train": build_night("a", (W,))})
    with pytest.raises(ValueError, match=said):
        as_dataset(folder, split, columns)


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'tslm-sleep\[evaluate\]'"):
        as_dataset(tmp_path)


def test_a_pushed_cohort_has_its_splits_and_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    hub = tmp_path / "hub"
    monkeypatch.setattr(datasets.DatasetDict, "push_to_hub", lambda splits, name, **_: splits.save_to_disk(hub / name))

    def put_card(card: huggingface_hub.DatasetCard, name: str, **_: object) -> None:
        (hub / name / "README.md").write_text(str(card))

    monkeypatch.setattr(huggingface_hub.DatasetCard, "push_to_hub", put_card)
    folder = write_cohort(tmp_path / "out", {"train": build_night("a", (W, N2)), "test": build_night("b", (R,))})
    card = push_dataset(folder, "lab/nights")
    found = datasets.load_from_disk(str(hub / "lab" / "nights"))
    assert {name: table.num_rows for name, table in found.items()} == {"train": 2, "test": 1}
    assert (hub / "lab" / "nights" / "README.md").read_text() == card
    assert huggingface_hub.DatasetCard(card).data.pretty_name == "nights"
    assert "| train | 2 | 1 | 1 |" in card and "| `label` | `ClassLabel" in card
