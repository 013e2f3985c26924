"""Tables of labels in any layout: CSV, TSV, with or without a header, by times, epoch numbers, or row after row.

1. lines become rows of cells; comments, blank lines and what stands before the header are left out
2. columns get their roles: by the cohort's YAML, by their names, by their cells (`columns.py`)
3. rows without a label, and those to be ignored, are dropped: they take no place
4. times become seconds: numbers in s, ms, min, h or samples, times of day, epoch numbers
"""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tslm.data.readers.hypnograms.columns import (
    DATE,
    DURATION,
    END,
    EPOCH,
    LABEL,
    NOT_GIVEN,
    ONSET,
    SCORER,
    SYNONYMS,
    Column,
    Roles,
    configured_names,
    describe_cells,
    find_named,
    is_name,
    label_share,
    read_stage,
)
from tslm.data.readers.hypnograms.config import HypnogramConfig, HypnogramFile, NightSpan
from tslm.data.readers.hypnograms.digits import is_digit, plain_label
from tslm.data.readers.hypnograms.seconds import (
    compare_times,
    durations_of_epochs,
    find_unit,
    read_durations,
    read_lengths,
    read_moments,
    read_numbers,
    scale_durations,
    scale_of,
)
from tslm.data.readers.hypnograms.times import (
    DAY_S,
    looks_like_date,
    parse_moment,
    parse_number,
    unroll_moments,
)
from tslm.data.readers.raw import Annotation
from tslm.labels import SleepStage

COMMENTS = ("#", "%", "//")
_DELIMITERS = ("\t", ";", "|", ",")
_MAX_PREAMBLE = 60  # rows before the header
_MOSTLY = 0.8
_OWN = ("epoch_idx", "onset_s", "duration_s", "stage")  # hypnogram.csv of this package: `stage` is the label


def read_table(
    path: Path,
    text: str,
    config: HypnogramConfig,
    epoch_s: float,
    labels: Mapping[str, SleepStage],
    night: NightSpan,
) -> HypnogramFile:
    """Labels of a table.

    Args:
        path: The file, for messages and for its ending.
        text: Its content.
        config: What the cohort states.
        epoch_s: Length of an epoch.
        labels: Label to sleep stage; common names are known without.
        night: What is known of the recording.

    Raises:
        ValueError: It is no table, a column is missing, ambiguous or unused although it looks like a time, or a cell
            cannot be read.
    """
    columns, has_header = _split_columns(path, text, config, labels)
    label = _find_label(path, columns, config, labels)
    roles = _find_roles(path, columns, label, config, has_header)
    keep = _rows_to_keep(path, roles, config)
    if roles.onset is None:
        roles, texts = _filter_roles(roles, keep, labels)
        return _read_in_order(path, columns, roles, texts, epoch_s)
    used = {id(column) for column in vars(roles).values() if column}
    others = [column for column in columns if id(column) not in used and column.role == ONSET and column.given()]
    others = [_take(column, keep) for column in others] if not config.onset_column else []
    roles, texts = _filter_roles(roles, keep, labels)
    return _read_by_time(path, others, roles, texts, config, epoch_s, night)


def has_columns(text: str) -> bool:
    """Whether most lines of a text hold a delimiter equally often, or several words of which the first is a number."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(COMMENTS)]
    delimiter = _sniff_delimiter(lines)
    return sum(delimiter in line.strip() for line in lines) >= 0.6 * len(lines) > 0


def _split_columns(
    path: Path, text: str, config: HypnogramConfig, labels: Mapping[str, SleepStage]
) -> tuple[list[Column], bool]:
    """Columns of the table with stripped names and cells; names are numbers where there is no header."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(COMMENTS)]
    delimiter = config.delimiter.replace("\\t", "\t") or _sniff_delimiter(lines)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)]
    except csv.Error as error:
        raise ValueError(f"{path} is no table: {error}") from error
    rows = [row for row in rows if any(row)]
    if delimiter == " ":
        rows = [[cell for cell in row if cell] for row in rows]
    if not rows:
        return [], False
    header = _find_header(rows, config, labels)
    body = rows if header is None else rows[header + 1 :]
    width = max(map(len, rows[header or 0 :]))
    names = [*(rows[header] if header is not None else ()), *[""] * width][:width]
    names = [name or str(idx + 1) for idx, name in enumerate(names)]
    padded = [row + [""] * (width - len(row)) for row in body]
    columns = [Column(name, tuple(row[idx] for row in padded)) for idx, name in enumerate(names)]
    return [one for one in columns if one.given() or not one.name.isdigit()], header is not None


