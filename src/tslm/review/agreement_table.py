"""Agreement of reviewers as text for people to read."""

from collections.abc import Mapping
from typing import Any

from tslm.review.records import RATINGS

_STAGE = "corrected_stage"
_NAMES = {_STAGE: "stage"}


def render_agreement(scores: Mapping[str, Any]) -> str:
    """What `score_agreement` gave, as tables; a dash where there is no figure."""
    few = scores["min_epochs"]
    lines = ["reviewer                  epochs   mean accuracy  completeness  coherence"]
    for name, about in scores["reviewers"].items():
        means = "".join(f"{_figure(about[f'mean_{rating}']):>14}" for rating in RATINGS)
        lines.append(f"{name:<24}{about['num_epochs']:>8}  {means}")
    lines += ["", "reviewers with one another     epochs    same   kappa (ratings: quadratic weights)"]
    for field in (*RATINGS, _STAGE):
        lines += [
            _render_pair(f"{_NAMES.get(field, field)}: {' and '.join(pair['reviewers'])}", pair)
            for pair in scores[field]["pairs"]
        ]
    lines += ["", "all reviewers together         epochs  Fleiss   ICC(2,1)  ICC(2,k)  ICC(3,1)"]
    for field in (*RATINGS, _STAGE):
        about = scores[field]
        icc = about.get("icc") or {}
        figures = "" if field == _STAGE else "".join(f"{_figure(icc.get(name)):>10}" for name in ("2,1", "2,k", "3,1"))
        lines.append(
            f"{_NAMES.get(field, field):<30}{about['num_epochs']:>7}{_figure(about['fleiss_kappa']):>8}{figures}"
        )
    for key, title in (("with_model", "stage with the model"), ("with_expert", "stage with the expert")):
        if key in scores[_STAGE]:
            lines += ["", f"{title:<30} epochs    same   kappa"]
            lines += [_render_pair(name, pair) for name, pair in scores[_STAGE][key].items()]
    return "\n".join([*lines, "", f"-: fewer than {few} epochs in common, or answers that do not vary"])


def _render_pair(name: str, pair: Mapping[str, Any]) -> str:
    same = "-" if pair["share_same"] is None else f"{pair['share_same']:.0%}"
    return f"{name:<30}{pair['num_epochs']:>7}{same:>8}{_figure(pair['kappa']):>8}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
