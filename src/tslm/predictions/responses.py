"""Responses of a language model to a batch of prompts: written out with a rationale, or an option chosen at once."""

from collections.abc import Sequence
from typing import Any

from tslm.answers.grammar import render_answer
from tslm.batch import Batch
from tslm.config.schema import RunConfig
from tslm.data.samples.collate import Collator
from tslm.data.samples.label_tokens import tokenize_labels
from tslm.models.decoding.grammar import AnswerGrammars
from tslm.models.text_model import TextModel
from tslm.predictions.calibration import Calibration, scale_scores

_DIGITS = 6


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
                    response |= describe_labels(state.label_scores, self.temperature)
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
            responses.append({"generated": render_answer(one[best]), **describe_labels(scores, self.temperature)})
        return responses

    def _tokenize(self, options: tuple[str, ...]) -> list[list[int]]:
        if options not in self._labels:
            self._labels[options] = tokenize_labels(self.tokenizer, options).labels
        return self._labels[options]


def describe_labels(scores: Sequence[float], temperature: float | None) -> dict[str, Any]:
    """What a prediction's row tells of its options, in their order."""
    return {
        "label_log_likelihoods": [round(score, _DIGITS) for score in scores],
        "label_probabilities": [round(float(value), _DIGITS) for value in scale_scores(scores, temperature)],
        "label_temperature": temperature,
    }
