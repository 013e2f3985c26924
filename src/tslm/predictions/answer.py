"""From a trained model to prediction rows: generated text, and stage probabilities of whole nights."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from tslm.batch import Batch
from tslm.config.schema import ModelConfig, RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.collate import Collator
from tslm.data.samples.dataset import TaskDataset, build_dataset
from tslm.data.samples.label_tokens import tokenize_labels
from tslm.data.samples.night_windows import check_num_channels, check_timing, load_recordings, measure_references
from tslm.data.samples.sampling import sort_by_prompt, spread_subset
from tslm.hypnogram import split_at_gaps
from tslm.labels import LABEL_SETS
from tslm.models.classifier import Classifier
from tslm.models.decoding.grammar import AnswerGrammars
from tslm.models.text_model import TextModel
from tslm.predictions.calibration import Calibration, fit_temperature, scale_scores
from tslm.predictions.rows import LANGUAGE_MODEL, PredictionRow, build_night_rows
from tslm.signals.normalize import normalize_channels

_DIGITS = 6


def generate_predictions(
    model: TextModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset: TaskDataset,
    indices: Sequence[int],
    config: RunConfig,
    device: torch.device,
    show_progress: bool = True,
    calibration: Calibration | None = None,
    with_rationale: bool = True,
) -> list[PredictionRow]:
    """Responses to the samples `indices`, one prediction row each, in order.

    They are answered in batches of like length, longest prompts first. The raw text is kept as generated, up to the
    end token. With `config.stage.constrained` it closes with one of the sample's options, and the row says how
    likely each was. Without rationale only the options are scored, directly after the prompt; the most likely one
    is the answer.

    Raises:
        ValueError: without rationale, a sample that has no options.
    """
    collator, calibration = Collator(config.model, tokenizer, with_response=False), calibration or Calibration()
    answer: ResponseWriter | LabelChooser = (
        ResponseWriter(model, collator, config, calibration)
        if with_rationale
        else LabelChooser(model, collator, calibration)
    )
    batch_size = config.train.eval_batch_size
    model.eval()
    order, rows = sort_by_prompt(dataset, indices, config.model), dict[int, PredictionRow]()
    with tqdm(total=len(indices), desc="generate", unit="sample", disable=not show_progress) as bar:
        for first in range(0, len(order), batch_size):
            chunk = order[first : first + batch_size]
            examples = [dataset[idx] for idx in chunk]
            batch = collator(examples).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.train.precision == "bf16"):
                responses = answer(batch, [example.options for example in examples])
            for idx, example, response in zip(chunk, examples, responses, strict=True):
                rows[idx] = {
                    "system": LANGUAGE_MODEL,
                    "sample_id": example.sample_id,
                    **dataset.describe(idx),  # type: ignore[typeddict-item]
                    "truth": example.answer,
                    "options": list(example.options),
                    **response,
                    "target": example.response,
                }
            bar.update(len(chunk))
    return [rows[idx] for idx in indices]


def fit_calibration(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    config: RunConfig,
    device: torch.device,
    show_progress: bool = True,
) -> Calibration:
    """Temperatures of a trained model on the validation data of its stage (`stage.num_calibration_samples`).

    For a language model each sample is answered twice, after a rationale of its own and without one.
    """
    if isinstance(model, Classifier):
        stage = config.stage
        nights = load_recordings(stage.data_dir("val"), "val", stage.channels, stage.fold)
        rows = list(classify_nights(model, nights, config, device))
        scores = [np.log(np.clip(row["probabilities"] or [], 1e-6, 1.0)) for row in rows]
        return Calibration(classifier=_fit(rows, scores))
    assert isinstance(model, TextModel) and tokenizer is not None
    dataset = build_dataset(config, "val")
    indices = spread_subset(dataset, config.stage.num_calibration_samples).indices
    temperatures = []
    for with_rationale in (False, True):
        rows = generate_predictions(
            model, tokenizer, dataset, indices, config, device, show_progress, with_rationale=with_rationale
        )
        scored = [row for row in rows if row.get("log_likelihoods")]
        temperatures.append(_fit(scored, [row["log_likelihoods"] for row in scored]))
    return Calibration(answer=temperatures[0], rationale=temperatures[1])


def average_probabilities(
    model: Classifier, config: RunConfig, device: torch.device, calibration: Calibration
) -> np.ndarray | None:
    """Mean probability of each stage over the validation nights, (num_classes,); None where none is scored.

    How frequent the scorer takes a stage to be: what its probabilities are divided by before they are smoothed.
    """
    stage = config.stage
    nights = load_recordings(stage.data_dir("val"), "val", stage.channels, stage.fold)
    rows = list(classify_nights(model, nights, config, device, calibration=calibration))
    return np.mean([row["probabilities"] or [] for row in rows], axis=0) if rows else None


def _fit(rows: Sequence[PredictionRow], scores: Sequence[Sequence[float] | np.ndarray]) -> float | None:
    """The temperature of rows that share their options; None for no rows."""
    truth = np.array([row["options"].index(row["truth"]) for row in rows], dtype=np.int64)
    return fit_temperature(np.array(scores), truth)


def score_night(
    model: Classifier,
    recording: Recording,
    channels: Sequence[str],
    config: ModelConfig,
    device: torch.device,
    each_alone: bool = False,
    temperature: float | None = None,
) -> np.ndarray:
    """Stage probabilities of every epoch, (num_epochs, num_classes) float32, in the label set's order.

    The whole night is read at once; the context never crosses a gap in the recording. With `each_alone`
    the epoch-only head answers: an epoch's neighbours are not looked at. The temperature of a checkpoint
    (tslm.predictions.calibration) holds for the head in context; None: probabilities as they come.

    Raises:
        ValueError: other channels than the model reads, or epochs longer than its position table.
    """
    check_num_channels(channels, model.reader.num_channels)
    references = measure_references(recording, channels)
    values_ECL = np.stack([recording.channels[name] for name in channels], axis=1)
    normalized_ECL = normalize_channels(values_ECL, config.normalization, references)
    model.eval()
    probabilities = []
    for run in split_at_gaps(recording.onset_s, recording.epoch_s):
        series = torch.from_numpy(normalized_ECL[run]).to(device)
        with torch.inference_mode():
            alone, in_context = model.logits(series[None], torch.ones(1, len(series), dtype=torch.bool, device=device))
            logits_BEK = alone if each_alone else in_context
        probabilities.append((logits_BEK[0] / (temperature or 1.0)).softmax(-1).cpu().numpy())
    return np.concatenate(probabilities)


def classify_nights(
    model: Classifier,
    recordings: Sequence[Recording],
    config: RunConfig,
    device: torch.device,
    each_alone: bool = False,
    calibration: Calibration | None = None,
) -> Iterator[PredictionRow]:
    """Prediction rows of the classifier for every epoch that its label set can answer."""
    temperature = calibration.classifier if calibration is not None and not each_alone else None
    label_set = LABEL_SETS[config.model.label_set]
    check_timing(recordings, config.model)
    for recording in recordings:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.train.precision == "bf16"):
            probabilities_EK = score_night(
                model, recording, config.stage.channels, config.model, device, each_alone, temperature
            )
        yield from build_night_rows(recording, probabilities_EK, label_set, temperature)


class ResponseWriter:
    """Writes rationale and answer."""

    def __init__(self, model: TextModel, collator: Collator, config: RunConfig, calibration: Calibration) -> None:
        assert collator.tokenizer is not None
        self.model, self.collator, self.tokenizer = model, collator, collator.tokenizer
        self.max_new_tokens, self.temperature = config.stage.max_new_tokens, calibration.rationale
        self.grammars = AnswerGrammars(self.tokenizer) if config.stage.constrained else None

    def __call__(self, batch: Batch, options: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
        """Of each sample the keys that PredictionRow documents: generated and, where held to its options, the rest."""
        end_id, grammars = self.collator.end_token_id, self.grammars
        states = grammars.begin(options, self.max_new_tokens) if grammars is not None else [None] * len(options)
        ids_BT = self.model.generate(batch, self.max_new_tokens, end_id, self.collator.pad_token_id, states)
        responses = []
        for ids_T, state in zip(ids_BT.tolist(), states, strict=True):
            ended = ids_T.index(end_id) if end_id in ids_T else len(ids_T)
            text = str(self.tokenizer.decode(ids_T[:ended], skip_special_tokens=True)).strip()
            response: dict[str, Any] = {"generated": text}
            if state is not None:
                response |= {"forced": state.forced, "corrected": state.corrected}
                if state.label_scores is not None:
                    response |= _describe_labels(state.label_scores, self.temperature)
            responses.append(response)
        return responses


class LabelChooser:
    """Takes the most likely option directly after the prompt, without a rationale."""

    def __init__(self, model: TextModel, collator: Collator, calibration: Calibration) -> None:
        assert collator.tokenizer is not None
        self.model, self.tokenizer, self.temperature = model, collator.tokenizer, calibration.answer
        self._labels: dict[tuple[str, ...], list[list[int]]] = {}

    def __call__(self, batch: Batch, options: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
        """Of each sample the keys that PredictionRow documents; ValueError for a sample without options."""
        if not all(options):
            raise ValueError("answers without rationale need samples with options; captions have none")
        labels = [self._tokenize(tuple(one)) for one in options]
        scores_BK = self.model.score_labels(batch, labels)
        responses = []
        for scores_K, one in zip(scores_BK.tolist(), options, strict=True):
            scores = scores_K[: len(one)]
            best = max(range(len(one)), key=scores.__getitem__)
            responses.append({"answer": one[best], **_describe_labels(scores, self.temperature)})
        return responses

    def _tokenize(self, options: tuple[str, ...]) -> list[list[int]]:
        if options not in self._labels:
            self._labels[options] = tokenize_labels(self.tokenizer, options).labels
        return self._labels[options]


def _describe_labels(scores: Sequence[float], temperature: float | None) -> dict[str, Any]:
    """Keys of a prediction row about its options, in their order."""
    return {
        "log_likelihoods": [round(score, _DIGITS) for score in scores],
        "probabilities": [round(float(value), _DIGITS) for value in scale_scores(scores, temperature)],
        "temperature": temperature,
    }
