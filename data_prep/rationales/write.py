"""Rationales written from measured evidence, one an epoch: every claim in them is a measured value.

Style `full` is `rationales_full`, composed anew for each epoch; style `brief` is `rationales_brief`.
In both, everything before the closing depends on the evidence alone, and the closing on the expert's
label too. No text names a stage; `tslm.answers.grammar.render_response` adds it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from data_prep.rationales.brief import write_brief
from data_prep.rationales.full import compose_rationale
from tslm.evidence import words
from tslm.labels import ANSWER_NAMES, SleepStage

STYLES = ("full", "brief")
DEFAULT_STYLE = "full"


def write_rationales(
    evidence: Mapping[str, np.ndarray],
    sleep_stages: Sequence[SleepStage],
    seed: int,
    species: str = "human",
    style: str = DEFAULT_STYLE,
) -> list[str]:
    """One rationale an epoch, empty where the label cannot be an answer (unscored).

    Args:
        evidence: columns of `tslm.evidence.measure.measure_evidence`, one value an epoch; columns of
            `tslm.evidence.muscle.measure_emg` may stand beside them.
        sleep_stages: the expert's label of each epoch.
        seed: choice among wordings; the same seed gives the same text for an epoch's position.
        species: other than "human", nothing is said of spindles, K-complexes, alpha and eye movements,
            whose definitions are those of the human scalp EEG.
        style: one of STYLES.

    Raises:
        ValueError: evidence and labels differ in length, or there is no such style.
    """
    num_epochs = len(evidence["rms_uv"])
    if num_epochs != len(sleep_stages):
        raise ValueError(f"evidence of {num_epochs} epochs but {len(sleep_stages)} labels; pass one label an epoch")
    check_style(style)
    is_human = species == "human"
    texts = []
    for idx, stage in enumerate(sleep_stages):
        if stage not in ANSWER_NAMES:
            texts.append("")
        elif style == "brief":
            rng = np.random.default_rng((seed, idx))
            texts.append(write_brief(words.epoch_facts(evidence, idx), stage, rng, is_human))
        else:
            texts.append(compose_rationale(words.epoch_facts(evidence, idx), stage, f"{seed}/{idx}", is_human).text)
    return texts


def check_style(style: str) -> None:
    """Raise ValueError when there is no such style of rationales."""
    if style not in STYLES:
        raise ValueError(f"rationale={style}: wanted one of: {', '.join(STYLES)}")
