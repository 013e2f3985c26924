"""How far a training has come."""

from dataclasses import dataclass, field


@dataclass
class Progress:
    """How far a run has come: with weights and optimizer state all that is needed to go on. JSON values only."""

    train_epoch: int = 1  # the pass in progress, counted from one
    num_batches: int = 0  # of that pass that are done, on each process
    step: int = 0
    num_samples: int = 0
    num_processes: int = 1  # that share a batch
    best_val_loss: float | None = None
    best_train_epoch: int = 0
    stale: int = 0  # passes since the last improvement
    class_counts: dict[str, int] = field(default_factory=dict)  # taught so far in the pass, all processes
    wall_s: float = 0.0
    is_finished: bool = False
    stopped_early: bool = False