def _sniff_delimiter(lines: Sequence[str]) -> str:
    """The first delimiter that most lines hold equally often; the comma last, as it may be a decimal comma."""
    for delimiter in _DELIMITERS:
        counts = Counter(line.count(delimiter) for line in lines)
        if sum(number for count, number in counts.items() if count) >= 0.6 * len(lines) > 0:
            return delimiter
    first_words = [line.split()[0] for line in lines]
    is_spaced = sum(parse_number(word) is not None or parse_moment(word) is not None for word in first_words)
    return " " if is_spaced >= _MOSTLY * len(lines) > 0 and all(len(line.split()) > 1 for line in lines) else ","


def _find_header(
    rows: Sequence[Sequence[str]], config: HypnogramConfig, labels: Mapping[str, SleepStage]
) -> int | None:
    """Position of the row with the names of the columns; None where the table begins with data."""
    wanted = configured_names(config)
    head = rows[:_MAX_PREAMBLE]
    for idx, row in enumerate(head):
        if wanted & {" ".join(cell.split()).casefold() for cell in row} and not any(map(_is_value, row)):
            return idx
    width = Counter(map(len, rows)).most_common(1)[0][0]
    for idx, row in enumerate(head):
        names = sum(map(is_name, row))
        if names >= min(2, len(row), width) and not any(map(_is_value, row)):
            return idx

    def is_data(row: Sequence[str]) -> bool:
        return any(_is_value(cell) or read_stage(cell, labels) is not None for cell in row)

    if width == 1:
        return None  # a first line that is no usual name may be a label
    first = next((idx for idx, row in enumerate(head) if is_data(row) and len(row) >= width), 0)
    before = rows[first - 1] if first else rows[0] if not is_data(rows[0]) else ()
    return max(0, first - 1) if len(before) == width and any(before) and not is_data(before) else None


def _is_value(cell: str) -> bool:
    return parse_number(cell) is not None or parse_moment(cell) is not None or looks_like_date(cell)


def _find_label(
    path: Path, columns: Sequence[Column], config: HypnogramConfig, labels: Mapping[str, SleepStage]
) -> Column:
    """The column of labels; ValueError where there is none, or where two contradict each other."""
    named = find_named(columns, config.label_column, "label_column", str(path))
    if named is not None:
        return named
    staged = [column for column in columns if label_share(column, labels) >= _MOSTLY / 2]
    if config.scorer and not config.scorer.isdigit():
        words = config.scorer.casefold()
        chosen = [one for one in columns if one.name.casefold() == words] or [
            one for one in staged if words in one.name.casefold().replace("_", " ").split()
        ]
        if len(chosen) == 1 and chosen[0].role != SCORER:
            return chosen[0]
    if tuple(column.name for column in columns[:4]) == _OWN:
        return columns[3]
    by_name = sorted(
        (column for column in columns if column.role == LABEL), key=lambda one: SYNONYMS[LABEL].index(one.plain)
    )
    if not staged:
        staged = by_name[:1] or _digit_columns(columns)
    if not staged:
        has = ", ".join(describe_cells(column) for column in columns)
        raise ValueError(f"{path} has no column of labels; it has: {has}; name it in hypnogram.label_column")
    first = next((column for column in by_name if column in staged), staged[0])
    for other in staged:
        apart = [
            row
            for row, cells in enumerate(zip(first.cells, other.cells, strict=True))
            if None not in (found := [read_stage(cell, labels) for cell in cells]) and found[0] != found[1]
        ]
        if other is not first and apart:
            raise ValueError(
                f"{path} holds two columns of labels, {first.name!r} and {other.name!r}, which differ in {len(apart)} "
                f"rows, the first in row {apart[0] + 1}; choose one with hypnogram.label_column"
            )
    return first


def _digit_columns(columns: Sequence[Column]) -> list[Column]:
    """Columns of a few small whole numbers that do not count through."""
    return [
        column
        for column in columns
        if column.role in ("", LABEL)
        and len(set(column.given())) <= 10 < 10 * len(column.given())
        and all(is_digit(plain_label(cell)) for cell in column.given())
        and not column.rises()
        and not (len(set(column.given())) == 1 and len(columns) > 1 and len(column.given()) > 1)
    ][-1:]


