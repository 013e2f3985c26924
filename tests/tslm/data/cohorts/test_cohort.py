from pathlib import Path
from typing import Any

import pytest
import yaml

from tslm.config.compose import list_group
from tslm.data.cohorts.cohort import (
    ChannelConfig,
    DerivationConfig,
    find_recordings,
    load_cohort,
    parse_cohort,
)
from tslm.labels import RK_ANNOTATIONS, SleepStage


def save(tmp_path: Path, content: Any) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("name", list_group("cohort"))
def test_each_shipped_cohort_is_whole(name: str) -> None:
    config = load_cohort(name)
    assert config.description
    assert config.source
    assert config.channels
    assert config.signals.files
    assert {SleepStage.WAKE, SleepStage.REM} <= set(config.label_map.values())


def test_channels_may_be_a_word_a_list_or_a_mapping() -> None:
    spelled = {
        "EEG": ChannelConfig(any=(DerivationConfig("C4-M1"), DerivationConfig("C4", ("M1",)))),
        "EMG": ChannelConfig(any=(DerivationConfig("chin"),), optional=True),
    }
    content = {"EEG": ["C4-M1", {"plus": "C4", "minus": "M1"}], "EMG": {"any": "chin", "optional": True}}
    assert parse_cohort({"channels": content}).channels == spelled
    assert parse_cohort({"channels": "A, B"}).channels == parse_cohort({"channels": ["A", "B"]}).channels
    assert parse_cohort({"channels": {"EEG": {"plus": "C4", "minus": ["A1", "A2"]}}}).channels["EEG"].any == (
        DerivationConfig("C4", ("A1", "A2")),
    )
    assert DerivationConfig("C4", ("A1", "A2")).name == "C4 - A1 + A2"


