"""Intraclass correlations: how far ratings of several reviewers tell epochs apart.

The ratios of mean squares of Shrout & Fleiss 1979, "Intraclass correlations: uses in assessing rater reliability", for
a table in which every reviewer rated every epoch. Shape letters: E epochs, R reviewers.
"""

import numpy as np

_NOTHING = 1e-12  # a variance that is one by rounding alone
_NUM_RESAMPLES = 1000


def score_icc(ratings_ER: np.ndarray) -> dict[str, float | None]:
    """Intraclass correlations of Shrout & Fleiss, by their names.

    Args:
        ratings_ER: (epochs, reviewers) float, complete; two of each at least.

    Returns:
        "1,1", "2,1", "3,1" of a single reviewer, "1,k", "2,k", "3,k" of the mean of the k reviewers. 1: each epoch
        has other reviewers; 2: reviewers are a sample, and one who is milder counts as disagreement; 3: only these
        reviewers matter, and their level does not. None where the ratings do not vary between epochs, or where the
        estimated variance of the ratings is not positive.

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
    wanted = {
        "1,1": (between - within, between + (k - 1) * within),
        "2,1": (between - error, between + (k - 1) * error + k * (reviewers - error) / n),
        "3,1": (between - error, between + (k - 1) * error),
        "1,k": (between - within, between),
        "2,k": (between - error, between + (reviewers - error) / n),
        "3,k": (between - error, between),
    }
    if between < _NOTHING:
        return dict.fromkeys(wanted)
    return {name: above / below if below > _NOTHING else None for name, (above, below) in wanted.items()}


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
