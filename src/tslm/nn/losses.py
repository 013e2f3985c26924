"""Classification loss: cross-entropy with class weights, soft targets, label smoothing and the focal factor.

Shape letters: N samples, K classes.
"""

import torch
from torch import Tensor

from tslm.config.schema import LossConfig


def measure_class_loss(logits_NK: Tensor, target_NK: Tensor, class_weight_K: Tensor, loss: LossConfig) -> Tensor:
    """Loss of each sample, (N,), in the precision of the logits.

    It is the sum over the classes of -w t (1 - p)^gamma ln p: the focal loss of Lin et al. (2017, equation 5) for
    targets t that may be spread over classes, and with gamma 0 the weighted cross-entropy of torch.

    Args:
        logits_NK: finite numbers, whose softmax is p.
        target_NK: target distribution of each sample, rows that sum to 1; `loss.label_smoothing` mixes it with the
            uniform distribution (Szegedy et al. 2016, section 7).
        class_weight_K: w, at least 0.
        loss: gamma and the smoothing.
    """
    log_p_NK = logits_NK.log_softmax(-1)
    target_NK = target_NK * (1 - loss.label_smoothing) + loss.label_smoothing / target_NK.shape[-1]
    terms_NK = -class_weight_K * target_NK * log_p_NK
    if loss.focal_gamma:
        # 1 - p from ln p keeps its digits near p = 1; it stays off zero, where a gamma below 1 has no gradient.
        others_NK = -torch.expm1(log_p_NK)
        terms_NK = terms_NK * others_NK.clamp_min(torch.finfo(others_NK.dtype).eps) ** loss.focal_gamma
    return terms_NK.sum(-1)
