"""Tables in many layouts: each is read as the same stages, or refused in one line that says what to do."""

from datetime import datetime
from pathlib import Path

import pytest

from tslm.data.readers.hypnograms.config import HypnogramConfig, NightSpan
from tslm.data.readers.hypnograms.grid import build_sleep_stages, complete_durations, find_grid
from tslm.data.readers.hypnograms.match import find_offset, shift_labels
from tslm.data.readers.hypnograms.read import read_hypnogram_file
from tslm.labels import SleepStage

STAGES = ["W", "W", "N1", "N2", "N2", "N3", "N3", "N2", "R", "W"]
CODES = {code: SleepStage(code) for code in ("W", "N1", "N2", "N3", "R")}
START = datetime(2010, 1, 31, 22, 0)
NIGHT = NightSpan(START, 300.0, 200.0)


def read_stages(path: Path, config: HypnogramConfig, night: NightSpan = NIGHT) -> list[str | None]:
    file = read_hypnogram_file(path, config, 30.0, CODES, night)
    offset_s, _ = find_offset(file, night.start, night.duration_s, config, 30.0)
    labels, _ = complete_durations(shift_labels(file.labels, offset_s), config, 30.0, night.duration_s)
    origin_s = find_grid(labels, config, 30.0).origin_s
    return [stage and stage.value for stage in build_sleep_stages(labels, CODES, config, 30.0, origin_s)]


def clock(second: float, half: bool = False) -> str:
    hour, rest = divmod(22 * 3600 + int(second), 3600)
    hour %= 24
    text = f"{rest // 60:02d}:{rest % 60:02d}"
    return f"{(hour - 1) % 12 + 1}:{text} {'PM' if hour >= 12 else 'AM'}" if half else f"{hour:02d}:{text}"


def table(head: str, row: str, delimiter: str = ",", extra: str = "") -> str:
    """A table with a row an epoch; `row` may use s, ms, smp, end, k, k1, at, am, code."""
    lines = [head] if head else []
    for idx, code in enumerate(STAGES):
        fields = {"s": 30 * idx, "ms": 30000 * idx, "smp": 6000 * idx, "end": 30 * idx + 30, "k": idx, "k1": idx + 1}
        fields |= {"at": clock(30 * idx), "am": clock(30 * idx, True), "stop": clock(30 * idx + 30), "code": code}
        lines.append(row.format(**fields))
        lines += [extra.format(**fields)] * (extra != "" and idx in (2, 5))
    return "\n".join(lines).replace(",", delimiter) + "\n"