def test_without_labels_those_of_sleep_edf_are_taken() -> None:
    assert parse_cohort({}).label_map == RK_ANNOTATIONS
    assert parse_cohort({"labels": {0: "W", 1: "N1"}}).label_map == {"0": SleepStage.WAKE, "1": SleepStage.N1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"channel": {}}, "unknown key 'channel'; did you mean 'channels'"),
        ({"hypnogram": {"file": "x"}}, "unknown key 'hypnogram.file'; did you mean 'hypnogram.files'"),
        ({"channels": {"EEG": {"option": True}}}, "'channels.EEG.option'; did you mean"),
        ({"channels": {"EEG": [{"plsu": "C4"}]}}, "'channels.EEG.any.plsu'.*'channels.EEG.any.plus'"),
        ({"channels": {"EEG": [{"minus": "M1"}]}}, "channels.EEG: no recorded channel is named"),
        ({"channels": 3}, "channels: 3 is no mapping"),
        ({"epoch_s": "long"}, "bad value for epoch_s"),
        ({"epoch_s": 0}, "epoch_s=0"),
        ({"labels": {"x": "N4"}}, "labels: 'x' is 'N4'; wanted one of: W, N1"),
        ({"labels": {True: "W"}}, "put it in quotes"),
        ({"hypnogram": {"format": "xlsx"}}, "hypnogram.format=xlsx: wanted one of: annotations"),
        ({"missing_labels": "wake"}, "missing_labels=wake: wanted one of"),
        ("a: [", "is no YAML file"),
        ("just words", "holds no settings"),
    ],
)
def test_a_mistake_in_the_yaml_is_one_line(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        load_cohort(save(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_an_unknown_cohort_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no cohort 'sleep_edv'.*sleep_edf"):
        load_cohort("sleep_edv")


def test_the_source_of_a_users_cohort_is_the_name_of_its_file(tmp_path: Path) -> None:
    assert load_cohort(save(tmp_path, {"species": "mouse"})).source == "mine"
    assert load_cohort(save(tmp_path, {"source": "lab7"})).source == "lab7"


def test_words_change_any_key(tmp_path: Path) -> None:
    path = save(tmp_path, {"channels": {"EEG": "C4-M1", "EMG": "chin"}, "labels": {"1": "N1"}})
    overrides = ["channels=EEG Fpz-Cz,EOG", "hypnogram.epoch_s=20", "signals.files=[a.edf, b.edf]", "labels.2=N2"]
    config = load_cohort(path, overrides)
    assert list(config.channels) == ["EEG Fpz-Cz", "EOG"]
    assert config.hypnogram.epoch_s == 20
    assert config.signals.files == ("a.edf", "b.edf")
    assert config.labels == {"1": "N1", "2": "N2"}
    assert load_cohort(path, ["channels.EMG.optional=true"]).channels["EMG"].optional
    with pytest.raises(ValueError, match="unknown key 'fs'; did you mean"):
        load_cohort(path, ["fs=3"])
    with pytest.raises(ValueError, match="'fs_hz' is not key=value"):
        load_cohort(path, ["fs_hz"])


def test_names_tell_recording_subject_and_hypnogram(tmp_path: Path) -> None:
    touch(tmp_path, "polysomnography/edfs/shhs1/shhs1-200001.edf", "polysomnography/edfs/shhs2/shhs2-200001.edf")
    folder = "polysomnography/annotations-events-nsrr"
    touch(tmp_path, f"{folder}/shhs1/shhs1-200001-nsrr.xml", f"{folder}/shhs2/shhs2-200001-nsrr.xml")
    found = find_recordings(load_cohort("shhs"), tmp_path)
    assert [(files.recording, files.subject) for files in found] == [
        ("shhs1-200001", "200001"),
        ("shhs2-200001", "200001"),
    ]
    assert [files.hypnogram_path.name for files in found if files.hypnogram_path] == [
        "shhs1-200001-nsrr.xml",
        "shhs2-200001-nsrr.xml",
    ]


def test_a_path_that_does_not_fit_the_name_is_no_recording(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/ses-1/eeg/sub-01_ses-1_task-sleep_eeg.edf",
        "sub-01/ses-1/eeg/sub-01_ses-1_task-sleep_events.tsv",
    )
    touch(tmp_path, "derivatives/sub-01_eeg.edf")
    found = find_recordings(load_cohort("bids_eeg"), tmp_path)
    assert [(files.recording, files.subject) for files in found] == [("sub-01_ses-1_task-sleep", "sub-01")]


@pytest.mark.parametrize(
    ("names", "hypnogram", "said"),
    [
        (["a.edf", "a1.txt", "a2.txt"], {"files": "{stem}*.txt"}, "2 are named"),
        (["a.edf"], {"files": "{night}.txt"}, "asks for 'night'; known are: stem, recording"),
        (["a.edf"], {"files": "{}.txt"}, "asks for"),
        (["b/a.edf", "c/a.edf"], {}, "are both named a; give signals.name a group"),
    ],
)
def test_files_that_cannot_be_paired_are_named(
    tmp_path: Path, names: list[str], hypnogram: dict[str, str], said: str
) -> None:
    touch(tmp_path, *names)
    config = parse_cohort({"signals": {"files": "**/*.edf"}, "hypnogram": hypnogram})
    with pytest.raises(ValueError, match=said):
        find_recordings(config, tmp_path)


def test_a_recording_without_its_hypnogram_names_what_is_missing_and_a_hypnogram_is_no_recording(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "a.edf", "b.edf", "b_stages.edf")
    content = {"signals": {"files": "*.edf"}, "hypnogram": {"files": ["{stem}_stages.edf", "{stem}.txt"]}}
    found = find_recordings(parse_cohort(content), tmp_path)
    assert [(files.recording, files.missing) for files in found] == [("a", "a_stages.edf or a.txt"), ("b", "")]
    with pytest.raises(
        ValueError, match=r"a\.edf needs one hypnogram beside it, 0 found; wanted a_stages\.edf or a\.txt"
    ):
        find_recordings(parse_cohort(content | {"missing_labels": "error"}), tmp_path)


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no \*\*/\*-PSG\.edf; get nights with: python -m data_prep"):
        find_recordings(load_cohort("sleep_edf"), tmp_path)
    touch(tmp_path, "night-PSG.edf")
    with pytest.raises(FileNotFoundError, match=r"whose path fits signals\.name, night-PSG\.edf does not"):
        find_recordings(load_cohort("sleep_edf"), tmp_path)
    with pytest.raises(FileNotFoundError, match="give raw_dir=DIR"):
        find_recordings(load_cohort("sleep_edf"), None)
    with pytest.raises(ValueError, match=r"signals\.files is empty"):
        find_recordings(parse_cohort({}), tmp_path)
    with pytest.raises(ValueError, match=r"signals\.name is no regular expression"):
        find_recordings(parse_cohort({"signals": {"files": "*.edf", "name": "("}}), tmp_path)


def test_signs_of_patterns_in_a_name_are_that_name(tmp_path: Path) -> None:
    touch(tmp_path, "night[1].edf", "night[1].txt", "night1.edf", "night1.txt", "night[1]_b.csv", "night1_b.csv")
    for files in ("{stem}.txt", "{stem}_*.csv"):
        content = {"signals": {"files": "*.edf"}, "hypnogram": {"files": files}, "channels": "EEG"}
        found = {
            files.signal_path.stem: files.hypnogram_path for files in find_recordings(parse_cohort(content), tmp_path)
        }
        assert len(found) == 2
        assert all(path is not None and path.name.startswith(stem) for stem, path in found.items())


def test_files_that_macos_writes_beside_others_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "n1.edf", "._n1.edf", "n1_x.csv", "._n1_x.csv")
    content = {"signals": {"files": "*.edf"}, "hypnogram": {"files": "*_x.csv"}, "channels": "EEG"}
    found = find_recordings(parse_cohort(content), tmp_path)
    assert [(files.signal_path.name, files.hypnogram_path) for files in found] == [("n1.edf", tmp_path / "n1_x.csv")]


def test_a_preset_names_digits_and_labels_override_it() -> None:
    config = parse_cohort({"hypnogram": {"digits": "accusleep"}, "labels": {"W": "W", "4": "MOVE"}})
    assert {digit: config.label_map[digit].value for digit in "1234"} == {"1": "R", "2": "W", "3": "NREM", "4": "MOVE"}
    with pytest.raises(ValueError, match="hypnogram.digits=mine: wanted one of: rk, yasa"):
        parse_cohort({"hypnogram": {"digits": "mine"}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"signals": {"files": ["/etc/*"]}}, "signals.files: '/etc/\\*' is no pattern below"),
        ({"signals": {"files": [""]}}, "signals.files: '' is no pattern"),
        ({"signals": {"files": ["**x"]}}, "signals.files: '\\*\\*x' is no pattern"),
        ({"hypnogram": {"files": ["/etc/*"]}}, "hypnogram.files: '/etc/\\*' is no pattern below"),
        ({"labels": ["W", "N1"]}, "labels: .* is no mapping"),
        ({"labels": "W"}, "labels: .* is no mapping"),
        ({"signals": ["*.edf"]}, "signals is .*; wanted a mapping"),
        ({"hypnogram": 3}, "hypnogram is 3; wanted a mapping"),
        ({"channels": 3}, "channels: 3 is no mapping"),
        ({"channels": {"EEG": {"any": None}}}, "channels.EEG"),
        ({"channels": {"EEG": {"any": [{"plus": ["C4"]}]}}}, "channels.EEG.any.plus"),
        ({"channels": {"EEG": None}}, "channels.EEG"),
    ],
)
def test_a_list_for_a_mapping_or_a_pattern_from_the_root_is_one_line(change: dict, said: str, tmp_path: Path) -> None:
    (tmp_path / "n.edf").touch()
    content = {"signals": {"files": ["*.edf"]}, "channels": "EEG"} | change
    with pytest.raises(ValueError, match=said) as caught:
        find_recordings(parse_cohort(content), tmp_path)
    assert "\n" not in str(caught.value)
