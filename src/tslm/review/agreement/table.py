"""Agreement of reviewers as text for people to read."""

from collections.abc import Mapping, Sequence
from typing import Any

from tslm.review.records import RATINGS

_STAGE = "corrected_stage"
_NAMES = {_STAGE: "stage"}


def render_agreement(scores: Mapping[str, Any]) -> str:
    """What `score_agreement` gave, as tables; a dash where there is no figure."""
    fields = (*RATINGS, _STAGE)
    reviewers = [
        [name, str(about["num_epochs"]), *(_figure(about[f"mean_{rating}"]) for rating in RATINGS)]
        for name, about in scores["reviewers"].items()
    ]
    pairs = [
        _list_pair(f"{_NAMES.get(field, field)}: {' and '.join(pair['reviewers'])}", pair)
        for field in fields
        for pair in scores[field]["pairs"]
    ]
    together = []
    for field in fields:
        about = scores[field]
        line = [_NAMES.get(field, field), str(about["num_epochs"]), _figure(about["fleiss_kappa"])]
        if "icc" in about:
            icc, intervals = about["icc"] or {}, about["icc_intervals"] or {}
            line += [_figure(icc.get(name), intervals.get(name)) for name in ("2,1", "2,k", "3,1")]
        together.append(line)
    tables = [
        _render_table(["reviewer", "epochs", *(f"mean {rating}" for rating in RATINGS)], reviewers),
        _render_table(["two reviewers", "epochs", "same", "Cohen's kappa"], pairs),
        _render_table(["all reviewers", "epochs", "Fleiss' kappa", "ICC(2,1)", "ICC(2,k)", "ICC(3,1)"], together),
    ]
    for key, title in (("with_model", "stage with the model"), ("with_expert", "stage with the expert")):
        if key in scores[_STAGE]:
            lines = [_list_pair(name, pair) for name, pair in scores[_STAGE][key].items()]
            tables.append(_render_table([title, "epochs", "same", "Cohen's kappa"], lines))
    note = (
        "Ratings: kappa with quadratic weights. Brackets: 95 % interval. "
        f"-: fewer than {scores['min_epochs']} epochs in common, or answers that do not vary."
    )
    return "\n\n".join([*tables, note])


def _list_pair(name: str, pair: Mapping[str, Any]) -> list[str]:
    same = "-" if pair["share_same"] is None else f"{pair['share_same']:.0%}"
    return [name, str(pair["num_epochs"]), same, _figure(pair["kappa"], pair["interval"])]


def _figure(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" + ("" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]")


def _render_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, *lines]
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(len(head))]
    padded = [[f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in padded)
