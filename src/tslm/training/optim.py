"""AdamW with one rate a part, and the guide's schedule."""

import torch
from torch.optim.lr_scheduler import LambdaLR

from tslm.config.schema import OptimConfig


def build_optimizer(param_groups: list[dict], optim: OptimConfig) -> torch.optim.AdamW:
    """AdamW (beta 0.9, 0.999; eps 1e-8) over the model's groups; ValueError when nothing is trained."""
    if not param_groups:
        raise ValueError("nothing to train: stage.trained names no part that this model has")
    return torch.optim.AdamW(param_groups, lr=optim.lr_encoder, weight_decay=optim.weight_decay, fused=True)


def build_scheduler(
    optimizer: torch.optim.Optimizer, optim: OptimConfig, num_steps: int, steps_done: int = 0
) -> LambdaLR:
    """Linear warm-up over `warmup_fraction` of the steps, then linear decay; no step has a rate of zero.

    With `steps_done` it stands where a run that was stopped after so many steps had it.
    """
    num_warmup = max(1, round(optim.warmup_fraction * num_steps))

    def share_of_rate(step: int) -> float:
        if step < num_warmup:
            return (step + 1) / num_warmup
        return max(0, num_steps - step) / max(1, num_steps - num_warmup + 1)

    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return LambdaLR(optimizer, share_of_rate, last_epoch=steps_done - 1)
