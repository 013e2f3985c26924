r"""Put a trained checkpoint into the package: bfloat16 weights, card, and a row of src/tslm/pretrained/table.yaml.

Example:
    python -m curriculum.package results/scorer/no_llm/classifier/stage0_encoder/checkpoints/best --name human \\
        --scores "SC4001, EEG Fpz-Cz=results/scorer/no_llm/classifier/stage0_encoder/results/metrics.json"
"""

import argparse
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from curriculum.package_card import Origin, read_origin, read_score, render_sections
from tslm.command import run_command
from tslm.data.novelty import NOVELTY_FILE
from tslm.files import read_json, swap_in, write_json, write_text
from tslm.pretrained.table import FOLDER, MAX_BYTES, TABLE_FILE, PackagedModel, Score, read_models

if TYPE_CHECKING:
    from tslm.config.schema import RunConfig

_EXAMPLE = (
    "example: python -m curriculum.package RUN/checkpoints/best --name human --scores SC4001=RUN/results/metrics.json"
)
_NAME = re.compile(r"[a-z][a-z0-9.-]*")
_KINDS = {"scorer": "scorer", "writer": "explainer"}  # by role of the model
_FITTED = ("calibration.json", "transitions.json")
_FITTED_ON_ENOUGH = (NOVELTY_FILE,)  # missing where the training had few subjects, or was of an older version
_HEAD = (Path(FOLDER) / TABLE_FILE).read_text(encoding="utf-8").partition("\n")[0] + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 a file failed, 2 a mistake in the call or the checkpoint."""
    arguments = build_parser().parse_args(argv)
    return run_command(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> str:
    """Package the checkpoint and describe it; errors as `package`."""
    origin = read_origin(arguments.checkpoint)
    model = package(
        arguments.checkpoint,
        arguments.name,
        [read_score(data, path, arguments.system) for data, path in arguments.scores],
        replace(
            origin,
            commands=tuple(arguments.commands) or origin.commands,
            seeds=tuple(arguments.seeds) or origin.seeds,
            limits=tuple(arguments.limits),
        ),
        arguments.out,
    )
    total = sum(each.num_bytes for each in read_models(arguments.out).values())
    return (
        f"written: {arguments.out / model.name}, {model.num_bytes / 1e6:.1f} MB; all models {total / 1e6:.1f} of "
        f"{MAX_BYTES / 1e6:.0f} MB"
    )


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m curriculum.package`."""
    parser = argparse.ArgumentParser(
        prog="python -m curriculum.package",
        description="Put a trained checkpoint into the package: bfloat16 weights, card, and a row of the table.",
        epilog=_EXAMPLE,
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="folder of a scorer or a language model")
    parser.add_argument("--name", required=True, help="name for `--model`; a model of this name is replaced")
    parser.add_argument(
        "--scores",
        nargs="+",
        required=True,
        type=_parse_score,
        metavar="DATA=FILE",
        help="what was scored, in words, and the metrics.json of it (of a run, or of evaluation.score)",
    )
    parser.add_argument("--system", default="", help="whose scores are taken; default: classifier or language_model")
    parser.add_argument(
        "--commands",
        nargs="+",
        default=[],
        metavar="COMMAND",
        help="those that make it again from a clone, in order; default: that of the run",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="default: that of the run")
    parser.add_argument("--limits", nargs="+", default=[], metavar="SENTENCE", help="further limits for the card")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR", help="default: src/tslm/pretrained")
    return parser


