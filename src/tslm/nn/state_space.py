"""Diagonal state-space layers over a sequence, in both directions (S4D: Gu et al. 2022, arXiv 2206.11893).

Shape letters: B sequences, W places, H channels, N conjugate pairs of a channel's state, 2 directions.
"""

import math

import torch
from torch import Tensor, nn

_SHORTEST_MEMORY = 4.0  # places after which the quickest channels keep 1/e of what they saw


class StateSpaceLayer(nn.Module):
    """Pre-norm residual layer: state space, GELU, and a linear layer with a gate (GLU), as in the paper's model."""

    def __init__(self, width: int, state_size: int, longest_memory: float, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.space = DiagonalStateSpace(width, state_size, longest_memory)
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(width, 2 * width)

    def forward(self, states_BWH: Tensor, mask_BW: Tensor) -> Tensor:
        """(B, W, H) -> (B, W, H); masked places change no state, what comes out there means nothing."""
        inputs_BWH = self.norm(states_BWH).masked_fill(~mask_BW[..., None], 0)
        mixed_BWH = self.dropout(nn.functional.gelu(self.space(inputs_BWH)))
        return states_BWH + self.dropout(nn.functional.glu(self.out_proj(mixed_BWH), dim=-1))


class DiagonalStateSpace(nn.Module):
    """x' = A x + B u, y = C x + D u for each channel, held constant between places (zero-order hold).

    A is diagonal and starts as S4D-Lin, -1/2 + i pi n; B is 1, as only its product with C counts. The state is
    never written out: its answer to one impulse is a kernel, and that is convolved with the sequence by FFT. Each
    direction has a C of its own. Channels start with memories from a few places to `longest_memory`, on an even
    logarithmic scale.
    """

    def __init__(self, width: int, state_size: int, longest_memory: float) -> None:
        super().__init__()
        if state_size < 2 or state_size % 2:
            raise ValueError(f"model.context.state_size={state_size}: wanted an even number of 2 or more")
        num_pairs = state_size // 2
        memory_H = torch.logspace(0, 1, width, max(longest_memory, _SHORTEST_MEMORY) / _SHORTEST_MEMORY)
        self.log_step_H = nn.Parameter(torch.log(2 / (_SHORTEST_MEMORY * memory_H)))  # exp(-step / 2) a place
        self.log_decay_HN = nn.Parameter(torch.full((width, num_pairs), math.log(0.5)))
        self.frequency_HN = nn.Parameter(math.pi * torch.arange(num_pairs).float().repeat(width, 1))
        self.readout_2HNc = nn.Parameter(math.sqrt(0.5) * torch.randn(2, width, num_pairs, 2))  # real, imaginary
        self.skip_H = nn.Parameter(torch.randn(width))

    def forward(self, inputs_BWH: Tensor) -> Tensor:
        """(B, W, H) -> (B, W, H), float32 or float64: each place from all before and all after it."""
        num_places = inputs_BWH.shape[1]
        forth_HW, back_HW = self.kernels(num_places)
        # One circular kernel of twice the length: places before in its first half, those after in its second.
        kernel_HV = nn.functional.pad(forth_HW, (0, num_places))
        kernel_HV = kernel_HV + nn.functional.pad(back_HW, (0, num_places)).flip(-1).roll(1, dims=-1)
        inputs_BHW = inputs_BWH.transpose(1, 2)
        spectrum_BHF = torch.fft.rfft(inputs_BHW, 2 * num_places) * torch.fft.rfft(kernel_HV)
        mixed_BHW = torch.fft.irfft(spectrum_BHF, 2 * num_places)[..., :num_places]
        return mixed_BHW.transpose(1, 2) + self.skip_H * inputs_BWH

    def kernels(self, num_places: int) -> Tensor:
        """(2, H, W) answer to an impulse 0, 1, ... places ago, and to one as far ahead (the paper's equation 6)."""
        rate_HN = torch.complex(-self.log_decay_HN.exp(), self.frequency_HN)  # A; its conjugates are left out
        exponent_HN = self.log_step_H.exp()[:, None] * rate_HN
        gain_HN = torch.expm1(exponent_HN) / rate_HN  # what one input adds to the state
        place_W = torch.arange(num_places, device=rate_HN.device)
        left_HNW = torch.exp(exponent_HN[..., None] * place_W)  # of it after so many places
        readout_2HN = torch.view_as_complex(self.readout_2HNc)
        return 2 * torch.einsum("dhn,hnw->dhw", readout_2HN * gain_HN, left_HNW).real
