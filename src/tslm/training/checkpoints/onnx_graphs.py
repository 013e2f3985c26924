"""Trained scorers and encoders as ONNX graphs, which need no torch to run (tslm.staging.onnx_scorer).

A scorer becomes two graphs: `encoder.onnx` reads epochs, as many at a time as memory holds, and `context.onnx` looks at
the whole night. An encoder without a head becomes one. Normalisation is no part of a graph: its inputs are the outputs
of `tslm.signals.normalize`.

Shape letters: B nights, W epochs of a night, E epochs, C channels, V views, L signal samples, D encoder width,
K classes, S series, N patches.
"""

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tslm.config.checkpoint import CONTEXT_GRAPH, ENCODER_GRAPH
from tslm.config.schema import RunConfig
from tslm.data.samples.inputs import count_inputs
from tslm.models.classifier import Classifier
from tslm.models.masked_encoder import MaskedEncoder
from tslm.signals.normalize import count_views

_OPSET = 20


@dataclass(frozen=True)
class Graph:
    """A graph's module, example inputs, and the names of what is free in them and of the outputs."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    free: Mapping[str, Mapping[int, str]]  # input -> axis -> name
    outputs: Mapping[str, tuple[str, ...]]  # output -> names of its first axes


class EpochGraph(nn.Module):
    """Epochs each by itself -> pooled (E, D), logits (E, K).

    Of each it reads (C, L) or (C, V, L), which channels are there, and the numbers of `model.inputs`, if it has any.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, epochs_ECL: Tensor, channel_mask_EC: Tensor, inputs_EF: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pooled epochs for `NightGraph`, and logits of each epoch alone."""
        reader = self.model.reader
        pooled_ED = reader.add_inputs(reader.pool(epochs_ECL, channel_mask_EC), inputs_EF)
        return pooled_ED, self.model.epoch_head(pooled_ED).float()


class NightGraph(nn.Module):
    """Nights of pooled epochs without gaps or padding: (B, W, D) -> logits (B, W, K)."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pooled_BWD: Tensor) -> Tensor:
        """Logits of each epoch with its neighbours."""
        return self.model.head(self.model.reader.look_around(pooled_BWD)).float()


class SeriesGraph(nn.Module):
    """Series of one channel each: (S, L) or (S, V, L), and the channel of each (S,) -> tokens (S, N, D)."""

    def __init__(self, model: MaskedEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, series_SL: Tensor, channel_S: Tensor) -> Tensor:
        """Tokens of the encoder."""
        return self.model.reader.encode_series(series_SL, None, channel_S)


def export_graphs(model: nn.Module, config: RunConfig, folder: Path) -> list[Path]:
    """Write the graphs of a trained scorer or encoder; returns their paths.

    Args:
        model: in evaluation mode, on the CPU.
        config: of its checkpoint.
        folder: where the files are written.

    Raises:
        ImportError: the extra `export` is not installed.
        ValueError: a model with a language model, or a checkpoint that states no rate and epoch length.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter imports it, and explains its absence at length
    except ImportError as error:
        raise ImportError(f"ONNX needs the extra `export`: pip install 'tslm-sleep[export]' ({error})") from error
    if config.model.kind.role not in GRAPHS:
        raise ValueError(
            f"model {config.model.name!r} holds a language model; only scorers and encoders become ONNX: export the "
            "checkpoint of a classifier, or --format merged"
        )
    if not (config.model.fs_hz and config.model.epoch_s):
        raise ValueError("the checkpoint does not say at which rate it reads; train it again with this version")
    written = []
    for name, graph in GRAPHS[config.model.kind.role](model, config).items():
        program = _trace(graph)
        proto = program.model_proto
        # Shapes inside are the example's (a GRU's length is), and a runtime would plan its memory by them.
        del proto.graph.value_info[:]
        for output, axes in zip(proto.graph.output, graph.outputs.values(), strict=True):
            for dim, axis in zip(output.type.tensor_type.shape.dim, axes, strict=False):
                dim.Clear()
                dim.dim_param = axis
        onnx.checker.check_model(proto)
        written.append(folder / name)
        onnx.save(proto, written[-1])
    return written


def _trace(graph: Graph) -> "torch.onnx.ONNXProgram":
    axes = {name: {axis: torch.export.Dim(free) for axis, free in axes.items()} for name, axes in graph.free.items()}
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about torch
            program = torch.onnx.export(
                graph.module.eval(),
                tuple(graph.inputs.values()),
                dynamo=True,
                dynamic_shapes=tuple(axes[name] for name in graph.inputs),
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                opset_version=_OPSET,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    return program


def _build_scorer_graphs(model: Classifier, config: RunConfig) -> dict[str, Graph]:
    shape_CL = _epoch_shape(config)
    num_channels = shape_CL[0]
    width = config.model.encoder.d_model
    read = {"epochs": torch.randn(3, *shape_CL), "channel_mask": torch.ones(3, num_channels, dtype=torch.bool)}
    if config.model.inputs:
        read["inputs"] = torch.randn(3, count_inputs(config.model.inputs))
    return {
        ENCODER_GRAPH: Graph(
            EpochGraph(model),
            read,
            {name: {0: "num_epochs"} for name in read},
            {"pooled": ("num_epochs",), "logits_alone": ("num_epochs",)},
        ),
        CONTEXT_GRAPH: Graph(
            NightGraph(model),
            {"pooled": torch.randn(2, 7, width)},
            {"pooled": {0: "num_nights", 1: "num_epochs"}},
            {"logits": ("num_nights", "num_epochs")},
        ),
    }


def _build_encoder_graphs(model: MaskedEncoder, config: RunConfig) -> dict[str, Graph]:
    shape_L = _epoch_shape(config)[1:]
    return {
        ENCODER_GRAPH: Graph(
            SeriesGraph(model),
            {"series": torch.randn(3, *shape_L), "channel": torch.zeros(3, dtype=torch.int64)},
            {"series": {0: "num_series"}, "channel": {0: "num_series"}},
            {"tokens": ("num_series",)},
        )
    }


def _epoch_shape(config: RunConfig) -> tuple[int, ...]:
    """(C, L), or (C, V, L) where the normalisation gives V views."""
    num_views = count_views(config.model.normalization)
    samples = round(config.model.fs_hz * config.model.epoch_s)
    return (len(config.stage.channels), *([num_views] if num_views > 1 else []), samples)


GRAPHS: dict[str, Callable[..., dict[str, Graph]]] = {"scorer": _build_scorer_graphs, "encoder": _build_encoder_graphs}
