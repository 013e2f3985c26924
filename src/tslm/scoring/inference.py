"""From a trained model to prediction rows: generated text, and stage probabilities of whole nights."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from tslm.answers import render_answer
from tslm.config import ModelConfig, RunConfig
from tslm.data.collate import Collator
from tslm.data.dataset import StageDataset, check_num_channels, check_timing, measure_references
from tslm.data.recordings import Recording
from tslm.labels import ANSWER_NAMES, LABEL_SETS
from tslm.models.classifier import Classifier
from tslm.models.text_model import TextModel
from tslm.scoring.predictions import PredictionRow
from tslm.signals.normalize import normalize_series


def generate_predictions(
    model: TextModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset: StageDataset,
    indices: Sequence[int],
    config: RunConfig,
    device: torch.device,
    show_progress: bool = True,
) -> Iterator[PredictionRow]:
    """Greedy responses to the samples `indices`, one prediction row each, in order.

    The raw text is kept as generated, up to the end token.
    """
    collator = Collator(config.model, tokenizer, with_response=False)
    batch_size = config.train.eval_batch_size
    model.eval()
    with tqdm(total=len(indices), desc="generate", unit="sample", disable=not show_progress) as bar:
        for first in range(0, len(indices), batch_size):
            chunk = list(indices[first : first + batch_size])
            examples = [dataset[idx] for idx in chunk]
            with torch.autocast(device.type, torch.bfloat16, enabled=config.train.precision == "bf16"):
                ids_BT = model.generate(
                    collator(examples).to(device),
                    config.stage.max_new_tokens,
                    [collator.end_token_id],
                    collator.pad_token_id,
                )
            for idx, example, ids_T in zip(chunk, examples, ids_BT.tolist(), strict=True):
                ended = ids_T.index(collator.end_token_id) if collator.end_token_id in ids_T else len(ids_T)
                yield {
                    "sample_id": example.sample_id,
                    **dataset.describe(idx),  # type: ignore[typeddict-item]
                    "truth": example.answer,
                    "options": list(example.options),
                    "generated": str(tokenizer.decode(ids_T[:ended], skip_special_tokens=True)).strip(),
                    "target": example.response,
                }
            bar.update(len(chunk))


def score_night(
    model: Classifier,
    recording: Recording,
    channels: Sequence[str],
    config: ModelConfig,
    device: torch.device,
    each_alone: bool = False,
) -> np.ndarray:
    """Stage probabilities of every epoch, (num_epochs, num_classes) float32, in the label set's order.

    The whole night is read at once; the context never crosses a gap in the recording. With `each_alone`
    the epoch-only head answers: an epoch's neighbours are not looked at.

    Raises:
        ValueError: other channels than the model reads, or epochs longer than its position table.
    """
    check_num_channels(channels, config)
    references = measure_references(recording, channels)
    normalized_ECL = np.stack(
        [
            normalize_series(recording.channels[name], config.normalization, reference)
            for name, reference in zip(channels, references, strict=True)
        ],
        axis=1,
    )
    gaps = np.flatnonzero(np.diff(recording.onset_s) > 1.5 * recording.epoch_s) + 1
    model.eval()
    probabilities = []
    for run_ECL in np.split(normalized_ECL, gaps):
        series = torch.from_numpy(run_ECL).to(device)
        with torch.inference_mode():
            alone, in_context = model.logits(series[None], torch.ones(1, len(series), dtype=torch.bool, device=device))
            logits_BEK = alone if each_alone else in_context
        probabilities.append(logits_BEK[0].softmax(-1).cpu().numpy())
    return np.concatenate(probabilities)


def classify_nights(
    model: Classifier,
    recordings: Sequence[Recording],
    config: RunConfig,
    device: torch.device,
    each_alone: bool = False,
) -> Iterator[PredictionRow]:
    """Prediction rows of the classifier for every epoch that its label set can answer."""
    label_set = LABEL_SETS[config.model.label_set]
    check_timing(recordings, config.model)
    for recording in recordings:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.train.precision == "bf16"):
            probabilities_EK = score_night(model, recording, config.stage.channels, config.model, device, each_alone)
        for epoch, (stage, probability_K) in enumerate(zip(recording.sleep_stages, probabilities_EK, strict=True)):
            if label_set.index(stage) < 0:
                continue
            yield {
                "sample_id": f"{recording.recording}:{epoch}",
                "recording": recording.recording,
                "epoch_idx": epoch,
                "onset_s": float(recording.onset_s[epoch]),
                "truth": ANSWER_NAMES[stage],
                "options": list(label_set.answers),
                "generated": render_answer(label_set.answers[int(probability_K.argmax())]),
                "classifier_probabilities": [round(float(value), 6) for value in probability_K],
                "leaky": recording.is_leaky,
            }
