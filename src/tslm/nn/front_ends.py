"""Front ends: from a series to patch embeddings.

A series may come in several views, each normalised in its own way (tslm.signals.normalize); a patch embeds all of them.

Shape letters: S series, V views, L signal samples, N patches, D model width, F frequency bands.
"""

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from tslm.config.schema import EncoderConfig

_LOG_FLOOR = 1e-4  # in units of the mean power of white noise of unit variance


class FrontEnd(Protocol):
    """A row of the table FRONT_ENDS. The length of its series is a multiple of the patch size.

    A series of one view may be (S, L) or (S, 1, L).
    """

    target_width: int

    def __call__(self, series_SVL: Tensor, real_patches_S: Tensor | None = None) -> Tensor:
        """Patch embeddings, (S, V, L) -> (S, N, D); `real_patches_S`: number of real patches (None: all)."""

    def targets(self, series_SVL: Tensor) -> Tensor:
        """Reconstruction targets of a masked encoder, (S, V, L) -> (S, N, target_width)."""


class ConvFrontEnd(nn.Module):
    """The guide's patch embedding: one strided convolution without bias."""

    def __init__(self, config: EncoderConfig, num_views: int = 1) -> None:
        super().__init__()
        self.patch = nn.Conv1d(num_views, config.d_model, config.patch_size, stride=config.patch_size, bias=False)
        self.patch_size, self.target_width = config.patch_size, num_views * config.patch_size

    def forward(self, series_SVL: Tensor, _real_patches_S: Tensor | None = None) -> Tensor:
        """Embed series whose length is a multiple of the patch size: (S, V, L) -> (S, N, D)."""
        return self.patch(_split_views(series_SVL)).transpose(1, 2)

    def targets(self, series_SVL: Tensor) -> Tensor:
        """The signal of each patch: (S, V, L) -> (S, N, V * patch_size)."""
        return _cut_patches(series_SVL, self.patch_size)


class FilterbankFrontEnd(nn.Module):
    """Log energy in mel-like bands around each patch, beside the raw patch (`raw_patch`).

    Log power transfers from simulated to real recordings, where a plain convolution on the raw signal confuses Wake
    with REM. The raw patch adds polarity and trend. Training may hide some neighbouring patches and bands
    (`mask_patches`, `mask_bands`).
    """

    basis: Tensor
    filters: Tensor

    def __init__(self, config: EncoderConfig, num_views: int = 1) -> None:
        super().__init__()
        self.raw = ConvFrontEnd(config, num_views) if config.raw_patch else None
        self.patch_size, self.window = config.patch_size, config.band_window_samples
        if self.window < self.patch_size or (self.window - self.patch_size) % 2:
            raise ValueError("model.encoder.band_window_samples must exceed patch_size by an even number")
        basis, filters = _fourier_basis(self.window), _band_filters(config)
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("filters", filters, persistent=False)
        self.bands = nn.Linear(num_views * config.num_bands, config.d_model)
        self.target_width = num_views * config.num_bands
        self.mask_patches, self.mask_bands = config.mask_patches, config.mask_bands

    def band_log_energy(self, series_L: Tensor) -> Tensor:
        """Log band energy around each patch: (..., L) -> (..., N, F), roughly centred on zero."""
        margin = (self.window - self.patch_size) // 2
        with torch.autocast(series_L.device.type, enabled=False):
            padded = nn.functional.pad(series_L.float(), (margin, margin))
            frames_NK = padded.unfold(-1, self.window, self.patch_size)
            cosine_NB, sine_NB = (frames_NK @ self.basis).chunk(2, dim=-1)
            energy_NF = (cosine_NB.square() + sine_NB.square()) @ self.filters
            return (torch.log(energy_NF + _LOG_FLOOR) + 2.0) / 3.0

    def targets(self, series_SVL: Tensor) -> Tensor:
        """The log band energies of each patch: (S, V, L) -> (S, N, V * F)."""
        return _join_views(self.band_log_energy(_split_views(series_SVL)))

    def forward(self, series_SVL: Tensor, _real_patches_S: Tensor | None = None) -> Tensor:
        """Embed series whose length is a multiple of the patch size: (S, V, L) -> (S, N, D)."""
        energy_SVNF = self.band_log_energy(_split_views(series_SVL))
        if self.training and (self.mask_patches or self.mask_bands):
            draws_S4 = torch.rand(len(energy_SVNF), 4, device=energy_SVNF.device)
            masked = [
                mask_spectrogram(view_SNF, self.mask_patches, self.mask_bands, draws_S4)
                for view_SNF in energy_SVNF.unbind(1)
            ]
            energy_SVNF = torch.stack(masked, dim=1)
        bands_SND = self.bands(_join_views(energy_SVNF))
        return bands_SND if self.raw is None else self.raw(series_SVL) + bands_SND


