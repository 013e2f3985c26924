from pathlib import Path

import numpy as np
import pytest

from tslm.staging.sources import find_nights, open_source


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folder_gives_its_recordings_in_order_and_leaves_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, "b.edf", "a/c.EDF", "a/d.csv", "notes.txt", "._b.edf", ".hidden.edf", "e.vhdr", "e.eeg")
    assert [path.name for path in find_nights([tmp_path])] == ["c.EDF", "d.csv", "b.edf", "e.vhdr"]
    assert find_nights([tmp_path / "notes.txt", tmp_path / "b.edf", tmp_path / "b.edf"]) == [
        tmp_path / "notes.txt",
        tmp_path / "b.edf",
    ]


def test_two_nights_of_one_name_and_paths_without_a_night_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a/night.edf", "b/night.edf", "c/readme.md")
    with pytest.raises(ValueError, match=r"a/night.edf and .*b/night.edf have one name"):
        find_nights([tmp_path])
    with pytest.raises(FileNotFoundError, match="holds no recording"):
        find_nights([tmp_path / "c"])
    with pytest.raises(FileNotFoundError, match="there is no file"):
        find_nights([tmp_path / "nowhere.edf"])


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ({}, {"fs_hz": 100.0}, "no signal"),
        ({"EEG": np.zeros(100)}, {}, "give fs_hz"),
        ({"EEG": np.zeros(100)}, {"fs_hz": 100.0, "unit": "kg"}, "unknown unit 'kg'"),
        ({"EEG": np.zeros((2, 100))}, {"fs_hz": 100.0}, r"shape \(2, 100\)"),
        (np.zeros(0), {"fs_hz": 100.0}, r"shape \(0,\)"),
        (5, {}, "got int"),
    ],
)
def test_what_is_no_night_is_refused(source: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_source(source, **options)  # type: ignore[arg-type]