def package(
    checkpoint_dir: Path, name: str, scores: Sequence[Score], origin: Origin, out_dir: Path = FOLDER
) -> PackagedModel:
    """Write the folder of a model and its row of the table; both are replaced where there is one of this name.

    Args:
        checkpoint_dir: a trained checkpoint.
        name: of the model.
        scores: measured on recordings that its training has not seen.
        origin: how it was made.
        out_dir: folder of the table.

    Raises:
        FileNotFoundError: no checkpoint, or one that lacks its calibration or transitions.
        ValueError: a model that stages no sleep, a language model without pinned weights, a command with a path of
            this machine, or more than `MAX_BYTES` together.
    """
    from tslm.config.checkpoint import load_checkpoint_config

    config = _forget_machine(load_checkpoint_config(checkpoint_dir))
    _check(checkpoint_dir, name, config, origin)
    partial = out_dir / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _fill(partial, checkpoint_dir, config, render_sections(name, config, scores, origin))
        model = _describe(name, config, scores, _measure_size(partial))
        models = {**(read_models(out_dir) if (out_dir / TABLE_FILE).is_file() else {}), name: model}
        if (total := sum(each.num_bytes for each in models.values())) > MAX_BYTES:
            most = f"{MAX_BYTES / 1e6:.0f} MB"
            raise ValueError(f"with {name} the models take {total / 1e6:.1f} MB; wanted {most} or less")
        swap_in(partial, out_dir / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _write_table(models, out_dir)
    return model


def update_size(model_dir: Path) -> None:
    """Write the size of a model's folder into the table beside it; nothing where there is no such table or row."""
    out_dir = model_dir.parent
    models = read_models(out_dir) if (out_dir / TABLE_FILE).is_file() else {}
    if model_dir.name in models:
        changed = replace(models[model_dir.name], num_bytes=_measure_size(model_dir))
        _write_table({**models, model_dir.name: changed}, out_dir)


def _measure_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _write_table(models: Mapping[str, PackagedModel], out_dir: Path) -> None:
    rows = {each.name: _render_row(each) for each in sorted(models.values(), key=lambda each: each.name)}
    text = yaml.safe_dump(rows, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    write_text(_HEAD + text, out_dir / TABLE_FILE)


def _fill(folder: Path, checkpoint_dir: Path, config: "RunConfig", sections: Mapping[str, str]) -> None:
    """Write config, weights, what was fitted and the card; the card is titled as the folder is called."""
    from tslm.config.checkpoint import ADAPTER_DIR, save_checkpoint_config
    from tslm.models.llm.store import get_hub_id
    from tslm.training.checkpoints.checkpoint import WEIGHTS_FILE, read_state
    from tslm.training.checkpoints.model_card import CARD_FILE, render_model_card

    save_checkpoint_config(config, folder)
    cast_weights(checkpoint_dir / WEIGHTS_FILE, folder / WEIGHTS_FILE)
    for fitted in (*_FITTED, *(name for name in _FITTED_ON_ENOUGH if (checkpoint_dir / name).is_file())):
        shutil.copyfile(checkpoint_dir / fitted, folder / fitted)
    if config.writes_text:
        (folder / ADAPTER_DIR).mkdir()
        trained, ours = checkpoint_dir / ADAPTER_DIR, folder / ADAPTER_DIR
        base = {"base_model_name_or_path": get_hub_id(config.llm.source)}
        write_json(read_json(trained / "adapter_config.json") | base, ours / "adapter_config.json")
        cast_weights(trained / "adapter_model.safetensors", ours / "adapter_model.safetensors")
    state = {"trained_on": read_state(checkpoint_dir).get("trained_on", {})}
    title = folder.name.removesuffix(".partial")
    render_model_card(config, state, title=title, sections=sections).save(folder / CARD_FILE)


def cast_weights(source: Path, target: Path) -> None:
    """Copy a file of weights with its floating-point tensors in bfloat16; loading casts them back."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(source)
    save_file(
        {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()},
        target,
        {"format": "pt"},
    )
    assert torch.bfloat16 in {tensor.dtype for tensor in load_file(target).values()}
    target.chmod(0o644)  # safetensors leaves it to the owner alone


def _check(checkpoint_dir: Path, name: str, config: "RunConfig", origin: Origin) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"--name {name}; wanted small letters, digits, dots and hyphens, such as human")
    stages_sleep = config.model.kind.role == "scorer" or (config.writes_text and config.stage.task == "sleep")
    if not stages_sleep or not config.model.fs_hz:
        raise ValueError(f"{checkpoint_dir} holds {config.model.name!r} of {config.stage.name}, which stages no sleep")
    if config.writes_text and not config.llm.sha256:
        raise ValueError(f"{checkpoint_dir} was trained on {config.llm.source}, which is not pinned by its SHA-256")
    for fitted in _FITTED:
        if not (checkpoint_dir / fitted).is_file():
            raise FileNotFoundError(f"{checkpoint_dir} has no {fitted}; the evaluation of a finished run writes it")
    if not origin.commands:
        raise ValueError(f"{checkpoint_dir} lies in no run that recorded its command; give --commands")
    for command in origin.commands:
        if re.search(r"(?:^|[\s='\"])[/~]", command):
            raise ValueError(f"a command names a path of this machine: {command}; give --commands as run from a clone")


def _forget_machine(config: "RunConfig") -> "RunConfig":
    """The settings without folders and servers of the machine it was trained on, and with the base model's hash."""
    from tslm.config.schema import RunConfig
    from tslm.models.llm.store import check_base, get_sha256

    default = RunConfig()
    stage = config.stage
    train_dir, val_dir, test_dir = (
        f"prepared/{Path(folder).name}" if Path(folder).is_absolute() else folder
        for folder in (stage.train_dir, stage.val_dir, stage.test_dir)
    )
    llm = default.llm  # a scorer has none
    if config.writes_text:
        check_base(config.llm.source, config.llm.sha256)
        llm = replace(config.llm, sha256=get_sha256(config.llm.source))
    return replace(
        config,
        results_dir=default.results_dir,
        tracking=default.tracking,
        mlflow=default.mlflow,
        llm=llm,
        stage=replace(stage, train_dir=train_dir, val_dir=val_dir, test_dir=test_dir),
    )


def _describe(name: str, config: "RunConfig", scores: Sequence[Score], num_bytes: int) -> PackagedModel:
    from tslm.labels import LABEL_SETS

    optional = config.optional_channels
    return PackagedModel(
        name,
        _KINDS[config.model.kind.role],
        LABEL_SETS[config.model.label_set].species,
        tuple(channel for channel in config.stage.channels if channel not in optional),
        optional,
        config.model.fs_hz,
        config.model.epoch_s,
        config.model.label_set,
        num_bytes,
        tuple(scores),
        config.llm.name if config.writes_text else "",
        config.llm.sha256,
    )


def _render_row(model: PackagedModel) -> dict[str, Any]:
    row = {key: value for key, value in asdict(model).items() if key != "name" and value != ""}
    return _to_lists(row)


def _to_lists(value: Any) -> Any:
    """Tuples as lists, which YAML has."""
    if isinstance(value, Mapping):
        return {key: _to_lists(item) for key, item in value.items()}
    return [_to_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _parse_score(text: str) -> tuple[str, Path]:
    data, equals, path = text.rpartition("=")
    if not equals or not data or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not DATA=FILE, such as SC4001=RUN/results/metrics.json")
    return data, Path(path)


if __name__ == "__main__":
    sys.exit(main())
