"""What a client may ask for, and the scorers that it may choose from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tslm.data.cohorts.cohort import parse_reading
from tslm.predictions.smoothing import METHODS
from tslm.pretrained.table import DEFAULT_SCORER, find_model, read_models
from tslm.serve.jobs.tasks import JobOptions
from tslm.staging.models import StagingModels, find_models
from tslm.staging.night import StagingOptions, match_given_channels, parse_epochs


class OptionsError(ValueError):
    """An option that cannot be."""


def read_menu(named: Sequence[str]) -> dict[str, Path]:
    """The scorers that clients may choose from, by name.

    Args:
        named: NAME of the package or NAME=FOLDER; none: all of the package, the default first.

    Raises:
        FileNotFoundError, ValueError: no such model, two of one name, or no classifier (`find_models`).
    """
    if not named:
        scorers = [name for name, model in read_models().items() if model.kind == "scorer"]
        named = sorted(scorers, key=lambda name: name != DEFAULT_SCORER)
    menu: dict[str, Path] = {}
    for text in named:
        name, has_folder, folder = text.partition("=")
        if not name or name in menu:
            raise ValueError(f"--model {text!r}: each model needs a name of its own, as in lab=results/lab")
        menu[name] = find_model(folder if has_folder else name, "scorer")
        find_models(menu[name], with_texts=False)
    if not menu:
        raise FileNotFoundError("this version comes without trained models; give --model NAME=FOLDER")
    return menu


def check_options(options: JobOptions, menu: Mapping[str, Path]) -> tuple[StagingModels, StagingOptions]:
    """The checkpoints and options of a night's staging, and the check that they go together.

    Raises:
        OptionsError: they do not.
    """
    name = options.model or next(iter(menu))
    if name not in menu:
        raise OptionsError(f"model {name!r} is not served; choose one of: {', '.join(menu)}")
    if options.smoothing not in METHODS:
        raise OptionsError(f"smoothing {options.smoothing!r} is unknown; choose one of: {', '.join(METHODS)}")
    try:
        if options.explain not in ("none", "uncertain", "all"):
            parse_epochs(options.explain)
        parse_reading(options.read)
        models = find_models(menu[name], with_texts=options.explain != "none")
        given = match_given_channels(models, options.channel, options.extra_channels or None)
    except (ValueError, FileNotFoundError) as error:
        raise OptionsError(str(error)) from error
    epoch_s = models.classifier.model.epoch_s
    if options.epoch_s and options.epoch_s != epoch_s:
        raise OptionsError(f"epoch_s {options.epoch_s:g}: the model {name!r} reads epochs of {epoch_s:g} s")
    return models, StagingOptions(explain=options.explain, given=given, smoothing=options.smoothing)
