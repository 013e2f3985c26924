import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.factories.small import small_config, small_recording, split_by_epoch, write_small_cohort, write_small_corpus
from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import (
    Recording,
    read_participants,
    read_signal_hashes,
    write_participants,
    write_recording,
)
from tslm.data.splits.leakage import check_leakage
from tslm.data.splits.rules import assign_splits
from tslm.data.splits.split import BY_EPOCH


def write_cohort(cohort_dir: Path, split_of: dict[str, str], first_seed: int = 0) -> str:
    """Subjects with their splits ("by_epoch" too), a night each with a signal of its own."""
    rows = []
    for seed, (subject, split) in enumerate(split_of.items(), start=first_seed):
        recording = small_recording(f"{subject}n1", 10, seed, subject=subject)
        rows.append(write_recording(split_by_epoch(recording) if split == BY_EPOCH else recording, cohort_dir, split))
    write_participants(rows, cohort_dir)
    return str(cohort_dir)


def stage(name: str, train_dir: str, test_dir: str = "", val_dir: str = "", **more: object) -> RunConfig:
    changes = {"name": name, "train_dir": train_dir, "test_dir": test_dir, "val_dir": val_dir, **more}
    return small_config(**{f"stage__{key}": value for key, value in changes.items()})


ONE_EACH = {"a": "train", "b": "train", "c": "val", "d": "test"}


