"""Transition probabilities of sleep stages, fitted on training hypnograms, saved with a checkpoint, used to smooth.

A row of the matrix is the posterior mean under a Dirichlet prior: with n[i, j] counted steps from stage i to j,
p[i, j] = (n[i, j] + pseudocount + self_loop * (i == j)) / sum over j of the same (Gelman et al., Bayesian Data
Analysis, 3rd ed., section 3.4). Steps that do not occur in a species are then multiplied by a factor below 1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tslm.config.schema import SAMPLINGS, RunConfig
from tslm.data.prepared.recordings import PARTICIPANTS_FILE, Recording
from tslm.data.samples.night_windows import load_recordings
from tslm.files import parse_json, write_json
from tslm.hypnogram import Hypnogram, split_at_gaps
from tslm.labels import LABEL_SETS, LabelSet, SleepStage, species_group

TRANSITIONS_FILE = "transitions.json"
_TOLERANCE = 1e-6
_LEAST_PRIOR = 0.02  # scorers overestimate rare stages, by smoothed labels and small errors: divide by no less

# Steps between neighbouring epochs that are rare in healthy sleep. Rodents enter REM from NREM. People: each step
# occurs after at most 6 in 10,000 epochs of its first stage in 37 hypnograms of Sleep-EDF (without SC400); wake to REM
# is not rarer there, but brief awakenings from REM end in it, so it is left out.
_W, _N1, _N3, _R = SleepStage.WAKE, SleepStage.N1, SleepStage.N3, SleepStage.REM
IMPOSSIBLE_STEPS: dict[str, tuple[tuple[SleepStage, SleepStage], ...]] = {
    "rodent": ((_W, _R),),
    "human": ((_W, _N3), (_N1, _N3), (_R, _N3), (_N3, _R)),
}


@dataclass(frozen=True)
class Transitions:
    """A Markov chain over the sleep stages of a label set.

    Raises:
        ValueError: arrays of another size than the sleep stages, values that are no probabilities, or a sleep stage
            that cannot follow itself.
    """

    sleep_stages: tuple[SleepStage, ...]
    epoch_s: float
    share_K: np.ndarray  # of each sleep stage in the hypnograms; initial probabilities of a stretch
    transition_KK: np.ndarray  # from the sleep stage of the row to that of the column, in one epoch
    prior_K: np.ndarray  # frequency of each sleep stage for the scorer, which divides its probabilities
    num_hypnograms: int = 0  # stretches without gaps that were counted
    num_epochs: int = 0

    def __post_init__(self) -> None:
        num_stages = len(self.sleep_stages)
        for name, size in (
            ("share_K", (num_stages,)),
            ("prior_K", (num_stages,)),
            ("transition_KK", (num_stages, num_stages)),
        ):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, values)
            if values.shape != size or not np.isfinite(values).all() or (values < 0).any():
                raise ValueError(f"transitions: {name} must be {size} numbers of 0 or more, for {num_stages} stages")
            if np.abs(values.sum(axis=-1) - 1).max() > _TOLERANCE:
                raise ValueError(f"transitions: {name} does not sum to 1")
        for name, values in (("share_K", self.share_K), ("prior_K", self.prior_K)):
            if not (values > 0).all():
                raise ValueError(f"transitions: {name} holds a 0; give every stage a small share")
        if not (np.diagonal(self.transition_KK) > 0).all():
            raise ValueError("transitions: a stage cannot follow itself; give the diagonal positive values")
        if not 0 < self.epoch_s < 3600:
            raise ValueError(f"transitions: epoch_s is {self.epoch_s}; give seconds, more than 0 and less than an hour")
        if min(self.num_hypnograms, self.num_epochs) < 0:
            raise ValueError("transitions: num_hypnograms and num_epochs count; give whole numbers of 0 or more")


def fit_transitions(
    hypnograms: Iterable[Hypnogram],
    label_set: LabelSet,
    species: str,
    *,
    pseudocount: float = 1.0,
    self_loop: float = 1.0,
    impossible_factor: float = 0.01,
    prior_power: float = 1.0,
) -> Transitions:
    """Transitions of training hypnograms.

    Args:
        hypnograms: stretches of consecutive epochs (`list_hypnograms`); epochs of other stages, such as unscored ones,
            are not counted and end a stretch.
        label_set: the sleep stages of the scorer.
        species: of the sleepers; its `IMPOSSIBLE_STEPS` apply.
        pseudocount: of every transition, and of the share of every sleep stage.
        self_loop: further pseudocount of staying in a sleep stage.
        impossible_factor: factor on the probability of impossible steps; 0 forbids them.
        prior_power: power of the shares that gives the scorer's prior: 1, less p where the loss weighs classes by
            frequency^-p (the scorer learns the posterior under a prior of share times weight), and less p where
            samples are drawn by frequency^-p.

    Raises:
        ValueError: no scored epoch, hypnograms of several epoch lengths, or a factor or count below 0.
    """
    if min(pseudocount, self_loop, impossible_factor) < 0 or pseudocount + self_loop == 0:
        raise ValueError("pseudocount, self_loop and impossible_factor must be 0 or more, one of the first two above 0")
    num_stages = len(label_set.sleep_stages)
    count_KK, count_K = np.zeros((num_stages, num_stages)), np.zeros(num_stages)
    lengths_s: set[float] = set()
    num_hypnograms = 0
    for hypnogram in hypnograms:
        count_K += [hypnogram.sleep_stages.count(stage) for stage in label_set.sleep_stages]
        count_KK += count_steps(hypnogram, label_set.sleep_stages)
        lengths_s.add(hypnogram.epoch_s)
        num_hypnograms += 1
    if not count_K.any():
        raise ValueError(f"no epoch of {num_hypnograms} hypnograms is scored as a sleep stage of {label_set.name}")
    if len(lengths_s) > 1:
        raise ValueError(f"hypnograms with epochs of {sorted(lengths_s)} s; give those of one length")
    transition_KK = count_KK + pseudocount + self_loop * np.eye(num_stages)
    transition_KK /= transition_KK.sum(axis=1, keepdims=True)
    for before, after in IMPOSSIBLE_STEPS[species_group(species)]:
        if before in label_set.sleep_stages and after in label_set.sleep_stages:
            transition_KK[label_set.index(before), label_set.index(after)] *= impossible_factor
    share_K = count_K + max(pseudocount, _TOLERANCE)
    prior_K = np.where(count_K > 0, np.maximum(count_K, 1.0) ** prior_power, 0.0)
    prior_K = np.maximum(prior_K / prior_K.sum(), _LEAST_PRIOR)
    prior_K[count_K == 0] = 1.0  # division by the prior must not favour stages that never occur
    return Transitions(
        sleep_stages=label_set.sleep_stages,
        epoch_s=lengths_s.pop(),
        share_K=share_K / share_K.sum(),
        transition_KK=transition_KK / transition_KK.sum(axis=1, keepdims=True),
        prior_K=prior_K / prior_K.sum(),
        num_hypnograms=num_hypnograms,
        num_epochs=int(count_K.sum()),
    )


def count_steps(hypnogram: Hypnogram, sleep_stages: Sequence[SleepStage]) -> np.ndarray:
    """(K, K) counts of steps from the sleep stage of the row to that of the column; other stages end a stretch."""
    idx_of = {sleep_stage: idx for idx, sleep_stage in enumerate(sleep_stages)}
    idx_B = np.array([idx_of.get(bout.sleep_stage, -1) for bout in hypnogram.bouts], dtype=np.int64)
    idx_E = np.repeat(idx_B, [bout.num_epochs for bout in hypnogram.bouts])
    is_step = (idx_E[:-1] >= 0) & (idx_E[1:] >= 0)
    num_stages = len(sleep_stages)
    flat = idx_E[:-1][is_step] * num_stages + idx_E[1:][is_step]
    return np.bincount(flat, minlength=num_stages**2).reshape(num_stages, num_stages)


def list_hypnograms(recording: Recording) -> list[Hypnogram]:
    """The stretches of a recording between its gaps."""
    return [
        Hypnogram(recording.sleep_stages[run], recording.epoch_s)
        for run in split_at_gaps(recording.onset_s, recording.epoch_s)
    ]


def fit_run_transitions(config: RunConfig, prior_K: np.ndarray | None = None) -> Transitions:
    """Transitions of the nights that a run trains on.

    Args:
        config: of the run.
        prior_K: mean probabilities of the scorer (`average_probabilities`); None: the prior that loss and sampling
            imply, without `stage.oversample`; the loss weights do not apply to a language model's answers.
    """
    weight_power = 0.0 if config.writes_text else config.loss.class_weight_power
    prior_power = 1.0 - weight_power - SAMPLINGS[config.stage.sampling]
    label_set = LABEL_SETS[config.model.label_set]
    chain = fit_cohort_transitions(config.stage.data_dir("train"), label_set, config.stage.fold, prior_power)
    if prior_K is None:
        return chain
    prior_K = np.maximum(prior_K, _LEAST_PRIOR)
    return replace(chain, prior_K=prior_K / prior_K.sum())


def fit_cohort_transitions(
    cohort_dir: Path, label_set: LabelSet, fold: int = -1, prior_power: float = 1.0
) -> Transitions:
    """Transitions of a prepared cohort's training recordings (`fit_transitions` with its other defaults).

    Raises:
        FileNotFoundError: there is no such cohort.
        ValueError: no such fold, no training recordings, or those of several species.
    """
    recordings = load_recordings(cohort_dir, "train", (), fold)
    groups = {species_group(recording.species) for recording in recordings}
    if len(groups) != 1:
        raise ValueError(
            f"{cohort_dir} has training recordings of {' and '.join(sorted(groups)) or 'nobody'}; give one species"
        )
    hypnograms = [hypnogram for recording in recordings for hypnogram in list_hypnograms(recording)]
    return fit_transitions(hypnograms, label_set, groups.pop(), prior_power=prior_power)


def save_transitions(transitions: Transitions, path: Path) -> None:
    """Write them as JSON that can be read and written by hand; `path` is a file, or a checkpoint's folder."""
    plain = {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(transitions).items()
    }
    write_json(plain, _find_file(path))


def load_transitions(path: Path) -> Transitions:
    """Read them back from a file or a checkpoint's folder.

    Raises:
        FileNotFoundError: there are none; the message says how to get some.
        ValueError: the file is damaged.
    """
    path = _find_file(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there are no transitions at {path}; checkpoints have them since training writes {TRANSITIONS_FILE}: "
            "train the checkpoint again, or name another file, checkpoint or prepared cohort"
        )
    loaded = parse_json(path.read_bytes(), str(path))
    try:
        stages = tuple(SleepStage(code) for code in loaded.pop("sleep_stages"))
        return Transitions(sleep_stages=stages, **loaded)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def find_transitions(path: Path, label_set: LabelSet, fold: int = -1) -> Transitions:
    """Transitions of a file, a checkpoint's folder, or the training recordings of a prepared cohort."""
    if (path / PARTICIPANTS_FILE).is_file():
        return fit_cohort_transitions(path, label_set, fold)
    return load_transitions(path)


def _find_file(path: Path) -> Path:
    return path / TRANSITIONS_FILE if path.is_dir() or not path.suffix else path
