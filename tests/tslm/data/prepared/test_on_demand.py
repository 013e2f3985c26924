import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.factories.recordings import EEG, EMG, build_night, draw_stages, write_cohort
from tests.factories.small import small_config
from tslm.data.prepared.on_demand import ChannelCache, FirstEpochs
from tslm.data.prepared.recordings import read_recording
from tslm.data.samples.dataset import build_dataset
from tslm.data.samples.night_windows import load_recordings

NUM_NIGHTS, NUM_EPOCHS = 6, 12
CHANNEL_BYTES = NUM_EPOCHS * 64 * 30 * 4


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    nights = {
        f"train {seed}": build_night(f"n{seed}", draw_stages(NUM_EPOCHS, seed), seed) for seed in range(NUM_NIGHTS)
    }
    return write_cohort(tmp_path_factory.mktemp("cohort"), nights)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    monkeypatch.setattr(
        "tslm.data.prepared.recordings._read_stored",
        lambda path, scales, name: (read.append(f"{path.stem} {name}"), read_recording(path).channels[name])[1],
    )
    return read


def test_channels_read_on_demand_are_those_read_at_once(cohort: Path) -> None:
    whole, stored = (read_recording(cohort / "n0.parquet", [EEG, EMG], cache) for cache in (None, ChannelCache(1e9)))
    assert list(stored.channels) == [EEG, EMG] and EEG in stored.channels and "ECG" not in stored.channels
    assert all(np.array_equal(stored.channels[name], whole.channels[name]) for name in (EEG, EMG))
    assert stored.sleep_stages == whole.sleep_stages and stored.columns.keys() == whole.columns.keys()
    with pytest.raises(KeyError):
        stored.channels["ECG"]


def test_memory_holds_what_was_used_last_and_no_more(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = count_reads(monkeypatch)
    nights = load_recordings(cohort, "train", [EEG], memory_gb=2.5 * CHANNEL_BYTES / 1e9)
    assert not read
    for idx in (0, 1, 0, 1, 2, 1, 0):  # 2 pushes out 0, which was used before 1
        nights[idx].channels[EEG]
    assert read == [f"n{idx} {EEG}" for idx in (0, 1, 2, 0)]
    cache = nights[0].channels.cache  # type: ignore[attr-defined]
    assert cache._num_bytes == sum(values_EL.nbytes for values_EL in cache._held.values()) == 2 * CHANNEL_BYTES


@pytest.mark.parametrize(("task", "model"), [("night", "classifier"), ("sleep", "soft_prompt")])
def test_samples_do_not_depend_on_how_much_memory_holds(task: str, model: str, cohort: Path) -> None:
    drawn = []
    for memory_gb in (1, 0):
        config = small_config(
            model__fs_hz=64.0,
            model__epoch_s=30.0,
            model__name=model,
            stage__task=task,
            stage__train_dir=str(cohort),
            stage__extra_channels=(EMG,),
            train__memory_gb=memory_gb,
        )
        dataset = build_dataset(config, "train")
        torch.manual_seed(0)  # windows are augmented
        drawn.append([dataset[idx] for idx in range(0, len(dataset), 5)])
    assert len(drawn[0]) == len(drawn[1]) > 1
    for one, other in zip(*drawn, strict=True):
        assert one.window is not None and other.window is not None
        assert np.array_equal(one.window.values_WCL, other.window.values_WCL)
        assert one.pre_prompt == other.pre_prompt and one.response == other.response


def test_a_copy_in_another_process_begins_empty_and_reads_the_same(cohort: Path) -> None:
    (night, *_) = load_recordings(cohort, "train", [EEG])
    values_EL = night.channels[EEG]
    copied = pickle.loads(pickle.dumps(night))
    assert not copied.channels.cache._held
    assert np.array_equal(copied.channels[EEG], values_EL)


def test_a_file_that_is_written_anew_meanwhile_is_refused(cohort: Path) -> None:
    night = read_recording(cohort / "n1.parquet", [EEG], ChannelCache(0))
    os.utime(cohort / "n1.parquet", ns=(1, 1))
    with pytest.raises(ValueError, match=r"n1.parquet was written anew"):
        night.channels[EEG]


def test_the_first_epochs_are_cut_from_what_is_read(cohort: Path) -> None:
    night = read_recording(cohort / "n2.parquet", [EEG], ChannelCache(1e9))
    first = FirstEpochs(night.channels, 5)
    assert list(first) == [EEG] and len(first) == 1 and EMG not in first
    assert np.array_equal(first[EEG], night.channels[EEG][:5])


def test_a_negative_bound_is_refused(cohort: Path) -> None:
    with pytest.raises(ValueError, match=r"train.memory_gb=-1"):
        load_recordings(cohort, "train", [EEG], memory_gb=-1)