def test_cohorts_without_a_common_subject_pass(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = write_cohort(tmp_path / "1", ONE_EACH), write_cohort(tmp_path / "2", {"e": "test"}, 10)
    assert check_leakage([stage("s0", first), stage("s4", first, second)]) == set()
    assert caplog.text == ""


def test_a_test_subject_in_the_training_folder_of_the_same_stage_is_named(tmp_path: Path) -> None:
    first, second = write_cohort(tmp_path / "1", ONE_EACH), write_cohort(tmp_path / "2", {"b": "test"}, 10)
    said = rf"subject b is in the training data of s4 \({first}\) and in the test data of s4 \({second}\): a leak"
    with pytest.raises(ValueError, match=said):
        check_leakage([stage("s4", first, second)])


def test_a_test_subject_in_the_training_data_of_an_earlier_stage_is_named(tmp_path: Path) -> None:
    first, second = write_cohort(tmp_path / "1", ONE_EACH), write_cohort(tmp_path / "2", {**ONE_EACH, "b": "test"}, 10)
    configs = [stage("s0", first), stage("s1", "nowhere", task="choice"), stage("s4", second)]
    with pytest.raises(ValueError, match="subject b is in the training data of s0 .* in the test data of s4"):
        check_leakage(configs)
    assert check_leakage(configs[2:]) == set()


def test_validation_on_what_trained_and_test_on_what_validated_are_leaks(tmp_path: Path) -> None:
    first = write_cohort(tmp_path / "1", ONE_EACH)
    with pytest.raises(ValueError, match="subject a is in the training data .* and in the validation data"):
        check_leakage([stage("s", first, val_dir=write_cohort(tmp_path / "2", {"a": "val"}, 10))])
    with pytest.raises(ValueError, match="subject c is in the validation data .* and in the test data"):
        check_leakage([stage("s", first, write_cohort(tmp_path / "3", {"c": "test"}, 10))])


def test_a_later_stage_may_train_on_what_an_earlier_one_tested_on(tmp_path: Path) -> None:
    first = write_cohort(tmp_path / "1", ONE_EACH)
    second = write_cohort(tmp_path / "2", {"d": "train", "e": "val", "f": "test"}, 10)
    assert check_leakage([stage("s0", first), stage("s4", second)]) == set()
    with pytest.raises(ValueError, match="subject d"):
        check_leakage([stage("s4", second), stage("s0", first)])


def test_one_night_under_two_names_is_a_leak(tmp_path: Path) -> None:
    first, second = write_cohort(tmp_path / "1", ONE_EACH), write_cohort(tmp_path / "2", {"x": "test"}, 1)
    said = "recording bn1 of subject b in the training data of s .* recording xn1 of subject x in the test data"
    with pytest.raises(ValueError, match=f"{said}.*hold the same signal: a leak"):
        check_leakage([stage("s", first, second)])


def test_a_dead_channel_is_no_mark_of_a_recording(tmp_path: Path) -> None:
    def write(name: str, seed: int, split: str) -> str:
        recording: Recording = small_recording(name, seed=seed)
        recording.channels["EMG"][:] = 0
        write_participants([write_recording(recording, tmp_path / name, split)], tmp_path / name)
        return str(tmp_path / name)

    folders = [write(name, seed, name) for seed, name in enumerate(("train", "val", "test"))]
    assert check_leakage([stage("s", folders[0], val_dir=folders[1], test_dir=folders[2])]) == set()
    assert len(read_signal_hashes(tmp_path / "train" / "train.parquet")) == 1


def test_a_split_by_epoch_goes_on_with_a_loud_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    leaky = write_cohort(tmp_path / "1", dict.fromkeys("ab", BY_EPOCH))
    clean = write_cohort(tmp_path / "2", {"x": "train", "y": "val", "a": "test"}, 10)
    with caplog.at_level(logging.WARNING):
        assert check_leakage([stage("s0", leaky, clean), stage("s4", clean)]) == {"s0", "s4"}
        assert check_leakage([stage("s5", clean)]) == set()
    assert caplog.text.count("LEAKY: ") == 2
    assert "LEAKY: s0 tests on people it was trained on" in caplog.text


def test_a_split_by_epoch_excuses_no_other_leak(tmp_path: Path) -> None:
    leaky = write_cohort(tmp_path / "1", dict.fromkeys("ab", BY_EPOCH))
    clean = write_cohort(tmp_path / "2", ONE_EACH, 10)
    other = write_cohort(tmp_path / "3", {"b": "test"}, 20)
    for configs in ([stage("s0", leaky), stage("s4", clean, other)], [stage("s4", clean), stage("s0", leaky, other)]):
        with pytest.raises(ValueError, match="subject b is in the training data of s4"):
            check_leakage(configs)


def write_folds(cohort_dir: Path) -> str:
    write_small_cohort(cohort_dir)
    rows = read_participants(cohort_dir)
    places = assign_splits([row.subject for row in rows], "loso", 0)
    write_participants(
        [replace(row, split=replace(row.split, fold=places[row.subject].fold)) for row in rows], cohort_dir
    )
    return str(cohort_dir)


def test_folds_need_a_choice_that_exists(tmp_path: Path) -> None:
    folded, plain = write_folds(tmp_path / "1"), write_cohort(tmp_path / "2", ONE_EACH, 10)
    assert check_leakage([stage("s", folded, fold=3)]) == set()
    assert check_leakage([stage("s", folded, plain, fold=3)]) == set()
    assert check_leakage([stage("s4", plain, folded, fold=0)]) == set()
    for fold, said in ((-1, "give stage.fold=N"), (4, "stage.fold is 4")):
        with pytest.raises(ValueError, match=f"{folded}: .*folds .0 to 3..*{said}"):
            check_leakage([stage("s", folded, fold=fold)])
    with pytest.raises(ValueError, match=f"stage.fold=1, but {plain} of s has no folds"):
        check_leakage([stage("s", plain, fold=1)])


def test_folds_of_two_stages_must_agree(tmp_path: Path) -> None:
    folded = write_folds(tmp_path / "1")
    with pytest.raises(ValueError, match="subject of night2 is in the validation data of s0 .* in the test data of s4"):
        check_leakage([stage("s0", folded, fold=0), stage("s4", folded, fold=1)])


def test_a_missing_cohort_is_an_error_unless_the_run_is_only_scored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = stage("s", str(tmp_path / "gone"), write_cohort(tmp_path / "1", ONE_EACH))
    with pytest.raises(FileNotFoundError, match="python -m data_prep.prepare"):
        check_leakage([config])
    assert check_leakage([config], may_lack_data=True) == set()
    assert "s cannot be checked for leaks against" in caplog.text


def test_corpora_know_no_subjects(tmp_path: Path) -> None:
    corpus = str(write_small_corpus(tmp_path, "choice"))
    assert check_leakage([stage("s1", corpus, task="choice")]) == set()


def mark_corpus(corpus_dir: Path, content: str) -> str:
    write_small_corpus(corpus_dir, "choice")
    (corpus_dir / "corpus.json").write_text(content)
    return str(corpus_dir)


def test_a_corpus_that_says_its_splits_leak_marks_the_stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    leaky = mark_corpus(tmp_path / "1", '{"leaky": true}')
    sound = mark_corpus(tmp_path / "2", '{"leaky": false}')
    configs = [
        stage("own", leaky, task="choice"),
        stage("sound", sound, task="choice"),
        stage("later", sound, leaky, task="choice"),
    ]
    assert check_leakage(configs) == {"own", "later"}
    assert caplog.text.count("whose splits share people or series") == 2
    assert check_leakage(configs[1:]) == set()
    with pytest.raises(ValueError, match=r"corpus\.json is damaged"):
        check_leakage([stage("s", mark_corpus(tmp_path / "3", "{"), task="choice")])


def test_nameless_people_of_a_data_set_mark_tests_on_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recording = replace(small_recording("SC4001E0", seed=40, subject="SC400"), source="sleep_edf")
    write_participants([write_recording(recording, tmp_path / "edf", "test")], tmp_path / "edf")
    cohort, corpus = write_cohort(tmp_path / "1", ONE_EACH), str(write_small_corpus(tmp_path / "2", "choice"))
    nights = stage("nights", cohort, str(tmp_path / "edf"))
    assert check_leakage([nights]) == set()
    assert check_leakage([stage("text", corpus, task="sleep_cot"), nights]) == {"nights"}
    assert "LEAKY: nights tests on sleep_edf, and text was trained on epochs of that data set" in caplog.text
