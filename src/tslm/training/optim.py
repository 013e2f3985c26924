"""AdamW with one rate a part, and the guide's schedule."""

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_linear_schedule_with_warmup

from tslm.config import OptimConfig


def build_optimizer(param_groups: list[dict], optim: OptimConfig) -> torch.optim.AdamW:
    """AdamW (beta 0.9, 0.999; eps 1e-8) over the model's groups; ValueError when nothing is trained."""
    if not param_groups:
        raise ValueError("nothing to train: stage.trained names no part that this model has")
    return torch.optim.AdamW(param_groups, lr=optim.lr_encoder, weight_decay=optim.weight_decay, fused=True)


def build_scheduler(optimizer: torch.optim.Optimizer, optim: OptimConfig, num_steps: int) -> LambdaLR:
    """Linear warm-up over `warmup_fraction` of the steps, then linear decay to zero."""
    return get_linear_schedule_with_warmup(optimizer, max(1, round(optim.warmup_fraction * num_steps)), num_steps)
