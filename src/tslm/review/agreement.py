"""Agreement of reviewers: kappas and intraclass correlations with 95 % intervals.

Kappas are statsmodels': Cohen's with asymptotic intervals (Fleiss, Cohen & Everitt 1969) and, for ratings, quadratic
weights (Cohen 1968); Fleiss' for more than two reviewers, which takes ratings as unordered categories. Intraclass
correlations are the ratios of mean squares of Shrout & Fleiss 1979, "Intraclass correlations: uses in assessing rater
reliability", for a table in which every reviewer rated every epoch. Shape letters: E epochs, R reviewers.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from types import ModuleType
from typing import Any

import numpy as np

from tslm.metric_names import percent
from tslm.review.records import RATING_VALUES, RATINGS, SavedReview
from tslm.table import Cell, Table

MIN_EPOCHS = 10  # fewer in common give no figure
_STAGE = "corrected_stage"
_HOW_TO_INSTALL = "agreement needs statsmodels: pip install 'tslm-sleep[review]'"
Answers = Mapping[str, Any]  # sample_id -> rating or stage


def score_agreement(
    reviews: Iterable[SavedReview],
    options: Sequence[str],
    model: Mapping[str, str | None],
    expert: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Agreement of the reviewers with one another, with the model and with the expert.

    Args:
        reviews: the newest revision of each.
        options: stages that the run may answer with.
        model: the model's answer by sample_id; None where it could not be read.
        expert: the expert's label by sample_id; None: hidden.

    Returns:
        `reviewers`: num_epochs and mean ratings of each. For each rating and for `corrected_stage`: `pairs` of
        reviewers (num_epochs, share_same, kappa, interval), `fleiss_kappa` over the num_epochs that all reviewers
        answered and, for ratings, `icc` with `icc_intervals` (epochs resampled); for the stage also `with_model` and
        `with_expert` by reviewer. A figure is None where fewer than MIN_EPOCHS epochs are in common or where
        answers do not vary.

    Raises:
        ImportError: statsmodels is missing.
    """
    answers = _collect_answers(reviews)
    reviewers = sorted({name for by_reviewer in answers.values() for name in by_reviewer}, key=str.casefold)
    scores: dict[str, Any] = {
        "min_epochs": MIN_EPOCHS,
        "reviewers": {name: _describe_reviewer(answers, name) for name in reviewers},
    }
    for field in RATINGS:
        by_reviewer = answers[field]
        scores[field] = _score_field(by_reviewer, RATING_VALUES, "quadratic")
        ratings_ER = _complete_table(by_reviewer)
        is_enough = len(ratings_ER) >= MIN_EPOCHS
        scores[field]["icc"] = score_icc(ratings_ER) if is_enough else None
        scores[field]["icc_intervals"] = bootstrap_icc(ratings_ER) if is_enough else None
    sleep_stages = answers[_STAGE]
    scores[_STAGE] = _score_field(sleep_stages, options, None)
    others = {"with_model": model} | ({} if expert is None else {"with_expert": expert})
    for name, given in others.items():
        scores[_STAGE][name] = {
            reviewer: _score_pair(own, {key: value for key, value in given.items() if value is not None}, options, None)
            for reviewer, own in sleep_stages.items()
        }
    return scores


def _collect_answers(reviews: Iterable[SavedReview]) -> dict[str, dict[str, dict[str, Any]]]:
    """Collect the given answers: field -> reviewer -> sample_id -> answer."""
    answers: dict[str, dict[str, dict[str, Any]]] = {field: {} for field in (*RATINGS, _STAGE)}
    for saved in reviews:
        for field, by_reviewer in answers.items():
            value = getattr(saved.review, field)
            if value is not None:
                by_reviewer.setdefault(saved.reviewer, {})[saved.sample_id] = value
    return answers


def _describe_reviewer(answers: Mapping[str, Mapping[str, Answers]], name: str) -> dict[str, Any]:
    given = {field: answers[field].get(name, {}) for field in answers}
    return {
        "num_epochs": len({sample_id for values in given.values() for sample_id in values}),
        **{f"mean_{field}": float(np.mean(list(given[field].values()))) if given[field] else None for field in RATINGS},
    }


def _score_field(by_reviewer: Mapping[str, Answers], values: Sequence[Any], weights: str | None) -> dict[str, Any]:
    reviewers = sorted(by_reviewer, key=str.casefold)
    pairs = [
        {"reviewers": [a, b], **_score_pair(by_reviewer[a], by_reviewer[b], values, weights)}
        for a, b in combinations(reviewers, 2)
    ]
    table_ER = _complete_table(by_reviewer)
    return {
        "pairs": pairs,
        "num_reviewers": len(reviewers),
        "num_epochs": len(table_ER),
        "fleiss_kappa": _score_fleiss(table_ER, values) if len(table_ER) >= MIN_EPOCHS else None,
    }


