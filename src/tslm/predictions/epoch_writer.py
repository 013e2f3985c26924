"""Epochs, or samples of a corpus, answered by a language model: chosen among the options, or after a rationale."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from tslm.batch import Batch
from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.collate import Collator, LabelTokens, extend_prompts, tokenize_labels
from tslm.data.samples.dataset import TaskDataset, build_dataset
from tslm.data.samples.night_windows import choose_epochs
from tslm.data.samples.recordings_dataset import SleepDataset
from tslm.data.samples.sampling import sort_by_prompt, spread_subset
from tslm.models import build_tokenizer
from tslm.models.decoding.decode import Sampling
from tslm.models.decoding.grammar import AnswerGrammars, AnswerState
from tslm.models.text_model import TextModel
from tslm.predictions.calibration import Calibration, fit_row_temperature, scale_scores
from tslm.predictions.night_scorer import Source, open_autocast
from tslm.predictions.rows import LANGUAGE_MODEL, PredictionRow, pick_likeliest
from tslm.progress_bar import progress_bar
from tslm.seeds import hash_seed

_DIGITS = 6
Responses = list[dict[str, Any]]


@dataclass
class EpochWriter:
    """A language model: it reads a prompt for each epoch (or sample) and chooses an answer or writes a response."""

    model: TextModel
    config: RunConfig
    calibration: Calibration = Calibration()
    each_alone: bool = False
    unscored: str = "none"  # of UNSCORED

    def __post_init__(self) -> None:
        if self.each_alone:
            raise ValueError("each_alone is for classifiers; a language model reads what it was trained with")

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.model.parameters()).device

    def read_split(self, split: str) -> TaskDataset:
        """The samples of a split."""
        return build_dataset(self.config, split, self.unscored)

    def list_units(self, source: Source, num_samples: int = 0) -> list[int]:
        """Indices of `num_samples` samples (0: all), spread evenly over the set."""
        return list(spread_subset(self._open(source), num_samples).indices)

    def list_blocks(self, source: Source, units: Sequence[int], num_batches: int = 1) -> list[list[int]]:
        """Samples in the order of `answer`, longest prompts first, `num_batches` batches a block."""
        order = sort_by_prompt(self._open(source), units, self.config.model)
        size = num_batches * self.config.train.eval_batch_size
        return [order[first : first + size] for first in range(0, len(order), size)]

    def answer(
        self,
        source: Source,
        units: Sequence[int] | None = None,
        explain: bool = True,
        rows_at_once: int = 0,
        show_progress: bool = False,
    ) -> Iterator[PredictionRow]:
        """Rows of a recording's epochs, or of some samples; see `Stager.answer`.

        Samples are answered in batches of similar length, longest prompts first.
        """
        dataset = self._open(source)
        if units is None:
            units = self._list_asked(source, dataset)

        def respond(batch: Batch, options: Sequence[Sequence[str]], _units: Sequence[int]) -> Responses:
            return self._explain(batch, options) if explain else self._choose(batch, options, [""] * len(options))

        with progress_bar(total=len(units), desc="generate", unit="sample", disable=not show_progress) as bar:
            size = rows_at_once or max(1, len(units))
            for first in range(0, len(units), size):
                yield from self._answer(dataset, units[first : first + size], respond, bar)

    def rewrite(
        self,
        source: Source,
        units: Sequence[int],
        attempt: int,
        temperature: float,
        show_progress: bool = False,
        top_p: float = 1.0,
    ) -> list[PredictionRow]:
        """Rows as `answer` gives them, with sampled texts.

        A text depends on the seed of the config, its sample and the attempt alone, not on the batch.

        Args:
            source: as for `answer`.
            units: the samples.
            attempt: number of the text among those of a sample.
            temperature: of the sampling, above 0.
            show_progress: whether to show a progress bar.
            top_p: as of `Sampling`.
        """

        def respond(batch: Batch, options: Sequence[Sequence[str]], _units: Sequence[int]) -> Responses:
            seeds = [hash_seed(self.config.seed, sample_id, "attempt", attempt) for sample_id in batch.sample_ids]
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            return self._explain(batch, options, Sampling(temperature, generators, top_p))

        with progress_bar(total=len(units), desc=f"text {attempt}", unit="sample", disable=not show_progress) as bar:
            return self._answer(self._open(source), units, respond, bar)

    def answer_after(
        self, source: Source, rationales: Mapping[int, str], show_progress: bool = False
    ) -> Iterator[PredictionRow]:
        """Rows of samples whose rationale is given, in their order: the most likely option after it.

        Args:
            source: as for `answer`.
            rationales: index of a sample -> its rationale, without the answer; empty: the answer follows the prompt.
            show_progress: whether a bar is shown.
        """

        def respond(batch: Batch, options: Sequence[Sequence[str]], units: Sequence[int]) -> Responses:
            return self._choose(batch, options, [rationales[idx] for idx in units])

        with progress_bar(total=len(rationales), desc="answer", unit="sample", disable=not show_progress) as bar:
            yield from self._answer(self._open(source), list(rationales), respond, bar)

    def score(self, recording: Recording) -> np.ndarray:
        """Probabilities of every epoch, (num_epochs, num_classes), chosen without a rationale."""
        rows = self.answer(recording, range(recording.num_epochs), explain=False)
        return np.array([row["probabilities"] for row in rows], dtype=np.float32)

    def write(
        self,
        batch: Batch,
        options: Sequence[Sequence[str]],
        max_new_tokens: int | None = None,
        constrained: bool | None = None,
        sampling: Sampling | None = None,
    ) -> tuple[Tensor, list[AnswerState | None]]:
        """Responses to a batch of prompts: token ids (B, <= max_new_tokens), and the state of each grammar.

        Args:
            batch: on the model's device.
            options: of each sample; empty: free text.
            max_new_tokens: None: the checkpoint's setting.
            constrained: whether each response ends in one of its options; None: the checkpoint's setting.
            sampling: None: the most likely tokens.
        """
        stage = self.config.stage
        limit = max_new_tokens or stage.max_new_tokens
        states: list[AnswerState | None] = [None] * len(options)
        if stage.constrained if constrained is None else constrained:
            states = self._grammars.begin(options, limit, batch.closings)
        collator = self._collator
        with open_autocast(self.device, self.config):
            ids_BT = self.model.generate(batch, limit, collator.end_token_id, collator.pad_token_id, states, sampling)
        return ids_BT, states

    def score_options(self, batch: Batch, options: Sequence[Sequence[str]], rationales: Sequence[str] = ()) -> Tensor:
        """Log-likelihood of each option, (B, K) float32; -inf beyond a sample's options.

        Args:
            batch: on the model's device.
            options: of each sample.
            rationales: of each sample, what stands before the option; empty: it follows the prompt directly.

        Raises:
            ValueError: a score is not finite.
        """
        given = rationales or [""] * len(options)
        tokens = [self._tokenize_options(tuple(one), text) for one, text in zip(options, given, strict=True)]
        if any(given):
            batch = extend_prompts(batch, [one.given for one in tokens], self._collator.pad_token_id)
        with open_autocast(self.device, self.config):
            scores_BK = self.model.score_labels(batch, [one.labels for one in tokens])
        for scores_K, one in zip(scores_BK.tolist(), options, strict=True):
            _pick_option(scores_K[: len(one)])  # where a score is not finite, no answer is the likeliest
        return scores_BK

    def fit_calibration(self, show_progress: bool = True) -> Calibration:
        """Temperatures of answers directly after the prompt, and after a generated rationale."""
        plain = replace(self, calibration=Calibration(), unscored="none")
        dataset = plain.read_split("val")
        units = self.list_units(dataset, self.config.stage.num_calibration_samples)
        temperatures = []
        for explain in (False, True):
            rows = list(plain.answer(dataset, units, explain, show_progress=show_progress))
            scored = [row for row in rows if row.get("log_likelihoods")]
            temperatures.append(fit_row_temperature(scored, [row["log_likelihoods"] for row in scored]))
        return Calibration(answer=temperatures[0], rationale=temperatures[1])

    def average_probabilities(self) -> None:
        """None: a writer answers only some of the epochs."""

    def _answer(
        self,
        dataset: TaskDataset,
        units: Sequence[int],
        respond: Callable[[Batch, Sequence[Sequence[str]], Sequence[int]], Responses],
        bar: tqdm,
    ) -> list[PredictionRow]:
        self.model.eval()
        order, rows = sort_by_prompt(dataset, units, self.config.model), dict[int, PredictionRow]()
        batch_size = self.config.train.eval_batch_size
        for first in range(0, len(order), batch_size):
            chunk = order[first : first + batch_size]
            examples = [dataset[idx] for idx in chunk]
            batch = self._collator(examples).to(self.device)
            options = [example.options for example in examples]
            responses = respond(batch, options, chunk)
            for idx, example, response in zip(chunk, examples, responses, strict=True):
                rows[idx] = {
                    "system": name_writer(self.config.stage.inputs),
                    "sample_id": example.sample_id,
                    **dataset.describe(idx),  # type: ignore[typeddict-item]
                    "truth": example.answer or None,
                    "options": list(example.options),
                    **response,
                    "target": example.response,
                }
            bar.update(len(chunk))
        return [rows[idx] for idx in units]

    def _explain(self, batch: Batch, options: Sequence[Sequence[str]], sampling: Sampling | None = None) -> Responses:
        """Keys of each row about the response: its text and, if constrained, the scores of the options."""
        ids_BT, states = self.write(batch, options, sampling=sampling)
        end_id, responses = self._collator.end_token_id, []
        for ids_T, state in zip(ids_BT.tolist(), states, strict=True):
            ended = ids_T.index(end_id) if end_id in ids_T else len(ids_T)
            text = str(self._tokenizer.decode(ids_T[:ended], skip_special_tokens=True)).strip()
            response: dict[str, Any] = {"generated": text}
            if state is not None:
                response |= {"forced": state.forced, "corrected": state.corrected}
                if state.label_scores is not None:
                    _pick_option(state.label_scores)
                    response |= _describe_scores(state.label_scores, self.calibration.rationale)
            responses.append(response)
        return responses

    def _choose(self, batch: Batch, options: Sequence[Sequence[str]], rationales: Sequence[str]) -> Responses:
        """Keys of each row about the most likely option after a given rationale, or directly after the prompt."""
        if not all(options):
            raise ValueError("answers without a rationale need samples with options; captions have none")
        responses = []
        scores_BK = self.score_options(batch, options, rationales).tolist()
        for scores_K, one, text in zip(scores_BK, options, rationales, strict=True):
            scores = scores_K[: len(one)]
            temperature = self.calibration.rationale if text else self.calibration.answer
            responses.append({"answer": one[_pick_option(scores)], **_describe_scores(scores, temperature)})
        return responses

    def _open(self, source: Source) -> TaskDataset:
        """The samples of a source; of recordings, every epoch, scored or not."""
        if isinstance(source, Recording):
            return SleepDataset([source], self.config, "all")
        return cast(TaskDataset, source)

    def _list_asked(self, source: Source, dataset: TaskDataset) -> list[int]:
        """Indices of the samples that are answered where none are named; a split holds no others."""
        class_idx = getattr(dataset, "class_idx", np.zeros(len(dataset)))
        is_recording = isinstance(source, Recording)
        return choose_epochs(class_idx, self.unscored if is_recording or self.unscored == "none" else "all").tolist()

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        tokenizer = build_tokenizer(self.config)
        assert tokenizer is not None
        return tokenizer

    @cached_property
    def _collator(self) -> Collator:
        return Collator(self.config.model, self._tokenizer, with_response=False)

    @cached_property
    def _grammars(self) -> AnswerGrammars:
        return AnswerGrammars(self._tokenizer)

    def _tokenize_options(self, options: tuple[str, ...], rationale: str) -> LabelTokens:
        if rationale:
            return tokenize_labels(self._tokenizer, options, rationale)
        if options not in self._option_tokens:
            self._option_tokens[options] = tokenize_labels(self._tokenizer, options)
        return self._option_tokens[options]

    @cached_property
    def _option_tokens(self) -> dict[tuple[str, ...], LabelTokens]:
        return {}


def name_writer(inputs: str) -> str:
    """Name of the system that a language model is with these inputs: `language_model`, `language_model:facts` ..."""
    return LANGUAGE_MODEL if inputs == "all" else f"{LANGUAGE_MODEL}:{inputs}"


def _pick_option(scores: Sequence[float]) -> int:
    """Position of the likeliest option; ValueError where a score is not finite."""
    return int(pick_likeliest(np.array([scores]))[0])


def _describe_scores(scores: Sequence[float], temperature: float | None) -> dict[str, Any]:
    """Keys of a row about its options, in their order."""
    return {
        "log_likelihoods": [round(score, _DIGITS) for score in scores],
        "probabilities": [round(float(value), _DIGITS) for value in scale_scores(scores, temperature)],
        "temperature": temperature,
    }
