"""Places of waveforms on the page: where each lies in its epoch, and lanes of marks above the trace.

A lane and a colour belong to each kind; `static/event_marks.js` draws the same elements for the epoch that is chosen.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tslm.data.events import has_events, recording_events
from tslm.data.prepared.recordings import Recording
from tslm.evidence.criteria import Feature
from tslm.evidence.events import Event, parse_events, render_events

# The lanes from top to bottom, by the name of one waveform. Classes of page.css are `event-<kind>`.
EVENT_NAMES: dict[Feature, str] = {
    Feature.SPINDLES: "spindle",
    Feature.K_COMPLEXES: "K-complex",
    Feature.SLOW_WAVES: "slow waves",
    Feature.ALPHA: "alpha",
    Feature.EYE_MOVEMENTS: "eye movement",
    Feature.SAWTOOTH: "sawtooth",
    Feature.ARTEFACT: "artefact",
}
_KINDS = list(EVENT_NAMES)
_STEPS_PER_S = 100  # of the document


def collect_events(rows: Sequence[Mapping[str, Any]], recording: Recording | None) -> list[Sequence[Event] | None]:
    """The events of each row, to a hundredth of a second: those it holds, else those of its recording, else None.

    Args:
        rows: of one recording; `epoch_idx` is looked at where there is a recording.
        recording: its signals.
    """
    known = [parse_events(row["events"]) if "events" in row else None for row in rows]
    lacking = [row["epoch_idx"] for row, events in zip(rows, known, strict=True) if events is None and recording]
    if not lacking or recording is None or not has_events(recording):
        return [*known]
    first = min(lacking)
    measured = recording_events(recording, epochs=slice(first, max(lacking) + 1))
    return [
        parse_events(render_events(measured[row["epoch_idx"] - first])) if events is None else events
        for row, events in zip(rows, known, strict=True)
    ]


def pack_events(events: Sequence[Event]) -> list[int]:
    """Lane, onset and duration of each event one after the other, times in hundredths of a second."""
    return [
        number
        for event in events
        for number in (
            _KINDS.index(event.kind),
            round(event.onset_s * _STEPS_PER_S),
            max(round(event.duration_s * _STEPS_PER_S), 1),
        )
    ]


def draw_bands(events: Sequence[Event], epoch_s: float, width: float, height: float) -> str:
    """SVG behind the trace of an epoch, a translucent band an event."""
    return "".join(
        f'<rect class="band event-{event.kind}" x="{width * event.onset_s / epoch_s:.1f}" y="0" '
        f'width="{width * event.duration_s / epoch_s:.1f}" height="{height:g}"/>'
        for event in events
    )


def render_lanes(events: Sequence[Event], epoch_s: float) -> str:
    """HTML above the trace, a lane of marks for each kind that is there."""
    lanes = []
    for kind, name in EVENT_NAMES.items():
        own = [event for event in events if event.kind == kind]
        marks = "".join(
            f'<i class="event" style="left:{100 * event.onset_s / epoch_s:.2f}%;'
            f'width:{100 * event.duration_s / epoch_s:.2f}%" title="{escape(describe_event(event))}"></i>'
            for event in own
        )
        if own:
            lanes.append(
                f'<div class="lane event-{kind}"><span class="lane-name">{name}</span>'
                f'<span class="hidden">{", ".join(f"{event.onset_s:.1f} s" for event in own)}</span>'
                f'<div class="track">{marks}</div></div>'
            )
    return f'<div class="lanes">{"".join(lanes)}</div>' if lanes else ""


def describe_event(event: Event) -> str:
    """Name and place of an event in words."""
    stop_s = event.onset_s + event.duration_s
    return f"{EVENT_NAMES[event.kind]}, {event.onset_s:.1f} to {stop_s:.1f} s"
