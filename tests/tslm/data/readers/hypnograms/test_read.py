from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslm.data.cohorts.cohort import load_cohort
from tslm.data.readers.hypnograms.config import HypnogramConfig
from tslm.data.readers.hypnograms.grid import build_sleep_stages
from tslm.data.readers.hypnograms.read import find_unknown_labels, read_hypnogram_file
from tslm.data.readers.raw import Annotation
from tslm.labels import SleepStage

W, N1, N2, N3, R = SleepStage.WAKE, SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.REM
CODES = {"W": W, "N1": N1, "N2": N2, "N3": N3, "R": R}
STAGES = (W, N1, N1, N2, R)


def read_stages(path: Path, config: HypnogramConfig, epoch_s: float = 30) -> tuple[SleepStage | None, ...]:
    return build_sleep_stages(read_hypnogram_file(path, config, epoch_s).labels, CODES, config, epoch_s)


NSRR = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<PSGAnnotation><SoftwareVersion>x</SoftwareVersion><EpochLength>30</EpochLength><ScoredEvents>
<ScoredEvent><EventType/><EventConcept>Recording Start Time</EventConcept><Start>0</Start><Duration>150</Duration></ScoredEvent>
<ScoredEvent><EventType>Respiratory|Respiratory</EventType><EventConcept>Hypopnea|Hypopnea</EventConcept><Start>31.5</Start><Duration>20.1</Duration></ScoredEvent>
<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>Wake|0</EventConcept><Start>0</Start><Duration>30.0</Duration></ScoredEvent>
<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>Stage 1 sleep|1</EventConcept><Start>30</Start><Duration>60.0</Duration></ScoredEvent>
<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>Stage 2 sleep|2</EventConcept><Start>90</Start><Duration>30.0</Duration></ScoredEvent>
<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>REM sleep|5</EventConcept><Start>120</Start><Duration>30.0</Duration></ScoredEvent>
</ScoredEvents></PSGAnnotation>
"""  # noqa: E501


@pytest.mark.parametrize(
    ("name", "text", "settings_of"),
    [
        ("h.txt", "W\nN1\nN1\nN2\nR\n\n", {}),
        ("h.txt", "\ufeffW\r\nN1\r\nN1\r\nN2\r\nR\r\n", {}),
        ("h.csv", "epoch,stage\n1,W\n2,N1\n3,N1\n4,N2\n5,R\n", {}),
        ("h.csv", "epoch,stage\n0,W\n3,N2\n4,R\n1,N1\n2,N1\n", {}),
        ("h.csv", "stage\nW\nN1\nN1\nN2\nR\n", {}),
        ("h.csv", "Onset,Duration,Label\n0,30,W\n30,60,N1\n90,30,N2\n120,30,R\n", {}),
        ("h.csv", "t;who;s\n0;a;W\n30;a;N1\n90;a;N2\n120;a;R\n", {
            "delimiter": ";", "onset_column": "t", "label_column": "s", "until_next": True
        }),
        ("h.csv", "k,s\n1,W\n2,N1\n3,N1\n4,N2\n5,R\n", {"epoch_column": "k", "label_column": "s"}),
        ("sub-1_events.tsv", "onset\tduration\ttrial_type\n0\t30\tW\n3\t0\tbutton\n30\t60\tN1\n"
         "90\tn/a\tN2\n91\tn/a\tn/a\n120\t30\tR\n", {}),
        ("x.scored", "W\nN1\nN1\nN2\nR\n", {"format": "text"}),
    ],
)  # fmt: skip
def test_each_format_gives_the_same_stages(
    tmp_path: Path, name: str, text: str, settings_of: dict[str, object]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read_stages(tmp_path / name, HypnogramConfig(**settings_of)) == STAGES  # type: ignore[arg-type]


def test_nsrr_stages_are_told_from_other_events(tmp_path: Path) -> None:
    path = tmp_path / "shhs1-200001-nsrr.xml"
    path.write_text(NSRR)
    shhs = load_cohort("shhs")
    labels = read_hypnogram_file(path, shhs.hypnogram, 30).labels
    assert [label.text for label in labels] == ["Wake|0", "Stage 1 sleep|1", "Stage 2 sleep|2", "REM sleep|5"]
    assert build_sleep_stages(labels, shhs.label_map, shhs.hypnogram, 30) == STAGES


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_in_xml_are_refused_before_they_grow(tmp_path: Path, encoding: str) -> None:
    bomb = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [<!ENTITY a "ha">'
    bomb += "".join(f'<!ENTITY {chr(98 + idx)} "{f"&{chr(97 + idx)};" * 10}">' for idx in range(9))
    path = tmp_path / "h.xml"
    path.write_bytes(f"{bomb}]><PSGAnnotation>&j;</PSGAnnotation>".encode(encoding))
    with pytest.raises(ValueError, match="declares a document type"):
        read_hypnogram_file(path, HypnogramConfig(), 30)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("h.txt", b"\xff\xfe\x00", "is no text"),
        ("h.csv", b"a,b\n1,2\n", "has no column of labels; it has: a, b"),
        ("h.csv", b"", "has no column of labels"),
        ("h.csv", b"onset,stage\nsoon,W\n", "onset is 'soon' in row 1"),
        ("h.csv", b"onset,stage\nnan,W\n", "wanted a finite number"),
        ("h.csv", b"epoch,stage\n5,W\n6,W\n", "begins with epoch 5"),
        ("h.xml", b"<PSGAnnotation>", "is no XML file"),
        ("h.xml", b"", "is no XML file"),
        ("h.xml", b"<a><ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>W</EventConcept>"
         b"</ScoredEvent></a>", "stage 'W' starts at ''"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_hypnogram_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said) as caught:
        read_hypnogram_file(tmp_path / name, HypnogramConfig(), 30)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"absent\.txt"):
        read_hypnogram_file(tmp_path / "absent.txt", HypnogramConfig(), 30)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("h.txt", "\n\n"),
        ("h.csv", "onset,stage\n1\n"),
        ("h.csv", "onset,stage\n1,n/a\n"),
        ("h.xml", "<PSGAnnotation><ScoredEvents/></PSGAnnotation>"),
    ],
)
def test_a_hypnogram_without_a_label_holds_no_epoch(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_stages(tmp_path / name, HypnogramConfig()) == ()


def test_epochs_of_another_length_count_where_they_cover_the_middle() -> None:
    labels = [Annotation(idx * 20.0, 20.0, text) for idx, text in enumerate(["W", "N1", "N2", "N2", "R", "R"])]
    assert build_sleep_stages(labels, CODES, HypnogramConfig(), 30) == (W, N2, N2, R)


def test_a_gap_between_labels_has_none_and_a_later_label_overrides() -> None:
    labels = [Annotation(0, 60, "W"), Annotation(120, 30, "N2"), Annotation(30, 30, "N1"), Annotation(-90, 100, "R")]
    assert build_sleep_stages(labels, CODES, HypnogramConfig(), 30) == (W, N1, None, None, N2)


def test_a_label_that_ends_after_a_month_is_refused() -> None:
    for onset_s in (1e9, np.inf):
        with pytest.raises(ValueError, match="more than a month"):
            build_sleep_stages([Annotation(onset_s, 30, "W")], CODES, HypnogramConfig(), 30)


def test_what_must_be_a_stage_depends_on_the_file() -> None:
    labels = [Annotation(0, 30, text) for text in ("W", "lights off", "Stage X", "N9", "REM", "apnoea")]
    found = find_unknown_labels(labels, CODES, HypnogramConfig(), only_sleep_stages=False)
    assert found == ["REM"]  # reads like a stage; the others may be anything
    named = find_unknown_labels(labels, {"Stage W": W}, HypnogramConfig(ignore=("W",)), only_sleep_stages=False)
    assert named == ["REM", "Stage X"]
    everything = find_unknown_labels(labels, CODES, HypnogramConfig(ignore=("apnoea",)), only_sleep_stages=True)
    assert everything == ["N9", "REM", "Stage X", "lights off"]


@given(
    st.lists(
        st.tuples(st.integers(0, 600), st.integers(1, 200), st.sampled_from(sorted(CODES))), min_size=1, max_size=12
    ),
    st.sampled_from([4, 10, 20, 30]),
)
@settings(max_examples=100, deadline=None)
def test_stages_are_those_that_cover_the_middle(spans: list[tuple[int, int, str]], epoch_s: int) -> None:
    labels = [Annotation(onset_s, duration_s, text) for onset_s, duration_s, text in spans]
    stages = build_sleep_stages(labels, CODES, HypnogramConfig(), epoch_s)
    assert len(stages) == round(max(onset_s + duration_s for onset_s, duration_s, _ in spans) / epoch_s)
    for idx, stage in enumerate(stages):
        middle_s = (idx + 0.5) * epoch_s
        covering = [text for onset_s, duration_s, text in spans if onset_s <= middle_s < onset_s + duration_s]
        assert stage is (CODES[covering[-1]] if covering else None)
