"""report.html: the page of a staged night, epoch by epoch, with texts and marked waveforms."""

from pathlib import Path

from tslm import __version__
from tslm.export.night import NightResult
from tslm.files import write_beside
from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.predictions.rows import CLASSIFIER, PredictionRow, build_night_rows
from tslm.predictions.scorings import parse_scorings
from tslm.report.page import build_page, render_page


def write_page(night: NightResult, path: Path) -> None:
    """Write report.html."""
    page = build_page(
        parse_scorings(build_rows(night)),
        night.scores,
        title=f"The night {night.file.name}",
        facts=_collect_facts(night),
        recording=night.recording,
        lead=_describe_source(night),
    )
    with write_beside(path) as partial:
        partial.write_text(render_page(page), encoding="utf-8")


def _describe_source(night: NightResult) -> str:
    """First sentence of the page: who staged the night, and beside whom."""
    if not night.expert:
        return "Staged by trained models; no expert has checked it."
    return f"Staged by trained models, which did not see the expert's hypnogram {night.expert}; it is shown beside."


def build_rows(night: NightResult) -> list[PredictionRow]:
    """Prediction rows of all systems of a night: the classifier's smoothed answers, its own, the language model."""
    scored = list(
        build_night_rows(
            night.recording,
            night.probabilities_EK,
            night.label_set,
            night.temperature,
            epochs=range(night.recording.num_epochs),
        )
    )
    smoothed: list[PredictionRow] = []
    if night.unsmoothed is not None:
        smoothed = [
            {
                **row,
                "system": f"{CLASSIFIER}+{night.smoothing}",
                "answer": ANSWER_NAMES.get(stage),
                "probabilities": None,
            }
            for row, stage in zip(scored, night.sleep_stages, strict=True)
        ]
    return [*smoothed, *scored, *(night.rows or ())]


def _collect_facts(night: NightResult) -> dict[str, str]:
    """For the foot of the page."""
    facts = {
        "File": night.file.name,
        "Channels": ", ".join(night.channels.values()),
        **{f"Checkpoint, {system.replace('_', ' ')}": folder for system, folder in night.checkpoints.items()},
        "Expert": night.expert,
        "Smoothing": night.smoothing,
        "Notes": "\n".join((*night.warnings, *night.recording.notes)),
        "tslm": __version__,
    }
    unscored = sum(stage is SleepStage.UNSCORED for stage in night.hypnogram.sleep_stages)
    return {name: text for name, text in facts.items() if text} | (
        {"Epochs without signal": str(unscored)} if unscored else {}
    )