def _score_pair(own: Answers, other: Answers, values: Sequence[Any], weights: str | None) -> dict[str, Any]:
    common = [sample_id for sample_id in own if sample_id in other]
    counts_KK = np.zeros((len(values), len(values)))
    for sample_id in common:
        counts_KK[list(values).index(own[sample_id]), list(values).index(other[sample_id])] += 1
    scored: dict[str, Any] = {"num_epochs": len(common), "share_same": None, "kappa": None, "interval": None}
    if len(common) < MIN_EPOCHS:
        return scored
    scored["share_same"] = float(np.trace(counts_KK) / len(common))
    if np.count_nonzero(counts_KK.sum(axis=0) + counts_KK.sum(axis=1)) < 2:
        return scored  # kappa is 0/0 if both gave the same answer to all epochs
    with np.errstate(invalid="ignore", divide="ignore"):  # a variance below zero by rounding, and so no interval
        kappa = _load_inter_rater().cohens_kappa(counts_KK, wt=weights)
    scored["kappa"] = float(kappa.kappa)
    if kappa.std_kappa > 0:  # otherwise they never differed, and the interval is a point
        scored["interval"] = tuple(float(np.clip(limit, -1, 1)) for limit in (kappa.kappa_low, kappa.kappa_upp))
    return scored


def _complete_table(by_reviewer: Mapping[str, Answers]) -> np.ndarray:
    """(epochs, reviewers) of the epochs that all reviewers answered; no rows where there are fewer than two."""
    tables = [by_reviewer[name] for name in sorted(by_reviewer, key=str.casefold)]
    if len(tables) < 2:
        return np.zeros((0, len(tables)))
    common = [sample_id for sample_id in tables[0] if all(sample_id in other for other in tables[1:])]
    return np.array([[table[sample_id] for table in tables] for sample_id in common]).reshape(len(common), len(tables))


def _score_fleiss(table_ER: np.ndarray, values: Sequence[Any]) -> float | None:
    counts_EK = np.stack([(table_ER == value).sum(axis=1) for value in values], axis=1)
    if np.count_nonzero(counts_EK.sum(axis=0)) < 2:
        return None
    return float(_load_inter_rater().fleiss_kappa(counts_EK, method="fleiss"))


def _load_inter_rater() -> ModuleType:
    try:
        from statsmodels.stats import inter_rater
    except ImportError as error:
        raise ImportError(_HOW_TO_INSTALL) from error
    return inter_rater


_NAMES = {_STAGE: "sleep stage"}


def render_agreement(scores: Mapping[str, Any]) -> str:
    """Render the scores of `score_agreement` as tables; a dash stands for a missing figure."""
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


_ZERO = 1e-12  # a smaller variance is a rounding error
_NUM_RESAMPLES = 1000


def score_icc(ratings_ER: np.ndarray) -> dict[str, float | None]:
    """Intraclass correlations of Shrout & Fleiss, by their names.

    Args:
        ratings_ER: (epochs, reviewers) float, complete; two of each at least.

    Returns:
        "1,1", "2,1", "3,1" of a single reviewer, "1,k", "2,k", "3,k" of the mean of the k reviewers. 1: each epoch
        has other reviewers; 2: reviewers are a random sample, and differences of level count as disagreement; 3: the
        reviewers are fixed, and differences of level do not count. None if the ratings do not vary between epochs, or
        if their estimated variance is not positive.

    Raises:
        ValueError: a table with fewer than two epochs or reviewers.
    """
    num_epochs, num_reviewers = ratings_ER.shape
    if num_epochs < 2 or num_reviewers < 2:
        raise ValueError(f"a table of {num_epochs} epochs by {num_reviewers} reviewers; two of each are needed")
    n, k = num_epochs, num_reviewers
    epoch_means_E = ratings_ER.mean(axis=1)
    reviewer_means_R = ratings_ER.mean(axis=0)
    residuals_ER = ratings_ER - epoch_means_E[:, None] - reviewer_means_R + ratings_ER.mean()
    between = k * float(epoch_means_E.var(ddof=1))  # BMS
    reviewers = n * float(reviewer_means_R.var(ddof=1))  # JMS
    error = float((residuals_ER**2).sum()) / ((n - 1) * (k - 1))  # EMS
    within = ((k - 1) * reviewers + (n - 1) * (k - 1) * error) / (n * (k - 1))  # WMS
    ratios = {
        "1,1": (between - within, between + (k - 1) * within),
        "2,1": (between - error, between + (k - 1) * error + k * (reviewers - error) / n),
        "3,1": (between - error, between + (k - 1) * error),
        "1,k": (between - within, between),
        "2,k": (between - error, between + (reviewers - error) / n),
        "3,k": (between - error, between),
    }
    if between < _ZERO:
        return dict.fromkeys(ratios)
    return {name: above / below if below > _ZERO else None for name, (above, below) in ratios.items()}


def bootstrap_icc(ratings_ER: np.ndarray, seed: int = 0) -> dict[str, tuple[float, float] | None]:
    """95 % percentile intervals of `score_icc` over resampled epochs; None where most resamples give no figure."""
    rng = np.random.default_rng(seed)
    num_epochs = len(ratings_ER)
    resampled = [score_icc(ratings_ER[rng.integers(num_epochs, size=num_epochs)]) for _ in range(_NUM_RESAMPLES)]
    intervals: dict[str, tuple[float, float] | None] = {}
    for name in resampled[0]:
        values = [value for scores in resampled if (value := scores[name]) is not None]
        intervals[name] = None
        if len(values) > _NUM_RESAMPLES / 2:
            low, high = np.percentile(values, [2.5, 97.5])
            intervals[name] = (float(low), float(high))
    return intervals
