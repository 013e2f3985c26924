from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tslm.config.files import apply_overrides, parse_options, parse_overrides, parse_sweeps, suggest


@dataclass(frozen=True)
class Options:
    split: str = "70/15/15"
    seed: int = 0
    hours: float = 8.0
    edf: bool = False
    names: tuple[str, ...] = ()
    raw_dir: Path | None = None


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("split=70/15/15", "70/15/15"),
        ("split=kfold:10", "kfold:10"),
        ("files=**/*.edf", "**/*.edf"),
        ("files={stem}_*.csv", "{stem}_*.csv"),
        ("stage.test_dir=", ""),
        ("subjects.table=''", ""),
        ("channel=EEG Pz-Oz", "EEG Pz-Oz"),
        ("extra_channels=[EOG horizontal,EMG submental]", ["EOG horizontal", "EMG submental"]),
        ("extra_channels=[]", []),
        ("oversample={REM: 2}", {"REM": "2"}),
        ("uri=http://host:5000", "http://host:5000"),
        ('pattern="{stem}.txt"', "{stem}.txt"),
        ("equation=a=b", "a=b"),
        ("raw_dir=/data/Nächte 2/夜 $HOME", "/data/Nächte 2/夜 $HOME"),
        ("names=[EEG Größe, 'C4 - M1']", ["EEG Größe", "C4 - M1"]),
    ],
)
def test_a_value_is_text_a_list_or_a_mapping(word: str, value: Any) -> None:
    assert list(parse_overrides([word]).values()) == [value]


def test_the_dataclass_gives_a_value_its_type() -> None:
    words = ["split=loso", "seed=3", "hours=1e-1", "edf=true", "names=[a,b]", "raw_dir=~/nights"]
    assert parse_options(Options, words) == Options("loso", 3, 0.1, True, ("a", "b"), Path.home() / "nights")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("seed", "'seed' is not key=value"),
        ("=3", "is not key=value"),
        ("a..b=3", "is not key=value"),
        ("names=[a", "is no YAML"),
        ("seed=three", "bad value for seed"),
        ("edf=maybe", "bad value for edf"),
        ("split=${ü ü}", "split=.* refers to another value"),
        ("split=a${", "split=.* refers to another value"),
        ("Fpz-Cz", "quote a value with blanks"),
        ("sed=3", "unknown key 'sed'; did you mean 'seed'"),
        ("colour=3", "unknown key 'colour'; choose one of: split, seed"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_word(word: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        parse_options(Options, [word])
    assert "\n" not in str(caught.value)


def test_overrides_are_put_into_nested_settings_and_leave_the_given_ones_alone() -> None:
    content = {"hypnogram": {"epoch_s": 30, "format": "text"}, "channels": ["EEG"]}
    changed = apply_overrides(content, ["hypnogram.epoch_s=20", "channels.EEG.unit=mV"])
    assert changed == {"hypnogram": {"epoch_s": "20", "format": "text"}, "channels": {"EEG": {"unit": "mV"}}}
    assert content["hypnogram"]["epoch_s"] == 30


def test_a_sweep_is_a_list_of_values_or_a_range() -> None:
    assert parse_sweeps(["fold=range(0,3)", "loss=plain, focal", "seed=4"]) == {
        "fold": ["0", "1", "2"],
        "loss": ["plain", "focal"],
        "seed": ["4"],
    }
    for word in ("fold=", "fold=1,,2", "fold=range(3,3)"):
        with pytest.raises(ValueError, match="no choice of values"):
            parse_sweeps([word])


def test_a_name_with_the_same_last_part_is_nearest() -> None:
    assert suggest("optim.batch_size", ["train.batch_size", "optim.lr"]) == "did you mean 'train.batch_size'?"
