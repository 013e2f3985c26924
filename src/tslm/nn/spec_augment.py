"""SpecAugment: parts of a spectrogram hidden while training (Park et al. 2019, without time warping).

Shape letters: S series, N patches (time), F frequency bands.
"""

import torch
from torch import Tensor


def mask_spectrogram(energy_SNF: Tensor, max_patches: int, max_bands: int, draws_S4: Tensor) -> Tensor:
    """Set one stretch of patches and one of bands to zero in each series.

    Args:
        energy_SNF: (S, N, F) log energies about zero.
        max_patches: widest stretch of patches; each series draws from none to this many.
        max_bands: the same for bands.
        draws_S4: (S, 4) uniform in [0, 1): width and place among patches, width and place among bands.
    """
    kept_SN = _outside_stretch(energy_SNF.shape[1], max_patches, draws_S4[:, :2])
    kept_SF = _outside_stretch(energy_SNF.shape[2], max_bands, draws_S4[:, 2:])
    return energy_SNF * (kept_SN[:, :, None] & kept_SF[:, None, :])


def _outside_stretch(num: int, max_width: int, draws_S2: Tensor) -> Tensor:
    """(S, num) bool, False in a stretch of 0 to `max_width` places that lies anywhere among `num`."""
    width_S1 = (draws_S2[:, :1] * (min(max_width, num) + 1)).floor()
    start_S1 = (draws_S2[:, 1:] * (num - width_S1 + 1)).floor()
    place_N = torch.arange(num, device=draws_S2.device)
    return (place_N < start_S1) | (place_N >= start_S1 + width_S1)