class CnnFrontEnd(nn.Module):
    """Strided convolutions over the raw signal, in the manner of DeepSleepNet and TinySleepNet.

    As in these papers (Supratak et al. 2017; Supratak and Guo 2020) the first kernel spans half a second where a patch
    is a second. The strides of the first three layers multiply to the patch size; a fourth layer mixes neighbouring
    patches. LayerNorm takes the place of batch norm, which would let an epoch's result depend on its batch.
    """

    def __init__(self, config: EncoderConfig, num_views: int = 1) -> None:
        super().__init__()
        width = config.d_model
        strides = (*split_stride(config.patch_size, 3), 1)
        reaches = (
            max(config.patch_size // 4, strides[0]),
            *strides[1:3],
            2,
        )  # a stride at least: no sample is left out
        kernels = [2 * reach + 1 for reach in reaches]
        widths = (num_views, max(1, width // 4), max(1, width // 2), width, width)
        self.convs = nn.ModuleList(
            nn.Conv1d(widths[idx], widths[idx + 1], kernels[idx], strides[idx], padding=kernels[idx] // 2)
            for idx in range(4)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(wide) for wide in widths[1:4])
        self.patch_size, self.target_width = config.patch_size, num_views * config.patch_size

    def forward(self, series_SVL: Tensor, real_patches_S: Tensor | None = None) -> Tensor:
        """Embed series whose length is a multiple of the patch size: (S, V, L) -> (S, N, D)."""
        num_patches = series_SVL.shape[-1] // self.patch_size
        places_STD = _split_views(series_SVL).transpose(1, 2)
        for idx, conv in enumerate(self.convs):
            if idx:
                places_STD = self.norms[idx - 1](nn.functional.gelu(places_STD))
                if real_patches_S is not None:  # padding is zero in every layer, whatever the batch
                    num_real_S = real_patches_S * (places_STD.shape[1] // num_patches)
                    place_T = torch.arange(places_STD.shape[1], device=series_SVL.device)
                    places_STD = places_STD * (place_T < num_real_S[:, None])[..., None]
            places_STD = conv(places_STD.transpose(1, 2)).transpose(1, 2)
        return places_STD

    def targets(self, series_SVL: Tensor) -> Tensor:
        """The signal of each patch: (S, V, L) -> (S, N, V * patch_size)."""
        return _cut_patches(series_SVL, self.patch_size)


def split_stride(total: int, num_layers: int) -> list[int]:
    """Strides that multiply to `total`, as even as its prime factors allow, the largest first."""
    strides, factor, left = [1] * num_layers, 2, total
    primes = []
    while left > 1:
        if left % factor:
            factor += 1
        else:
            primes.append(factor)
            left //= factor
    for prime in reversed(primes):
        smallest = strides.index(min(strides))
        strides[smallest] *= prime
    return sorted(strides, reverse=True)


FRONT_ENDS: dict[str, type[nn.Module]] = {"cnn": CnnFrontEnd, "conv": ConvFrontEnd, "filterbank": FilterbankFrontEnd}


def build_front_end(config: EncoderConfig, num_views: int = 1) -> nn.Module:
    """The configured front end for series of this many views; ValueError lists the known ones."""
    if config.front_end not in FRONT_ENDS:
        raise ValueError(f"unknown model.encoder.front_end {config.front_end!r}; one of: {', '.join(FRONT_ENDS)}")
    return FRONT_ENDS[config.front_end](config, num_views)


def _split_views(series: Tensor) -> Tensor:
    """(S, L) or (S, V, L) -> (S, V, L)."""
    return series[:, None] if series.dim() == 2 else series


def _join_views(patches_SVNF: Tensor) -> Tensor:
    """(S, V, N, F) -> (S, N, V * F)."""
    return patches_SVNF.transpose(1, 2).flatten(2)


def _cut_patches(series_SVL: Tensor, patch_size: int) -> Tensor:
    """(S, V, L) -> (S, N, V * patch_size) float32."""
    return _join_views(_split_views(series_SVL).float().unflatten(-1, (-1, patch_size)))


def _fourier_basis(window: int) -> Tensor:
    """Hann-windowed cosines and sines of every DFT bin, scaled so that white noise has power 1."""
    time_K = torch.arange(window, dtype=torch.float64)
    bins_B = torch.arange(window // 2 + 1, dtype=torch.float64)
    taper_K1 = torch.hann_window(window, periodic=True, dtype=torch.float64)[:, None]
    phase_KB = 2 * math.pi * time_K[:, None] * bins_B / window
    basis = torch.cat([taper_K1 * phase_KB.cos(), taper_K1 * phase_KB.sin()], dim=1)
    return (basis / taper_K1.square().sum().sqrt()).float()


def _band_filters(config: EncoderConfig) -> Tensor:
    """Triangular filters of unit area over the DFT bins, (bins, F); the mean is left out."""
    frequency_B = torch.arange(config.band_window_samples // 2 + 1) / config.band_window_samples
    low, high = (math.log1p(edge / config.band_break) for edge in (config.band_low, config.band_high))
    edges = config.band_break * torch.expm1(torch.linspace(low, high, config.num_bands + 2))
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rise = (frequency_B[:, None] - left) / (centre - left)
    fall = (right - frequency_B[:, None]) / (right - centre)
    filters_BF = torch.minimum(rise, fall).clamp(min=0)
    filters_BF[0] = 0
    nearest = (frequency_B[1:, None] - centre).abs().argmin(dim=0) + 1
    empty = filters_BF.sum(dim=0) == 0
    filters_BF[nearest[empty], empty.nonzero().flatten()] = 1  # narrower than a bin: take the nearest
    return filters_BF / filters_BF.sum(dim=0)


def mask_spectrogram(energy_SNF: Tensor, max_patches: int, max_bands: int, draws_S4: Tensor) -> Tensor:
    """Set one stretch of patches and one of bands to zero in each series: SpecAugment without time warping.

    Source: Park et al. 2019.

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
