"""Layers that mix a sequence's places: local attention, local convolution and a diagonal state space.

Every layer is pre-norm and residual, maps (B, W, H) to (B, W, H), and reads no masked place. Its memory is linear in
the sequence's length (the state space: but for a logarithm).

Shape letters: B sequences, W places, H width, A heads, K places in reach of one (the place itself in the middle),
N conjugate pairs of a channel's state, 2 directions.
"""

import math

import torch
from torch import Tensor, nn

_FF_FACTOR = 4  # width of the feed-forward part over that of the layer, as in Vaswani et al. (2017)
_SHORTEST_MEMORY = 4.0  # places after which the quickest channels keep 1/e of what they saw


class LocalAttentionLayer(nn.Module):
    """Pre-norm Transformer layer whose attention knows places by their distance alone.

    The bias of each head starts as a slope over distance (ALiBi, Press et al. 2022) and is learned for
    every distance, before and after apart.
    """

    def __init__(self, width: int, num_heads: int, reach: int, dropout: float) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(
                f"a context of width {width} cannot be shared by {num_heads} heads; change model.context.num_heads or "
                "hidden_size (half the width)"
            )
        self.num_heads, self.reach = num_heads, reach
        self.attention_norm, self.ff_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.in_proj, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias_AK = nn.Parameter(_slopes(num_heads)[:, None] * -torch.arange(-reach, reach + 1).abs())
        self.ff = nn.Sequential(
            nn.Linear(width, _FF_FACTOR * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(_FF_FACTOR * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, states_BWH: Tensor, mask_BW: Tensor | None = None) -> Tensor:
        """(B, W, H) -> (B, W, H); masked places are not looked at, what comes out there means nothing."""
        attended_BWH = self._attend(self.attention_norm(states_BWH), mask_BW)
        states_BWH = states_BWH + self.dropout(self.out_proj(attended_BWH))
        return states_BWH + self.dropout(self.ff(self.ff_norm(states_BWH)))

    def _attend(self, inputs_BWH: Tensor, mask_BW: Tensor | None) -> Tensor:
        query_BWH, key_BWH, value_BWH = self.in_proj(inputs_BWH).chunk(3, dim=-1)
        query = query_BWH.unflatten(-1, (self.num_heads, -1))[:, :, :, None].flatten(0, 1)  # (BW, A, 1, H/A)
        key, value = (
            self._neighbours(key_BWH).flatten(0, 1),
            self._neighbours(value_BWH).flatten(0, 1),
        )  # (BW, A, K, H/A)
        if mask_BW is None:
            mask_BW = torch.ones(inputs_BWH.shape[:2], dtype=torch.bool, device=inputs_BWH.device)
        seen_BWK = nn.functional.pad(mask_BW, (self.reach, self.reach)).unfold(1, 2 * self.reach + 1, 1).clone()
        seen_BWK[..., self.reach] = True  # a masked place sees itself, for a softmax over nothing is not a number
        bias = self.bias_AK[:, None].masked_fill(~seen_BWK.flatten(0, 1)[:, None, None], -torch.inf)
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return attended.flatten(1).unflatten(0, inputs_BWH.shape[:2])

    def _neighbours(self, values_BWH: Tensor) -> Tensor:
        padded = nn.functional.pad(values_BWH, (0, 0, self.reach, self.reach))
        in_reach_BWHK = padded.unfold(1, 2 * self.reach + 1, 1)
        return in_reach_BWHK.unflatten(2, (self.num_heads, -1)).transpose(-1, -2)


def _fill_masked(inputs_BWH: Tensor, mask_BW: Tensor | None) -> Tensor:
    """Zeros at masked places; without a mask all places are real."""
    return inputs_BWH if mask_BW is None else inputs_BWH.masked_fill(~mask_BW[..., None], 0)


def _slopes(num_heads: int) -> Tensor:
    """ALiBi's slopes: a geometric series down to 1/256."""
    return 2.0 ** (-8.0 * torch.arange(1, num_heads + 1) / num_heads)


class LocalConvLayer(nn.Module):
    """Pre-norm residual layer: one convolution over neighbouring places, if causal over those before, and GELU."""

    def __init__(self, width: int, reach: int, dropout: float, causal: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 2 * reach + 1)
        self.margins = (2 * reach, 0) if causal else (reach, reach)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states_BWH: Tensor, mask_BW: Tensor | None = None) -> Tensor:
        """(B, W, H) -> (B, W, H); masked places count as zeros, what comes out there means nothing."""
        inputs_BWH = _fill_masked(self.norm(states_BWH), mask_BW)
        mixed_BWH = self.conv(nn.functional.pad(inputs_BWH.transpose(1, 2), self.margins)).transpose(1, 2)
        return states_BWH + self.dropout(nn.functional.gelu(mixed_BWH))

    def step(self, state_BH: Tensor, before_BHK: Tensor | None) -> tuple[Tensor, Tensor]:
        """One more place (B, H), and the inputs before it -> what `forward` gives there, and the inputs to keep."""
        if before_BHK is None:
            before_BHK = state_BH.new_zeros(*state_BH.shape, self.margins[0])
        inputs_BHK = torch.cat([before_BHK, self.norm(state_BH)[..., None]], dim=-1)
        return state_BH + nn.functional.gelu(self.conv(inputs_BHK)[..., 0]), inputs_BHK[..., 1:]


class StateSpaceLayer(nn.Module):
    """Pre-norm residual layer: state space, GELU, and a linear layer with a gate (GLU), as in the paper's model."""

    def __init__(
        self, width: int, state_size: int, longest_memory: float, dropout: float, causal: bool = False
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.space = DiagonalStateSpace(width, state_size, longest_memory, causal)
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(width, 2 * width)

    def forward(self, states_BWH: Tensor, mask_BW: Tensor | None = None) -> Tensor:
        """(B, W, H) -> (B, W, H); masked places change no state, what comes out there means nothing."""
        inputs_BWH = _fill_masked(self.norm(states_BWH), mask_BW)
        mixed_BWH = self.dropout(nn.functional.gelu(self.space(inputs_BWH)))
        return states_BWH + self.dropout(nn.functional.glu(self.out_proj(mixed_BWH), dim=-1))

    def step(self, state_BH: Tensor, before_2BHN: Tensor | None) -> tuple[Tensor, Tensor]:
        """One more place (B, H), and the space's state -> what `forward` gives there, and the state after it."""
        mixed_BH, after_2BHN = self.space.step(self.norm(state_BH), before_2BHN)
        return state_BH + nn.functional.glu(self.out_proj(nn.functional.gelu(mixed_BH)), dim=-1), after_2BHN


class DiagonalStateSpace(nn.Module):
    """x' = A x + B u, y = C x + D u for each channel, held constant between places (zero-order hold).

    A is diagonal and starts as S4D-Lin, -1/2 + i pi n; B is 1, as only its product with C counts. The state is written
    out by `step` alone: its answer to one impulse is a kernel, and that is convolved with the sequence by FFT. Each
    direction has a C of its own; a causal space has one. Channels start with memories from a few places to
    `longest_memory`, on an even logarithmic scale.
    """

    def __init__(self, width: int, state_size: int, longest_memory: float, causal: bool = False) -> None:
        super().__init__()
        if state_size < 2 or state_size % 2:
            raise ValueError(f"model.context.state_size={state_size}: wanted an even number of 2 or more")
        num_pairs = state_size // 2
        memory_H = torch.logspace(0, 1, width, max(longest_memory, _SHORTEST_MEMORY) / _SHORTEST_MEMORY)
        self.log_step_H = nn.Parameter(torch.log(2 / (_SHORTEST_MEMORY * memory_H)))  # exp(-step / 2) a place
        self.log_decay_HN = nn.Parameter(torch.full((width, num_pairs), math.log(0.5)))
        self.frequency_HN = nn.Parameter(math.pi * torch.arange(num_pairs).float().repeat(width, 1))
        self.readout_2HNc = nn.Parameter(
            math.sqrt(0.5) * torch.randn(1 if causal else 2, width, num_pairs, 2)
        )  # real, imaginary
        self.skip_H = nn.Parameter(torch.randn(width))

    def forward(self, inputs_BWH: Tensor) -> Tensor:
        """(B, W, H) -> (B, W, H), float32 or float64: each place from all before and all after it."""
        num_places = inputs_BWH.shape[1]
        forth_HW, *back = self.kernels(num_places)
        # One circular kernel of twice the length: places before in its first half, those after in its second.
        kernel_HV = nn.functional.pad(forth_HW, (0, num_places))
        for back_HW in back:
            kernel_HV = kernel_HV + nn.functional.pad(back_HW, (0, num_places)).flip(-1).roll(1, dims=-1)
        inputs_BHW = inputs_BWH.transpose(1, 2)
        if (
            torch.compiler.is_exporting()
        ):  # ONNX Runtime's transform of a length that is no power of two rounds coarsely
            inputs_BHW, kernel_HV = inputs_BHW.double(), kernel_HV.double()
        spectrum_BHF = torch.fft.rfft(inputs_BHW, 2 * num_places) * torch.fft.rfft(kernel_HV)
        mixed_BHW = torch.fft.irfft(spectrum_BHF, 2 * num_places)[..., :num_places]
        return mixed_BHW.to(inputs_BWH.dtype).transpose(1, 2) + self.skip_H * inputs_BWH

    def step(self, input_BH: Tensor, before_2BHN: Tensor | None) -> tuple[Tensor, Tensor]:
        """One more place (B, H), and the state, (2, B, H, N) real and imaginary -> output (B, H), state after it."""
        growth_HN, turn_HN, real_1HN, imag_1HN = self._discretize()
        real_BHN, imag_BHN = growth_HN.new_zeros(2, *growth_HN.shape) if before_2BHN is None else before_2BHN
        left_HN, cosine_HN, sine_HN = growth_HN.exp(), turn_HN.cos(), turn_HN.sin()
        after_2BHN = torch.stack(
            [
                left_HN * (cosine_HN * real_BHN - sine_HN * imag_BHN) + input_BH[..., None],
                (left_HN * (sine_HN * real_BHN + cosine_HN * imag_BHN)).expand(*input_BH.shape, -1),
            ]
        )
        output_BH = 2 * (real_1HN[0] * after_2BHN[0] - imag_1HN[0] * after_2BHN[1]).sum(-1)
        return output_BH + self.skip_H * input_BH, after_2BHN

    def kernels(self, num_places: int) -> Tensor:
        """(2, H, W) answer to an impulse 0, 1, ... places ago, and to one as far ahead (the paper's equation 6).

        It is (1, H, W) where the space is causal.
        """
        growth_HN, turn_HN, real_2HN, imag_2HN = self._discretize()
        place_W = torch.arange(num_places, device=growth_HN.device)
        left_HNW = torch.exp(growth_HN[..., None] * place_W)  # of an input after so many places
        phase_HNW = turn_HN[..., None] * place_W
        return 2 * (
            torch.einsum("dhn,hnw->dhw", real_2HN, left_HNW * phase_HNW.cos())
            - torch.einsum("dhn,hnw->dhw", imag_2HN, left_HNW * phase_HNW.sin())
        )

    def _discretize(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log decay and turn of the state a place, (H, N), and what one input adds to the output, (2, H, N) twice.

        The last two are real and imaginary part of C (exp(step A) - 1) / A. All is real arithmetic, as ONNX has no
        complex numbers; the conjugates are left out.
        """
        step_H1, decay_HN = self.log_step_H.exp()[:, None], self.log_decay_HN.exp()
        growth_HN, turn_HN = -step_H1 * decay_HN, step_H1 * self.frequency_HN
        # exp(growth + i turn) - 1, and its quotient by A = -decay + i frequency
        real_HN = torch.expm1(growth_HN) * turn_HN.cos() - 2 * (turn_HN / 2).sin().square()
        imag_HN = growth_HN.exp() * turn_HN.sin()
        size_HN = decay_HN.square() + self.frequency_HN.square()
        gain_real_HN = (-decay_HN * real_HN + self.frequency_HN * imag_HN) / size_HN
        gain_imag_HN = (-decay_HN * imag_HN - self.frequency_HN * real_HN) / size_HN
        real_2HN, imag_2HN = self.readout_2HNc.unbind(-1)
        return (
            growth_HN,
            turn_HN,
            real_2HN * gain_real_HN - imag_2HN * gain_imag_HN,
            real_2HN * gain_imag_HN + imag_2HN * gain_real_HN,
        )
