"""Display of metrics: the name, unit and decimals of every figure, by its key in metrics.json."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tslm.table import Cell


@dataclass(frozen=True)
class Metric:
    """How one metric is shown.

    Attributes:
        name: in tables and sentences.
        unit: of the value.
        decimals: of the value.
        better: whether higher or lower values are better.
        meaning: a few words beside the name where there is room.
        is_share: whether values are 0 to 1 and shown in percent.
    """

    name: str
    unit: str = ""
    decimals: int = 3
    better: Literal["higher", "lower", "none"] = "higher"
    meaning: str = ""
    is_share: bool = False

    @property
    def title(self) -> str:
        """Name and unit, for the head of a row or column."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    @property
    def hint(self) -> str:
        """The meaning, and which way is better where it is not the usual one."""
        return ", ".join(filter(None, (self.meaning, "less is better" if self.better == "lower" else "")))


def _sleep(name: str, unit: str = "min", meaning: str = "", decimals: int = 1) -> Metric:
    return Metric(name, unit, decimals, "none", meaning)


def _share(name: str, better: Literal["higher", "lower"] = "higher") -> Metric:
    return Metric(name, "%", 1, better, is_share=True)


AGREEMENT = ("accuracy", "macro_f1", "cohen_kappa")
PROBABILITIES = ("macro_auroc", "log_loss", "brier", "ece", "answer_perplexity")
DISTANCES = ("edit_distance_epochs", "edit_distance_bouts", "transition_distance")
NIGHT_ERRORS = (  # quantities of a night of which errors are shown
    "total_sleep_min",
    "sleep_efficiency_percent",
    "waso_min",
    "sleep_onset_latency_min",
    "rem_latency_min",
)
NIGHT_STATISTICS = (  # of a night, as reports show them
    "time_in_bed_min",
    "sleep_period_min",
    "total_sleep_min",
    "sleep_efficiency_percent",
    "sleep_onset_latency_min",
    "rem_latency_min",
    "waso_min",
    "num_transitions",
)
METRICS = {
    "accuracy": Metric("accuracy"),
    "macro_f1": Metric("macro-F1"),
    "cohen_kappa": Metric("Cohen's kappa"),
    "per_class_f1": Metric("F1"),
    "per_class_precision": Metric("precision"),
    "per_class_recall": Metric("recall"),
    "per_class_auroc": Metric("AUROC"),
    "per_class_ece": Metric("calibration error", better="lower"),
    "macro_auroc": Metric("AUROC", meaning="mean of classes"),
    "log_loss": Metric("log-loss", better="lower"),
    "brier": Metric("Brier score", better="lower", meaning="0 to 2"),
    "ece": Metric("calibration error", better="lower"),
    "answer_perplexity": Metric("perplexity of the true answer", better="lower"),
    "perplexity": Metric("perplexity", better="lower"),
    "loss": Metric("loss", better="lower"),
    "token_accuracy": Metric("accuracy of tokens"),
    "num_tokens": Metric("supervised tokens", decimals=0, better="none"),
    "tokens_per_sample": Metric("tokens a sample", decimals=1, better="none"),
    "explained_variance": Metric("explained variance"),
    "mean_entropy": Metric("mean entropy", better="none", meaning="0 certain, 1 uniform"),
    "mean_margin": Metric("mean margin", better="none", meaning="1 certain, 0 undecided"),
    "num_samples": Metric("samples", better="none"),
    "num_parse_failures": Metric("unreadable answers", better="lower"),
    "edit_distance_epochs": Metric("edit distance, epochs", better="lower", meaning="edits an epoch"),
    "edit_distance_bouts": Metric("edit distance, bouts", better="lower", meaning="edits a bout, however long"),
    "transition_distance": Metric("transition distance", better="lower", meaning="0 alike to 1"),
    "impossible_transitions": _share("impossible transitions", "lower"),
    "median_bout_min": _sleep("median bout"),
    "time_in_bed_min": _sleep("time in bed (TIB)", meaning="the whole stretch"),
    "sleep_period_min": _sleep("sleep period (SPT)", meaning="first to last epoch of sleep"),
    "total_sleep_min": _sleep("total sleep time (TST)", meaning="all epochs of sleep"),
    "sleep_efficiency_percent": _sleep("sleep efficiency", "%", "TST / TIB"),
    "sleep_onset_latency_min": _sleep("sleep-onset latency", meaning="start to first epoch of sleep"),
    "rem_latency_min": _sleep("REM latency", meaning="sleep onset to first epoch of REM"),
    "waso_min": _sleep("wake after sleep onset (WASO)", meaning="wake inside the sleep period"),
    "num_transitions": _sleep("stage transitions", "", "changes between neighbouring epochs", 0),
    "precision": _share("true claims"),
    "precision_beyond_prompt": _share("true claims beyond the prompt"),
    "coverage": _share("deciding findings named"),
}


def build_cell(key: str, metrics: Mapping[str, Any], label: str | None = None) -> Cell:
    """The cell of a metric, with its interval where `metrics["intervals"]` has one.

    Args:
        key: of the metric.
        metrics: values by key, as in metrics.json.
        label: the class, for a metric by class.
    """
    metric = METRICS[key]
    value, interval = metrics.get(key), metrics.get("intervals", {}).get(key)
    if label is not None:
        value, interval = (value or {}).get(label), (interval or {}).get(label)
    if metric.is_share:
        value, interval = percent(value), interval and [percent(bound) for bound in interval]
    return Cell(value, metric.decimals, metric.unit if metric.unit == "%" else "", interval)


def describe_metrics(metrics: Mapping[str, Any], keys: Iterable[str]) -> str:
    """Those of the metrics that are known, in one line."""
    known = (key for key in keys if metrics.get(key) is not None)
    return ", ".join(f"{METRICS[key].name} {Cell(metrics[key], METRICS[key].decimals).text()}" for key in known)


def percent(share: float | None) -> float | None:
    """A share in percent."""
    return None if share is None else 100 * share
