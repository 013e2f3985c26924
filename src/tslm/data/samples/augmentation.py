"""Augmented training windows: which changes the config asks for, with numbers drawn from torch's generator."""

from dataclasses import replace

import numpy as np
import torch

from tslm.batch import NightWindow
from tslm.config.schema import AugmentConfig
from tslm.signals.augment import NUM_DRAWS, add_noise, cut_notch, drop_electrode, jitter_spectrum, shift_time


def augment_window(window: NightWindow, fs_hz: float, config: AugmentConfig) -> NightWindow:
    """The window with its signals changed, each channel by draws of its own; all are shifted in time alike.

    What is switched off draws no number, rows outside the night stay zero.
    """
    shift = float(torch.rand(())) if config.max_shift_s else 0.0
    channels = [_augment(values_WL, fs_hz, config, shift) for values_WL in np.moveaxis(window.values_WCL, 1, 0)]
    inside_W = window.epoch_mask_W[:, None, None]
    return replace(window, values_WCL=np.where(inside_W, np.stack(channels, axis=1), np.float32(0)))


def _augment(values_WL: np.ndarray, fs_hz: float, config: AugmentConfig, shift: float) -> np.ndarray:
    if config.gain_jitter or config.band_jitter:
        values_WL = jitter_spectrum(values_WL, config.gain_jitter, config.band_jitter, torch.randn(NUM_DRAWS).numpy())
    if config.max_shift_s:
        values_WL = shift_time(values_WL, round(config.max_shift_s * fs_hz), shift)
    if config.max_notch_hz:
        values_WL = cut_notch(values_WL, config.max_notch_hz / fs_hz, torch.rand(2).numpy())
    if config.max_noise:
        normal_WL = torch.randn(values_WL.shape).numpy()
        values_WL = add_noise(values_WL, config.max_noise, float(torch.rand(())), normal_WL)
    if config.electrode_loss:
        values_WL = drop_electrode(values_WL, config.electrode_loss, torch.rand(3).numpy())
    return values_WL
