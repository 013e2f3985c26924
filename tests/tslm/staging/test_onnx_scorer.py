import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.factories.small import CHANNEL, build_small_model, small_config, small_recording
from tests.factories.staging import save_narrow_novelty, save_staging_model, write_unlabelled_night
from tslm.cli.main import main
from tslm.config.schema import RunConfig
from tslm.predictions.calibration import Calibration
from tslm.predictions.night_scorer import NightScorer
from tslm.staging.onnx_scorer import OnnxScorer
from tslm.training.checkpoints.checkpoint import save_checkpoint
from tslm.training.checkpoints.onnx_graphs import export_graphs

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

SCORERS: dict[str, dict[str, Any]] = {
    "bigru": {
        "model__normalization": "zscore_whitened",
        "model__channel_dropout": 0.2,
        "stage__extra_channels": ("EMG",),
    },
    "conv": {"model__encoder__front_end": "cnn", "model__encoder__num_layers": 0, "stage__extra_channels": ("EMG",)},
    "ssm": {"model__context__num_layers": 2},
    "transformer": {"model__encoder__raw_patch": False},
}
STATED = {"start": "2026-11-01T18:58:00", "lights_on": "07:00", "lights_off": "19:00"}


def scorer_config(kind: str, **changes: Any) -> RunConfig:
    return small_config(
        model__name="classifier",
        model__context__kind=kind,
        model__fs_hz=20.0,
        model__epoch_s=30.0,
        **SCORERS[kind],
        **changes,
    )


def test_a_graph_reads_what_the_model_reads_beside_the_signal(tmp_path: Path) -> None:
    config = scorer_config("ssm", model__inputs=("light", "clock"))
    model = build_small_model(config)
    torch.nn.init.normal_(model.reader.inputs.weight)
    export_graphs(model, config, tmp_path)
    night = replace(small_recording(num_epochs=11), **STATED)
    ours, theirs = NightScorer(model, config).score(night), OnnxScorer(tmp_path, config).score(night)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


@pytest.mark.parametrize("kind", SCORERS)
def test_graphs_give_what_torch_gives_for_nights_of_any_number_and_length(kind: str, tmp_path: Path) -> None:
    config = scorer_config(kind)
    model = build_small_model(config)
    export_graphs(model, config, tmp_path)
    pooled_BWD = torch.randn(3, 50, config.model.encoder.d_model)
    session = onnxruntime.InferenceSession(tmp_path / "context.onnx")
    (logits_BWK,) = session.run(None, {"pooled": pooled_BWD.numpy()})
    expected_BWK = model.head(model.reader.look_around(pooled_BWD)).detach().numpy()
    np.testing.assert_allclose(logits_BWK, expected_BWK, atol=1e-4)
    assert session.get_outputs()[0].shape == ["num_nights", "num_epochs", 5]
    calibration = Calibration(classifier=2.0)
    ours, theirs = NightScorer(model, config, calibration), OnnxScorer(tmp_path, config, calibration)
    gap_s = np.where(np.arange(40) < 25, 0.0, 300.0) + 30.0 * np.arange(40)
    nights = [small_recording(num_epochs=1), small_recording(num_epochs=40, onset_s=gap_s)]
    if config.optional_channels:
        nights += [replace(night, channels={CHANNEL: night.channels[CHANNEL]}) for night in nights]
    for night in nights:
        np.testing.assert_allclose(theirs.score(night), ours.score(night), atol=2e-5)
        alone = [replace(scorer, each_alone=True).score(night) for scorer in (ours, theirs)]
        np.testing.assert_allclose(*alone, atol=2e-5)


def test_a_pretrained_encoder_becomes_one_graph_of_its_tokens(tmp_path: Path) -> None:
    config = small_config(
        model__name="masked_encoder", model__fs_hz=20.0, model__epoch_s=30.0, stage__extra_channels=("EMG",)
    )
    model = build_small_model(config)
    (path,) = export_graphs(model, config, tmp_path)
    series_SL, channel_S = torch.randn(5, 600), torch.tensor([0, 1, 1, 0, 1])
    (tokens_SND,) = onnxruntime.InferenceSession(path).run(
        None, {"series": series_SL.numpy(), "channel": channel_S.numpy()}
    )
    expected_SND = model.reader.encode_series(series_SL, None, channel_S).detach().numpy()
    np.testing.assert_allclose(tokens_SND, expected_SND, atol=1e-4)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path) -> tuple[Path, Path, Path]:
    """A night, a classifier's checkpoint, and its export."""
    folder = tmp_path_factory.mktemp("onnx")
    classifier = {"model__name": "classifier", "stage__task": "night", "stage__trained": ("encoder", "classifier")}
    checkpoint = save_staging_model(folder / "best", tiny_llm, **classifier)
    save_narrow_novelty(checkpoint)
    assert main(["export", str(checkpoint), "--format", "onnx", "--out", str(folder / "onnx")]) == 0
    return write_unlabelled_night(folder), checkpoint, folder / "onnx"


def test_score_by_onnx_writes_the_same_hypnogram_and_never_loads_torch(
    exported: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    night, checkpoint, graphs = exported
    for runtime, folder in (("torch", checkpoint), ("onnx", graphs)):
        code = (
            "import sys; from tslm.cli.main import main; code = main(sys.argv[1:]); "
            "print('torch' in sys.modules, 'transformers' in sys.modules); sys.exit(code)"
        )
        arguments = ["score", str(night), "--model", str(folder), "--out", str(tmp_path / f"{runtime}.csv")]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, "--runtime", runtime, "--smoothing", "median"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == f"{runtime == 'torch'} False"
        assert "the EEG Fpz-Cz is unlike those of the training: novelty" in done.stdout
    ours, theirs = ((tmp_path / f"{runtime}.csv").read_text() for runtime in ("torch", "onnx"))
    assert ours == theirs


def test_what_cannot_be_exported_or_run_is_said_in_one_line(
    exported: tuple[Path, Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tiny_llm: Path,
) -> None:
    night, checkpoint, graphs = exported
    out = str(tmp_path / "new")
    writer = small_config(tiny_llm, model__fs_hz=20.0, model__epoch_s=30.0)
    save_checkpoint(build_small_model(writer), writer, {}, tmp_path / "writer")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in graphs.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes()[: 100 if path.name == "encoder.onnx" else None])
    score = ["score", str(night), "--runtime", "onnx", "--out", out, "--model"]
    calls = [
        (["export", str(tmp_path / "writer"), "--format", "onnx", "--out", out], "holds a language model"),
        (["export", str(checkpoint), "--format", "onnx", "--out", str(graphs)], "exists; remove it"),
        ([*score, str(checkpoint)], "holds no encoder.onnx; write it: tslm export"),
        ([*score, str(damaged)], "export it again"),
        ([*score, str(graphs), "--device", "cuda"], "device cuda"),  # there is none, or ONNX does not run on it
    ]
    for arguments, said in calls:
        assert main(arguments) != 0
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
    for name, arguments in (
        ("onnxscript", ["export", str(checkpoint), "--format", "onnx", "--out", out]),
        ("onnxruntime", [*score, str(graphs)]),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        assert main(arguments) == 1
        assert "pip install 'tslm-sleep[export]'" in capsys.readouterr().err
    assert not Path(out).exists()