def _find_roles(
    path: Path, columns: Sequence[Column], label: Column, config: HypnogramConfig, has_header: bool
) -> Roles:
    """The roles of the other columns; ValueError where one looks like a time and has none."""
    where = str(path)
    named = {
        ONSET: find_named(columns, config.onset_column, "onset_column", where),
        END: find_named(columns, config.end_column, "end_column", where),
        DURATION: find_named(columns, config.duration_column, "duration_column", where),
        EPOCH: find_named(columns, config.epoch_column, "epoch_column", where),
    }
    taken = [label, *(column for column in named.values() if column)]
    rest = [column for column in columns if not any(column is one for one in taken)]
    if rest and tuple(column.name for column in columns[:4]) == _OWN:
        rest = [column for column in rest if column.name in _OWN]
    found: dict[str, Column | None] = {}
    for role in (ONSET, END, DURATION, EPOCH, DATE, SCORER):
        own = sorted((one for one in rest if one.role == role), key=lambda one: SYNONYMS[role].index(one.plain))
        own = [one for one in own if any(one.cells)]
        if role in (ONSET, END):  # numbers need no start of the recording
            own.sort(key=lambda one: one.holds_clock())
        found[role] = named.get(role) or (own[0] if own else None)
    if named[EPOCH] and not named[ONSET]:
        found[ONSET] = found[END] = found[DURATION] = None
    is_told = bool(named[ONSET] or named[EPOCH])
    if not is_told:
        rest = [one for one in rest if not any(one is other for other in found.values())]
        if found[ONSET] is None:
            _find_by_cells(path, rest, found, has_header)
        for column in rest:
            if any(column is one for one in found.values()) or not column.given():
                continue
            if column.looks_like_time() and column.role != ONSET:
                raise ValueError(
                    f"{path}: column {column.name!r} looks like a time and is not understood; say which column is the "
                    "time in hypnogram.onset_column (end_column, duration_column, epoch_column)"
                )
    if found[ONSET] is None and found[END] is None and found[DATE] is not None and not found[EPOCH]:
        found[ONSET] = date if (date := found[DATE]) is not None and date.holds_clock() else None
    end = found[END]
    if found[ONSET] is None and end is not None and not is_told:
        raise ValueError(f"{path} has ends ({end.name!r}) but no starts; name them in hypnogram.onset_column")
    return Roles(label, **found)


def _find_by_cells(path: Path, rest: Sequence[Column], found: dict[str, Column | None], has_header: bool) -> None:
    """Onset or epoch numbers among columns whose names tell nothing, by what their cells hold."""
    clocks = [column for column in rest if column.holds_clock()]
    if clocks:
        found[ONSET] = clocks[0]
        if len(clocks) > 1 and found[END] is None and not has_header:
            found[END] = clocks[1]
        return
    if found[EPOCH] is not None:
        return
    if counting := [column for column in rest if column.counts()]:
        found[EPOCH] = counting[0]
        return
    rising = [column for column in rest if column.holds_numbers() and column.rises()]
    if len(rising) > 1 and has_header:
        raise ValueError(
            f"{path}: columns {rising[0].name!r} and {rising[1].name!r} both rise; name the one that is the time in "
            "hypnogram.onset_column"
        )
    if rising:
        found[ONSET] = rising[0]
        numbers = [column for column in rest if column is not rising[0] and column.holds_numbers()]
        if not has_header and numbers:
            found[END if numbers[0].rises() else DURATION] = numbers[0]


def _rows_to_keep(path: Path, roles: Roles, config: HypnogramConfig) -> list[int]:
    """Rows of labels that count: not ignored, by the chosen scorer, and given where times tell the places."""
    rows = [row for row, text in enumerate(roles.label.cells) if text not in config.ignore]
    if roles.onset is not None or roles.epoch is not None:
        rows = [row for row in rows if roles.label.cells[row].casefold() not in NOT_GIVEN]
    if roles.scorer is None:
        return rows
    scorers = list(dict.fromkeys(roles.scorer.cells[row] for row in rows if roles.scorer.cells[row]))
    if config.scorer in scorers:
        return [row for row in rows if roles.scorer.cells[row] == config.scorer]
    if len(scorers) > 1 and not config.scorer.isdigit():
        place = roles.onset or roles.epoch
        at: dict[str, str] = {}
        apart = place is None or any(
            at.setdefault(place.cells[row], roles.label.cells[row]) != roles.label.cells[row] for row in rows
        )
        if apart:
            raise ValueError(
                f"{path} holds labels of {len(scorers)} scorers; choose with hypnogram.scorer= one of: "
                f"{', '.join(scorers)}"
            )
    return rows


