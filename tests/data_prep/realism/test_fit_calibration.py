import os
from pathlib import Path

import numpy as np
import pytest

from data_prep.realism.fit_calibration import (
    ScoredFeatures,
    build_features,
    fit_calibration,
    main,
    measure_cohort,
    read_band_powers,
)
from data_prep.simulators.human import calibration as simulate_calibration
from data_prep.simulators.human.calibration import load_table
from data_prep.simulators.human.night import CHANNEL, simulate_human_night
from tslm.data.prepared.recordings import Recording, write_participants, write_recording

STAGE_E = np.tile(np.repeat(np.arange(5), 20), 12)


def _night(rng, subject, offset_56):
    """A night of known statistics: stage means + subject offset + residual of unit variance, rho .5."""
    noise = rng.normal(size=(STAGE_E.size, 6))
    for idx in range(1, len(noise)):
        noise[idx] = 0.5 * noise[idx - 1] + np.sqrt(0.75) * noise[idx]
    return ScoredFeatures(subject, subject, np.arange(5)[STAGE_E, None] + offset_56[STAGE_E] + noise, STAGE_E)


def test_known_means_variances_and_correlations_are_found():
    rng = np.random.default_rng(0)
    offsets = rng.normal(0, 0.5, (80, 1, 1)) * np.ones((80, 5, 6))
    table = fit_calibration([_night(rng, f"S{idx:04d}", offset) for idx, offset in enumerate(offsets)])
    np.testing.assert_allclose(table["mu"], np.repeat(np.arange(5), 6).reshape(5, 6) + offsets.mean(), atol=0.05)
    spread = offsets[:, 0, 0].var(ddof=1)
    np.testing.assert_allclose(np.diag(table["C"]), spread, atol=0.05)
    assert table["C"][0, 7] == pytest.approx(0.9 * spread, abs=0.05)
    np.testing.assert_allclose(table["S"], np.broadcast_to(np.eye(6), (5, 6, 6)), atol=0.1)
    np.testing.assert_allclose(table["rho"], 0.5, atol=0.05)


def test_a_stage_that_a_recording_lacks_counts_as_the_mean_of_the_others():
    rng = np.random.default_rng(1)
    nights = [_night(rng, f"S{idx}", np.zeros((5, 6))) for idx in range(4)]
    without = ScoredFeatures("S9", "S9", nights[0].features_E6, np.where(STAGE_E == 4, -1, STAGE_E))
    table = fit_calibration([*nights, without])
    np.testing.assert_allclose(table["mu"][4], fit_calibration(nights)["mu"][4])
    assert all(np.isfinite(values).all() for values in table.values())


def test_the_power_below_delta_is_what_the_bands_leave_and_never_nothing():
    powers = np.array([[10.0, 4, 2, 1, 0.1]] * 2)
    inside = 10 * 3.5 + 4 * 4 + 2 * 5 + 17 + 0.1 * 20
    features = build_features(powers, np.array([inside + 30, inside - 5]))
    np.testing.assert_allclose(np.exp(features[:, 5]), [30, 0.05 * (inside - 5)])
    np.testing.assert_allclose(np.exp(features[:, :5]), powers)


def _write_band_powers(path, rng):
    arrays = {}
    for name in ("AA001E0", "AA002E0", "BB001E0"):
        arrays[f"{name}_bandpower_uV2perHz"] = rng.lognormal(0, 1, (STAGE_E.size, 2, 5)).astype(np.float32)
        arrays[f"{name}_variance_uV2"] = rng.lognormal(6, 1, (STAGE_E.size, 2)).astype(np.float32)
        arrays[f"{name}_y"] = STAGE_E
    np.savez(path, **arrays)


def test_the_command_writes_a_table_that_the_simulator_reads(tmp_path, monkeypatch, capsys):
    _write_band_powers(tmp_path / "powers.npz", np.random.default_rng(2))
    out = tmp_path / "calibration.json"
    assert main(["--band_powers", str(tmp_path), "--leave_out", "BB001", "--out", str(out)]) == 0
    assert "2 recordings (2 subjects)" in capsys.readouterr().out
    assert [night.recording for night in read_band_powers(tmp_path, ["AA001"])] == ["AA002E0", "BB001E0"]
    monkeypatch.setattr(simulate_calibration, "_FOLDER", tmp_path)
    load_table.cache_clear()
    try:
        assert {name: values.shape for name, values in load_table().items()} == {
            "mu": (5, 6), "C": (30, 30), "S": (5, 6, 6), "rho": (5, 6)
        }  # fmt: skip
    finally:
        load_table.cache_clear()


def test_a_prepared_cohort_gives_the_features_of_its_signals(tmp_path):
    rows = []
    for subject_idx in range(2):
        night = simulate_human_night(0, subject_idx)
        epochs_EL = night.signals[CHANNEL].values.reshape(-1, 3000)[:400]
        identity = {"recording": night.recording, "subject": night.subject, "fs_hz": 100.0, "epoch_s": 30.0}
        recording = Recording(
            **identity,
            channels={CHANNEL: epochs_EL},
            sleep_stages=night.sleep_stages[:400],
            onset_s=30.0 * np.arange(400),
        )
        rows.append(write_recording(recording, tmp_path, "train"))
    write_participants(rows, tmp_path)
    nights = measure_cohort(tmp_path, ["SIM0001"])
    assert [night.recording for night in nights] == ["SIM0000"]
    delta, gamma = nights[0].features_E6[:, 0], nights[0].features_E6[:, 4]
    assert delta[nights[0].sleep_stage_E == 3].mean() > delta[nights[0].sleep_stage_E == 4].mean() + 1
    assert gamma[nights[0].sleep_stage_E == 0].mean() > gamma[nights[0].sleep_stage_E == 3].mean()


def test_mistakes_end_in_one_line(tmp_path, capsys):
    _write_band_powers(tmp_path / "powers.npz", np.random.default_rng(2))
    out = ["--out", str(tmp_path / "t.json")]
    assert main(["--band_powers", str(tmp_path / "none"), *out]) == 2
    assert main(["--band_powers", str(tmp_path), "--leave_out", "AA001", "AA002", *out]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert not (tmp_path / "t.json").exists()


@pytest.mark.skipif("TSLM_DATA_DIR" not in os.environ, reason="TSLM_DATA_DIR is not set")
@pytest.mark.parametrize(("channel_idx", "name"), [(0, "calibration"), (1, "posterior")])
def test_the_tables_of_the_repository_are_what_the_command_gives(channel_idx, name):
    folder = Path(os.environ["TSLM_DATA_DIR"]) / "sleep_edf_bandpower"
    table = fit_calibration(read_band_powers(folder, ["SC400"], channel_idx))
    kept = load_table(name)
    for key, values in table.items():
        np.testing.assert_allclose(values, kept[key], atol=1.01e-5)