LAYOUTS = {
    "onset and duration": table("onset,duration,trial_type", "{s},30,{code}"),
    "onset and end": table("Start,End,Stage", "{s},{end},{code}"),
    "onsets alone": table("start_sec,stage", "{s},{code}"),
    "milliseconds by the name": table("time_ms,stage", "{ms},{code}"),
    "milliseconds by their steps": table("time,stage", "{ms},{code}"),
    "milliseconds both": table("Start,Duration,Stage", "{ms},30000,{code}"),
    "samples by the name": table("start sample,stage", "{smp},{code}"),
    "samples by their steps": table("onset,label", "{smp},{code}"),
    "samples and seconds": table("onset,duration,label", "{smp},30,{code}"),
    "minutes": "\n".join(["Time [min],Stage", *(f"{idx / 2},{code}" for idx, code in enumerate(STAGES))]),
    "epochs from 0": table("Epoch,Score", "{k},{code}"),
    "epochs from 1": table("No.,Sleep Stage", "{k1},{code}"),
    "epochs called time": table("time,stage", "{k1},{code}"),
    "clock": table("Clock Time;Epoch;Stage", "{at};{k1};{code}", ","),
    "clock and end": table("StartTime,EndTime,Label", "{at},{stop},{code}"),
    "clock of half days": table("Time,Stage", "{am},{code}"),
    "clock and date": table("Date,Time,Stage", "31.01.2010,{at},{code}"),
    "date and clock in one": table("Timestamp,Stage", "2010-01-31T{at}.000,{code}"),
    "clock under a name that tells nothing": table("when,what", "{at},{code}"),
    "clock from the start": table("Elapsed time,Stage", "0:{at},{code}").replace("0:22:", "0:"),
    "polyman": table(
        "Date, Time, Recording onset, Duration, Annotation, Linked channel", "31-JAN-2010, {at}, {s}, 30, {code}, "
    ),
    "blanks in names": table("  onset , duration , stage ", " {s} , 30 , {code} "),
    "semicolons and decimal commas": table("onset|duration|stage", "{s},0|30,0|{code}").replace("|", ";"),
    "tabs": table("onset,duration,stage", "{s},30,{code}", "\t"),
    "no header": table("", "{k1},{code}"),
    "no header, seconds": table("", "{s},{code}"),
    "no header, clock": table("", "{at},{code}"),
    "no header, start and end": table("", "{s},{end},{code}"),
    "no header, two scorers who agree": table("", "{k1},{code},{code}"),
    "comments and blank lines": "# scored by hand\n\n" + table("onset,stage", "{s},{code}").replace("N3\n", "N3\n\n"),
    "lines before the header": "Patient;X\nRecorded on;31.01.2010\n\n" + table("Time;Event;Duration", "{at};{code};30"),
    "events among the stages": table("onset,duration,label", "{s},30,{code}", extra="{s},12,Hypopnea"),
    "events without times": table("epoch,stage", "{k1},{code}", extra=",Hypopnea"),
    "events in order": table("label,comment", "{code},", extra="Hypopnea,long"),
    "a line a label": "\n".join(STAGES),
    "a header over a line a label": "stage\n" + "\n".join(STAGES),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_each_layout_gives_the_same_stages(tmp_path: Path, name: str, encoding: str) -> None:
    path = tmp_path / ("h.txt" if "a line a label" in name else "h.csv")
    path.write_bytes(LAYOUTS[name].encode(encoding))
    assert read_stages(path, HypnogramConfig(ignore=("Hypopnea",))) == STAGES


@pytest.mark.parametrize(
    "text",
    [
        "time,stage\n0,W\n60,N1\n90,N2\n150,N3\n210,N2\n240,R\n270,W\n",
        "epoch,stage\n1,W\n3,N1\n4,N2\n6,N3\n8,N2\n9,R\n10,W\n",
        "epoch,duration,stage\n1,2,W\n3,1,N1\n4,2,N2\n6,2,N3\n8,1,N2\n9,1,R\n10,1,W\n",
        "epoch,duration_s,stage\n1,60,W\n3,30,N1\n4,60,N2\n6,60,N3\n8,30,N2\n9,30,R\n10,30,W\n",
        "start,duration,stage\n22:00:00,0:01:00,W\n22:01:00,0:00:30,N1\n22:01:30,0:01:00,N2\n22:02:30,0:01:00,N3\n"
        "22:03:30,0:00:30,N2\n22:04:00,0:00:30,R\n22:04:30,0:00:30,W\n",
    ],
)
def test_bouts_last_as_long_as_they_say_or_to_the_next_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "h.csv").write_text(text)
    assert read_stages(tmp_path / "h.csv", HypnogramConfig()) == STAGES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stage,Begin of it\nW,22h05\nN1,22h06\nN2,22h07\n", "'Begin of it' looks like a time and is not understood"),
        ("stage_manual,stage_auto\nW,W\nN1,N2\n", "which differ in 1 rows, the first in row 2; choose one"),
        ("epoch,scorer,stage\n1,A,W\n1,B,N1\n2,A,N1\n2,B,N1\n", "labels of 2 scorers; choose .* one of: A, B"),
        ("onset,time,stage\n0,22:00:00,W\n30,22:00:30,N1\n60,22:02:00,N2\n", "'onset' and 'time' give different times"),
        ("a,b,label\n5,10,W\n9,11,N1\n20,40,N2\n", "columns 'a' and 'b' both rise"),
        ("end,stage\n30,W\n60,N1\n", "has ends \\('end'\\) but no starts"),
        ("start,end,stage\n0,30,W\n60,50,N1\n", "label 'N1' at 60 s ends before it begins"),
        ("onset,stage\n0,W\nlater,N1\n", "onset is 'later' in row 2; wanted a number"),
    ],
)
def test_a_table_that_leaves_a_question_asks_it(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "h.csv").write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        read_stages(tmp_path / "h.csv", HypnogramConfig())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "stages"),
    [
        (HypnogramConfig(scorer="auto"), ["W", "N2"]),
        (HypnogramConfig(scorer="manual"), ["W", "N1"]),
        (HypnogramConfig(label_column=" Stage_Auto"), ["W", "N2"]),
    ],
)
def test_one_of_two_scorers_is_chosen(tmp_path: Path, config: HypnogramConfig, stages: list[str]) -> None:
    (tmp_path / "h.csv").write_text("stage_manual,stage_auto\nW,W\nN1,N2\n")
    assert read_stages(tmp_path / "h.csv", config) == stages


def test_a_scorer_is_chosen_by_the_value_of_a_column(tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text("epoch,scorer,stage\n1,A,W\n1,B,N1\n2,A,N1\n2,B,R\n")
    assert read_stages(tmp_path / "h.csv", HypnogramConfig(scorer="B")) == ["N1", "R"]


def test_what_was_understood_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text(LAYOUTS["polyman"])
    file = read_hypnogram_file(tmp_path / "h.csv", HypnogramConfig(), 30.0, CODES, NIGHT)
    assert file.understood == "time: 'Recording onset' (s), duration: 'Duration', labels: 'Annotation'"
