"""Where the night is in a recording of a whole day, from one EEG channel alone.

By day muscles are at work, and what they add at 30 to 45 Hz does not go away for long until a person lies
down to sleep. On 18 recordings of 10 to 24 h of Sleep-EDF this alone told the hours from first to last
sleep from the rest of the day (docs/log.md).
"""

import numpy as np
import scipy.ndimage

from tslm.signals.spectrum import FEATURE_BANDS_HZ, measure_psd, sum_band

LONGEST_NIGHT_S = 12 * 3600.0  # a shorter recording is taken for a night as a whole
MARGIN_S = 1800.0  # kept before and after, as of the nights in training
_MUSCLE_HZ = FEATURE_BANDS_HZ["human"]["gamma"]
_SMOOTHED_S = 930.0  # a median over a quarter of an hour, so that a visit to the bathroom ends no night
_QUIET_AND_BUSY = (5, 95)  # percentiles; half-way between them lies the border


def find_night(epochs_EL: np.ndarray, fs_hz: float, epoch_s: float) -> range:
    """Epochs of the one stretch that is quietest on the whole, and `MARGIN_S` before and after it.

    The stretch is the run of epochs whose muscle activity, in log power below a border half-way between quiet and
    busy epochs, adds up to the most. All epochs are given back where the recording is no longer than a night, where
    the rate is too low to see muscles (under 90 Hz), or where nothing changes.

    Args:
        epochs_EL: (num_epochs, samples), finite.
        fs_hz: sampling rate.
        epoch_s: length of an epoch.
    """
    everything = range(len(epochs_EL))
    if len(epochs_EL) * epoch_s <= LONGEST_NIGHT_S or fs_hz < 2 * _MUSCLE_HZ[1]:
        return everything
    freqs_hz, psd_EF = measure_psd(epochs_EL, fs_hz)
    muscle_E = np.log(np.maximum(sum_band(psd_EF, freqs_hz, *_MUSCLE_HZ), 1e-12))
    smoothed_E = scipy.ndimage.median_filter(muscle_E, size=round(_SMOOTHED_S / epoch_s), mode="nearest")
    quiet_E = np.mean(np.percentile(smoothed_E, _QUIET_AND_BUSY)) - smoothed_E
    total = np.concatenate([[0.0], np.cumsum(quiet_E)])
    stop = int(np.argmax(total - np.minimum.accumulate(total)))
    start = int(np.argmin(total[: stop + 1]))
    if start == stop:
        return everything
    margin = round(MARGIN_S / epoch_s)
    return range(max(0, start - margin), min(len(epochs_EL), stop + margin))