def _filter_roles(roles: Roles, rows: Sequence[int], labels: Mapping[str, SleepStage]) -> tuple[Roles, list[str]]:
    """Columns of the rows that count, and their labels."""
    taken = Roles(**{role: column and _take(column, rows) for role, column in vars(roles).items()})
    return taken, [cell if cell in labels else plain_label(cell) for cell in taken.label.cells]


def _take(column: Column, rows: Sequence[int]) -> Column:
    return Column(column.name, tuple(column.cells[row] for row in rows))


def _read_in_order(
    path: Path, columns: Sequence[Column], roles: Roles, texts: list[str], epoch_s: float
) -> HypnogramFile:
    """Rows by the number of the epoch, or one after the other."""
    if roles.epoch is None:
        labels = [
            Annotation(idx * epoch_s, epoch_s, text)
            for idx, text in enumerate(texts)
            if text.casefold() not in NOT_GIVEN
        ]
        num_rows = len(columns[0].cells) if columns else 0
        understood = f"labels: {roles.label.name!r}, a row an epoch"
        return HypnogramFile(tuple(labels), understood, is_listed=True, num_ignored=num_rows - len(texts))
    numbers = read_numbers(path, roles.epoch)
    whole = Column("", _all_cells(columns, roles.epoch.name)).given()
    known = [number for cell in whole if (number := parse_number(cell)) is not None]
    first = min((*known, *numbers), default=0.0)
    if first not in (0.0, 1.0):
        raise ValueError(
            f"{path} begins with epoch {first:g}; epochs count from 0 or from 1; if the scoring begins later, "
            "hypnogram.start= the second at which epoch 1 begins and a column from 1"
        )
    durations_s = durations_of_epochs(path, roles, numbers, epoch_s)
    labels = [
        Annotation((number - first) * epoch_s, duration_s, text)
        for number, duration_s, text in zip(numbers, durations_s, texts, strict=True)
    ]
    understood = f"epoch: {roles.epoch.name!r} from {first:g}, labels: {roles.label.name!r}"
    return HypnogramFile(tuple(labels), understood)


def _all_cells(columns: Sequence[Column], name: str) -> tuple[str, ...]:
    return next(column.cells for column in columns if column.name == name)


def _read_by_time(
    path: Path,
    others: Sequence[Column],
    roles: Roles,
    texts: list[str],
    config: HypnogramConfig,
    epoch_s: float,
    night: NightSpan,
) -> HypnogramFile:
    """Rows with a time each; `others` are further columns of times, which must agree."""
    assert roles.onset is not None
    if not texts:
        return HypnogramFile(())
    is_clock = roles.onset.holds_clock()
    start, has_date, unit = None, True, "s"
    if is_clock:
        moments = read_moments(path, roles.onset, roles.date)
        onsets_s, start, has_date = unroll_moments(moments)
        unit = "time of day"
        if roles.onset.is_elapsed or max(moment.second for moment in moments) >= DAY_S:
            onsets_s, start, unit = [onset_s + moments[0].second for onset_s in onsets_s], None, "h:m:s from the start"
        durations_s = read_lengths(path, roles, moments, onsets_s)
    else:
        onsets = read_numbers(path, roles.onset)
        durations = read_durations(path, roles.duration, 1.0) if roles.duration else None
        unit = find_unit(roles, onsets, durations, config, epoch_s, night)
        scale = scale_of(path, unit, config, epoch_s, night)
        onsets_s = [(onset - (min(onsets) >= 1 and unit == "epochs")) * scale for onset in onsets]
        if roles.end is not None:
            ends = read_numbers(path, roles.end)
            durations_s = [(end - onset) * scale for onset, end in zip(onsets, ends, strict=True)]
        else:
            durations_s = scale_durations(path, roles, unit, onsets, scale, config, epoch_s, night)
    zero = compare_times(path, roles, others, onsets_s)
    if any(duration_s < 0 for duration_s in durations_s):
        row = next(idx for idx, duration_s in enumerate(durations_s) if duration_s < 0)
        raise ValueError(f"{path}: label {texts[row]!r} at {onsets_s[row]:g} s ends before it begins")
    parts = [f"time: {roles.onset.name!r} ({unit})"]
    parts += [f"end: {roles.end.name!r}"] if roles.end else []
    parts += [f"duration: {roles.duration.name!r}"] if roles.duration and not roles.end else []
    parts += [f"labels: {roles.label.name!r}"]
    labels = tuple(map(Annotation, onsets_s, durations_s, texts))
    clock_at_zero = zero if start is None and not config.onset_column else None
    return HypnogramFile(labels, ", ".join(parts), start, has_date, clock_at_zero=clock_at_zero)
