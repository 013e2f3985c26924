"""Tables for people and for programs: one type, rendered as text, Markdown, HTML or CSV.

A cell holds a value, not text, so that every form shows the same figure, and escaping happens here alone.
"""

import csv
import html
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

Value = str | int | float | None
Row = Sequence["Cell | Value"]
Bounds = Sequence[float | None]

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")  # what spreadsheets may run as a formula (OWASP)


@dataclass(frozen=True)
class Cell:
    """One value of a table.

    Attributes:
        value: text, a whole number, a number, or None where there is none.
        decimals: of a number.
        unit: of a number, behind it.
        interval: lower and upper bound of the value.
        detail: a few words that belong to the value, shown smaller.
        hint: what the value means; only HTML has room for it.
        is_signed: whether a positive number has a plus sign.
        share: 0 to 1, drawn as a bar beside the value in HTML; None: no bar.
    """

    value: Value = None
    decimals: int = 3
    unit: str = ""
    interval: Bounds | None = None
    detail: str = ""
    hint: str = ""
    is_signed: bool = False
    share: float | None = None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The interval, where both of its ends are known."""
        low, high = self.interval or (None, None)
        return None if low is None or high is None else (low, high)

    def text(self) -> str:
        """`.812 [.790, .833]` in full, with a dash for what is missing."""
        shown = "-" if self.value is None else self._figure(self.value, f" {self.unit}" if self.unit else "")
        if self.value is not None and self.bounds is not None:
            shown += f" [{self._figure(self.bounds[0])}, {self._figure(self.bounds[1])}]"
        return f"{shown} ({self.detail})" if self.detail else shown

    def html(self) -> str:
        """The same with typographic signs, the interval and the detail in small type."""
        small = [f"{_typeset(self._figure(bound))}" for bound in self.bounds or ()] if self.value is not None else []
        parts = [" to ".join(small), html.escape(self.detail), html.escape(self.hint)]
        unit = f"&#8239;{html.escape(self.unit)}" if self.unit else ""
        if isinstance(self.value, str):
            shown = html.escape(self.value)
        else:
            shown = "–" if self.value is None else _typeset(self._figure(self.value)) + unit
        bar = ""
        if self.share is not None:
            bar = f'<span class="meter" style="--share:{100 * self.share:.0f}%" aria-hidden="true"></span>'
        return f"{bar}{shown}" + "".join(f" <small>{part}</small>" for part in parts if part)

    def _figure(self, value: Value, unit: str = "") -> str:
        sign = "+" if self.is_signed else ""
        if isinstance(value, float):
            return f"{value:{sign}.{self.decimals}f}{unit}"
        return f"{value:{sign}d}{unit}" if isinstance(value, int) else str(value)


@dataclass(frozen=True)
class Table:
    """Columns and rows; the first cell of a row is its head.

    Attributes:
        columns: heads of the columns.
        rows: cells; plain values stand for cells of their own. What a short row lacks is empty, and in HTML its last
            cell spans the rest.
        title: above the table.
        notes: sentences below it.
        bold_rows: rows to stand out.
    """

    columns: Sequence[str]
    rows: Sequence[Row]
    title: str = ""
    notes: Sequence[str] = ()
    bold_rows: Collection[int] = ()

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows with every value as a cell."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]

    def text(self) -> str:
        """Columns aligned by spaces."""
        head = [list(self.columns)] if any(self.columns) else []
        rows = head + [[cell.text() for cell in row] for row in self.cells]
        widths = [max((len(row[idx]) for row in rows if idx < len(row)), default=0) for idx in range(len(self.columns))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows
        ]
        return "\n".join([*[self.title] * bool(self.title), *lines, *self.notes])

    def markdown(self) -> str:
        """A table as GitHub and the docs read it."""
        lines = [f"## {self.title}\n"] * bool(self.title)
        lines += [_markdown_row(self.columns), _markdown_row(["---"] * len(self.columns))]
        for idx, row in enumerate(self.cells):
            shown = [cell.text() for cell in row] + [""] * (len(self.columns) - len(row))
            lines.append(_markdown_row([f"**{text}**" for text in shown] if idx in self.bold_rows else shown))
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)]) + "\n"

    def html(self, css_class: str = "") -> str:
        """A `<table>` in an element that scrolls sideways; the title and the notes are its caption."""
        words = [f"<b>{html.escape(self.title)}</b>"] * bool(self.title) + [html.escape(note) for note in self.notes]
        caption = f"<caption>{' '.join(words)}</caption>" if words else ""
        heads = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in self.columns)
        body = "".join(self._html_row(row, idx in self.bold_rows) for idx, row in enumerate(self.cells))
        return (
            f'<div class="scroll"><table class="{html.escape(css_class)}">{caption}<thead><tr>{heads}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def csv(self) -> str:
        """Values in full precision, one line a row; what a spreadsheet would run as a formula is made text."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([_escape_csv(column) for column in self.columns])
        writer.writerows([_escape_csv(cell.value) for cell in row] for row in self.cells)
        return file.getvalue()

    def _html_row(self, row: Sequence[Cell], is_bold: bool) -> str:
        head, *others = row
        parts = [f'<th scope="row">{head.html()}</th>']
        for idx, (column, cell) in enumerate(zip(self.columns[1:], others, strict=False), start=2):
            span = len(self.columns) - idx + 1 if idx == len(row) else 1
            wide = f' colspan="{span}"' if span > 1 else ""
            parts.append(f'<td data-label="{html.escape(column)}"{wide}>{cell.html()}</td>')
        return f"<tr{' class=bold' if is_bold else ''}>{''.join(parts)}</tr>"


def render_pairs(title: str, pairs: Mapping[str, Cell | Value]) -> str:
    """Names and values as indented lines under a title."""
    lines = Table(["", ""], list(pairs.items())).text()
    return "\n".join([title, *(f"  {line}" for line in lines.splitlines())])


def _typeset(figure: str) -> str:
    return figure.replace("-", "−")


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _escape_csv(value: Value) -> Value:
    """Text as a spreadsheet shows it: no formula, and line ends that need no universal-newline reader."""
    if not isinstance(value, str):
        return value
    text = f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    return text.replace("\r\n", "\n").replace("\r", "\n")
