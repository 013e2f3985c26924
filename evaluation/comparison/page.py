"""The table of a comparison as one HTML page that needs no network: a table on a desk, a card a system on a phone."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bar: #4477aa; --text: inherit }
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5rem auto; padding: 0 .7rem; max-width: 110rem }
h1 { font-size: 1.35rem; margin: 0 0 .6rem }
ul { padding-left: 1.2rem; margin: .4rem 0 1.2rem } li { margin: .15rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }
caption { text-align: left; padding-bottom: .4rem; font-weight: 600 }
th, td { padding: .4rem .25rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
thead th { font-size: .78rem; font-weight: 600; vertical-align: bottom }
th[scope=row] { position: sticky; left: 0; background: Canvas; font-weight: 600; overflow-wrap: break-word }
tr.reference th, tr.reference td { background: var(--soft) }
.bounds { display: block; font-size: .69rem; opacity: .75; white-space: nowrap }
td.note { opacity: .8 }
.strip { display: block; position: relative; height: .5rem; min-width: 4rem; margin-top: .25rem }
.strip { background: var(--soft) }
.strip i { position: absolute; top: 0; bottom: 0; background: var(--bar); opacity: .45 }
.strip b { position: absolute; top: -1px; bottom: -1px; width: 3px; margin-left: -1px; background: var(--bar) }
dt { font-weight: 600; margin-top: .5rem } dd { margin: 0 0 0 1rem }
@media (max-width: 760px) {
  thead { display: none }
  table, tbody, tr, th, td { display: block; width: auto }
  tr { border: 1px solid var(--line); border-radius: .5rem; margin: 0 0 1rem; overflow: hidden }
  th[scope=row] { position: static; background: var(--soft); font-size: 1.05rem; white-space: normal }
  td { display: grid; grid-template-columns: 9.5rem 1fr; gap: .5rem; padding: .3rem .55rem }
  td::before { content: attr(data-label); font-size: .82rem; opacity: .8 }
  td.empty { display: none }
  .bounds { display: inline; font-size: .82rem; margin-left: .3rem }
  tr.reference td { background: none }
}
"""


def render_page(
    columns: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[str], table: Mapping[str, Any]
) -> str:
    """The whole page.

    Args:
        columns: heads; the first is that of the systems' names.
        rows: cells as text, a number with its interval in brackets behind it.
        lines: what is said above the table.
        table: the comparison, for what text alone does not tell: notes, the reference, kappa's interval.
    """
    title = "Systems on the same epochs"
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = "".join(_render_row(columns, cells, row) for cells, row in zip(rows, table["rows"], strict=True))
    about = "".join(f"<dt>{html.escape(row['name'])}</dt><dd>{html.escape(row['about'])}</dd>" for row in table["rows"])
    said = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1><ul>{said}</ul>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f"<h2>What they are</h2><dl>{about}</dl></body></html>\n"
    )


def _render_row(columns: Sequence[str], cells: Sequence[str], row: Mapping[str, Any]) -> str:
    name, *others = cells
    classes = ' class="reference"' if row["is_reference"] else ""
    shown = html.escape(name).replace("_", "_<wbr>").replace("+", "<wbr>+")
    parts = [f'<tr{classes}><th scope="row">{shown}</th>']
    if row["metrics"] is None:
        parts.append(f'<td class="note" data-label="" colspan="{len(others)}">{html.escape(row["note"])}</td>')
        return "".join([*parts, "</tr>"])
    for column, cell in zip(columns[1:], others, strict=True):
        value, bracket, bounds = cell.partition(" [")
        shown = html.escape(value) + (f'<span class="bounds">[{html.escape(bounds)}</span>' if bracket else "")
        if column == "kappa":
            shown += _draw_strip(row["metrics"]["cohen_kappa"], row["intervals"]["cohen_kappa"])
        empty = ' class="empty"' if cell == "-" else ""
        parts.append(f'<td{empty} data-label="{html.escape(column)}"><span>{shown}</span></td>')
    return "".join([*parts, "</tr>"])


def _draw_strip(kappa: float | None, interval: Sequence[float | None]) -> str:
    """Kappa from 0 to 1 as a mark in its interval."""
    low, high = interval
    if kappa is None or low is None or high is None:
        return ""
    left, right, place = (100 * min(1.0, max(0.0, value)) for value in (low, high, kappa))
    return (
        '<span class="strip" aria-hidden="true">'
        f'<i style="left:{left:.1f}%;width:{right - left:.1f}%"></i><b style="left:{place:.1f}%"></b></span>'
    )
