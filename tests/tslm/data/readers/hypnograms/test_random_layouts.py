"""A random hypnogram in a random layout is read back equal, or refused: never otherwise."""

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslm.data.readers.hypnograms.config import HypnogramConfig, NightSpan
from tslm.data.readers.hypnograms.grid import build_sleep_stages, check_one_label, complete_durations, find_grid
from tslm.data.readers.hypnograms.match import check_length, find_offset, place_listed, shift_labels
from tslm.data.readers.hypnograms.read import read_hypnogram_file
from tslm.labels import SleepStage

CODES = {code: SleepStage(code) for code in ("W", "N1", "N2", "N3", "R")}
ONSETS = {
    "s": ("onset", "Start", "start_sec", "Time (s)", "begin [s]"),
    "ms": ("onset_ms", "time [ms]", "Start"),
    "samples": ("sample", "start_sample"),
    "clock": ("Time", "StartTime", "Clock Time", "Start", "when"),
    "stamp": ("Timestamp", "datetime", "Start Time"),
    "epoch": ("epoch", "No.", "Epoch Number", "#"),
    "listed": ("",),
}
ENDS = {"duration": "Duration", "end": "End", "": ""}
FS_HZ, DELIMITERS = 200.0, (",", ";", "\t")


@st.composite
def layouts(draw: st.DrawFn) -> tuple[str, str, list[str | None], NightSpan, float]:
    """Ending, content, stages by epoch, the recording, and the epoch's length."""
    epoch_s = draw(st.sampled_from([4, 10, 20, 30]))
    codes = draw(st.lists(st.sampled_from(sorted(CODES)), min_size=6, max_size=40))
    kind = draw(st.sampled_from(sorted(ONSETS)))
    first = draw(st.integers(0, 3)) if kind not in ("listed", "epoch") else 0
    start = datetime(2010, 1, 31, 22, 0) + timedelta(minutes=draw(st.integers(0, 300)))
    end_kind = draw(st.sampled_from(sorted(ENDS))) if kind not in ("listed", "epoch") else ""
    delimiter = draw(st.sampled_from(DELIMITERS))
    has_header = draw(st.booleans()) or end_kind == "duration"
    base = draw(st.integers(0, 1))
    width_s = {"ms": 1000.0, "samples": FS_HZ}.get(kind, 1.0)

    def write_time(second: float) -> str:
        moment = start + timedelta(seconds=second)
        return {"clock": f"{moment:%H:%M:%S}", "stamp": f"{moment:%Y-%m-%d %H:%M:%S}"}.get(
            kind, f"{second * width_s:g}"
        )

    rows = []
    for idx, code in enumerate(codes):
        onset_s = (idx + first) * epoch_s
        place = {"epoch": str(idx + base), "listed": ""}.get(kind, write_time(onset_s))
        ending = {"duration": f"{epoch_s}", "end": write_time(onset_s + epoch_s)}.get(end_kind, "")
        rows.append([cell for cell in (place, ending, code) if cell])
    if has_header:
        names = (
            draw(st.sampled_from(ONSETS[kind])),
            ENDS[end_kind],
            draw(st.sampled_from(["stage", "Label", "Event"])),
        )
        rows.insert(0, [name for name in names if name])
    text = "\n".join(delimiter.join(row) for row in rows)
    if draw(st.booleans()):
        text = "# scored\n\n" + text + "\n\n"
    duration_s = float(epoch_s * (first + len(codes) + draw(st.integers(0, 1))))
    return (
        draw(st.sampled_from([".csv", ".txt"])),
        text,
        [None] * first + list(codes),
        NightSpan(start, duration_s, FS_HZ),
        epoch_s,
    )


def read_stages(path: Path, night: NightSpan, epoch_s: float) -> list[str | None]:
    config = HypnogramConfig()
    file = read_hypnogram_file(path, config, epoch_s, CODES, night)
    labels = place_listed(file, config, epoch_s, night.duration_s)
    offset_s, _ = find_offset(file, night.start, night.duration_s, config, epoch_s)
    labels, _ = complete_durations(shift_labels(labels, offset_s), config, epoch_s, night.duration_s)
    labels = check_one_label(labels, CODES, config, epoch_s)
    origin_s = find_grid(labels, config, epoch_s).origin_s
    check_length(labels, CODES, file, config, epoch_s, night.duration_s, may_be_longer=False)
    stages = [stage and stage.value for stage in build_sleep_stages(labels, CODES, config, epoch_s, origin_s)]
    return stages if not origin_s else ["moved"]


def test_a_random_hypnogram_in_a_random_layout_is_read_back_equal_or_refused(request: pytest.FixtureRequest) -> None:
    refused, num_draws = [], request.config.getoption("--draws")

    @given(layouts())
    @settings(max_examples=num_draws, deadline=None)
    def check(layout: tuple[str, str, list[str | None], NightSpan, float]) -> None:
        suffix, text, stages, night, epoch_s = layout
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"h{suffix}"
            path.write_text(text)
            try:
                found = read_stages(path, night, epoch_s)
            except ValueError as error:
                refused.append(str(error))
                return
        assert found == stages

    check()
    assert not any("\n" in reason for reason in refused)
    assert len(refused) < 0.1 * num_draws + 10, refused[:5]
