"""Agreement of reviewers as text for people to read."""

from collections.abc import Mapping
from typing import Any

from tslm.metric_names import percent
from tslm.review.records import RATINGS
from tslm.table import Cell, Table

_STAGE = "corrected_stage"
_NAMES = {_STAGE: "sleep stage"}


def render_agreement(scores: Mapping[str, Any]) -> str:
    """What `score_agreement` gave, as tables; a dash where there is no figure."""
    fields = (*RATINGS, _STAGE)
    reviewers = [
        [Cell(name), Cell(about["num_epochs"]), *(Cell(about[f"mean_{rating}"], 2) for rating in RATINGS)]
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
        line = [Cell(_NAMES.get(field, field)), Cell(about["num_epochs"]), Cell(about["fleiss_kappa"], 2)]
        if "icc" in about:
            icc, intervals = about["icc"] or {}, about["icc_intervals"] or {}
            line += [Cell(icc.get(name), 2, interval=intervals.get(name)) for name in ("2,1", "2,k", "3,1")]
        together.append(line)
    tables = [
        Table(["reviewer", "epochs", *(f"mean {rating}" for rating in RATINGS)], reviewers),
        Table(["two reviewers", "epochs", "same", "Cohen's kappa"], pairs),
        Table(["all reviewers", "epochs", "Fleiss' kappa", "ICC(2,1)", "ICC(2,k)", "ICC(3,1)"], together),
    ]
    for key, title in (("with_model", "sleep stage with the model"), ("with_expert", "sleep stage with the expert")):
        if key in scores[_STAGE]:
            lines = [_list_pair(name, pair) for name, pair in scores[_STAGE][key].items()]
            tables.append(Table([title, "epochs", "same", "Cohen's kappa"], lines))
    note = (
        "Ratings: kappa with quadratic weights. Brackets: 95 % interval. "
        f"-: fewer than {scores['min_epochs']} epochs in common, or answers that do not vary."
    )
    return "\n\n".join([*(table.text() for table in tables), note])


def _list_pair(name: str, pair: Mapping[str, Any]) -> list[Cell]:
    same = Cell(percent(pair["share_same"]), 0, "%")
    return [Cell(name), Cell(pair["num_epochs"]), same, Cell(pair["kappa"], 2, interval=pair["interval"])]
