"""Trained parts of a model, AdamW with one learning rate per part, and the learning-rate schedule."""

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from tslm.config.schema import OptimConfig, RunConfig
from tslm.models.llm.backbone import attach_lora, has_lora


def set_trained_parts(model: nn.Module, config: RunConfig) -> None:
    """Freeze all parts but those in `stage.trained`; attach LoRA adapters if they are trained and missing."""
    known = ("encoder", "projector", "context", "classifier", "lora")
    unknown = [part for part in config.stage.trained if part not in known]
    if unknown:
        raise ValueError(f"unknown part {unknown[0]!r} in stage.trained; choose from: {', '.join(known)}")
    trained = set(config.stage.trained)
    llm: Any = getattr(model, "llm", None)
    if llm is not None:
        if "lora" in trained and not has_lora(llm):
            llm = model.llm = attach_lora(llm, config.model.lora)
        for name, param in llm.named_parameters():
            param.requires_grad_("lora" in trained and "lora_" in name)
    classifier: Any = model.classifier if config.writes_text else model
    reader: Any = classifier.reader
    if config.model.kind.series_as == "digits":
        trained -= {"encoder", "classifier", "context"}  # unused by a text-only model
    classifier.requires_grad_(("classifier" if config.has_classifier else "encoder") in trained)
    reader.requires_grad_("encoder" in trained)
    if getattr(reader, "context", None) is not None:
        reader.context.requires_grad_("context" in trained)
    if config.writes_text:
        model.fusion.requires_grad_("projector" in trained)
        classifier.head.requires_grad_(False)  # a language model reads the night context, not the sleep stages
        classifier.epoch_head.requires_grad_(False)
        if config.model.context.kind == "none":
            reader.pools.requires_grad_(False)


def build_optimizer(param_groups: list[dict], optim: OptimConfig) -> torch.optim.AdamW:
    """Build AdamW (betas 0.9 and 0.999, eps 1e-8) over the model's groups; ValueError if there are none."""
    if not param_groups:
        raise ValueError("nothing to train: stage.trained names no part that this model has")
    return torch.optim.AdamW(param_groups, lr=optim.lr_encoder, weight_decay=optim.weight_decay, fused=True)


def build_scheduler(
    optimizer: torch.optim.Optimizer, optim: OptimConfig, num_steps: int, steps_done: int = 0
) -> LambdaLR:
    """Build a linear warm-up over `warmup_fraction` of the steps, then linear decay; no step has a rate of zero.

    A resumed run passes the number of its finished steps as `steps_done`.
    """
    num_warmup = max(1, round(optim.warmup_fraction * num_steps))

    def share_of_rate(step: int) -> float:
        if step < num_warmup:
            return (step + 1) / num_warmup
        return max(0, num_steps - step) / max(1, num_steps - num_warmup + 1)

    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return LambdaLR(optimizer, share_of_rate, last_epoch=steps_done - 1)
