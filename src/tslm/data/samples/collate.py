"""Collator from Examples to a Batch: tokenise, reserve slots, pad on the left, normalise the signals.

Special tokens: the begin token once, where the tokenizer has one, and the end token once, after the response. A
response is tokenised as a whole, with the space that separates it from the prompt. The tokens of a label are the end of
those of a response, so they are the ids that training supervises.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from tslm.answers.grammar import render_response
from tslm.batch import CONTEXT_SLOT, IGNORE_INDEX, SERIES_SLOT, TEXT_SLOT, Batch, Example, NightWindow
from tslm.config.schema import ModelConfig
from tslm.labels import LABEL_SETS
from tslm.nn.patch_encoder import check_num_patches, count_patches
from tslm.signals.normalize import normalize_channels, normalize_series, render_digits


@dataclass
class _Sequence:
    """One sample's positions before padding."""

    input_ids: list[int]
    slots: list[int]
    labels: list[int]
    series_seen: list[int]
    num_series: int = 0  # so far

    def add(self, ids: list[int], slot: int = TEXT_SLOT, supervised: bool = False) -> None:
        self.input_ids += ids
        self.slots += [slot] * len(ids)
        self.series_seen += [self.num_series] * len(ids)
        self.labels += ids if supervised else [IGNORE_INDEX] * len(ids)


class Collator:
    """Builds batches for training (with response) or generation (without)."""

    def __init__(
        self, config: ModelConfig, tokenizer: PreTrainedTokenizerBase | None, with_response: bool = True
    ) -> None:
        self.config, self.tokenizer, self.with_response = config, tokenizer, with_response
        self.has_context = config.context.kind != "none"

    @property
    def pad_token_id(self) -> int:
        """Id at masked positions and slots; it is never attended to as a word, nor supervised."""
        assert self.tokenizer is not None
        pad_id = self.tokenizer.pad_token_id
        return self.end_token_id if pad_id is None else pad_id

    @property
    def end_token_id(self) -> int:
        """Id of the token that closes a response."""
        assert self.tokenizer is not None
        return end_token_id(self.tokenizer)

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Batch of the examples in order; the classifier's batches carry no text."""
        batch = Batch(sample_ids=[example.sample_id for example in examples])
        if self.tokenizer is not None:
            self._add_text(batch, examples)
            if not self.with_response:
                batch.closings = [example.closings for example in examples]
            if self.config.kind.series_as != "digits":
                self._add_series(batch, examples)
        self._add_windows(batch, examples)
        batch.class_counts = self._count_classes(batch, examples)
        return batch.check()

    def _count_classes(self, batch: Batch, examples: Sequence[Example]) -> dict[str, int]:
        """Stages that the batch teaches: answers where it holds text, all scored epochs of its windows where not."""
        answers = LABEL_SETS[self.config.label_set].answers
        if self.tokenizer is not None:
            return dict(
                Counter(example.answer for example in examples if example.options == answers and example.answer)
            )
        assert batch.sleep_stage_idx_BW is not None
        scored = batch.sleep_stage_idx_BW[batch.sleep_stage_idx_BW != IGNORE_INDEX].tolist()
        return dict(Counter(answers[idx] for idx in scored))

    def _add_text(self, batch: Batch, examples: Sequence[Example]) -> None:
        sequences = [self._sequence(example) for example in examples]
        batch.input_ids_BT = _pad_left([sequence.input_ids for sequence in sequences], self.pad_token_id)
        batch.slot_BT = _pad_left([sequence.slots for sequence in sequences], TEXT_SLOT).to(torch.uint8)
        batch.series_seen_BT = _pad_left([sequence.series_seen for sequence in sequences], 0)
        batch.attention_mask_BT = _pad_left([[1] * len(sequence.slots) for sequence in sequences], 0).bool()
        if self.with_response:
            batch.labels_BT = _pad_left([sequence.labels for sequence in sequences], IGNORE_INDEX)

    def _sequence(self, example: Example) -> _Sequence:
        assert self.tokenizer is not None
        sequence = _Sequence([], [], [], [])
        if self.tokenizer.bos_token_id is not None:
            sequence.add([self.tokenizer.bos_token_id])
        sequence.add(self._tokenize(example.pre_prompt))
        series_as, pad_id = self.config.kind.series_as, self.pad_token_id
        for series in example.series:
            sequence.add(self._tokenize(series.text))
            if series_as == "digits":
                sequence.add(self._tokenize(render_digits(series.values_L, self.config.digits.num_values)))
            if series_as == "slots":
                sequence.add([pad_id] * self.config.count_series_tokens(len(series.values_L)), SERIES_SLOT)
            sequence.num_series += 1
        if series_as == "slots" and self.has_context and example.window is not None and example.reads_night:
            sequence.add([pad_id] * self.config.num_context_tokens, CONTEXT_SLOT)
        sequence.add(self._tokenize(example.post_prompt))
        if self.with_response:
            sequence.add(tokenize_response(self.tokenizer, example.response), supervised=True)
        return sequence

    def _tokenize(self, text: str) -> list[int]:
        assert self.tokenizer is not None
        return tokenize_text(self.tokenizer, text)

    def _add_series(self, batch: Batch, examples: Sequence[Example]) -> None:
        encoder = self.config.encoder
        values = []
        for example in examples:
            with _name_sample(example):
                values += [
                    normalize_series(series.values_L, self.config.normalization, series.reference)
                    for series in example.series
                ]
        if not values:
            return
        longest = max(series.shape[-1] for series in values)
        check_num_patches(count_patches(longest, encoder.patch_size), encoder.max_patches)
        padded_SL = np.zeros((len(values), *values[0].shape[:-1], longest), dtype=np.float32)
        for row, series_values in zip(padded_SL, values, strict=True):
            row[..., : series_values.shape[-1]] = series_values
        batch.series_SL = torch.from_numpy(padded_SL)
        batch.series_lengths_S = torch.tensor([series.shape[-1] for series in values])
        batch.series_row_S = torch.tensor([row for row, example in enumerate(examples) for _ in example.series])
        batch.series_channel_S = torch.tensor([series.channel_idx for example in examples for series in example.series])

    def _add_windows(self, batch: Batch, examples: Sequence[Example]) -> None:
        windows = [example.window for example in examples if example.window is not None]
        if not windows and self.tokenizer is None:
            raise ValueError("a model that writes no text reads night windows: it needs stage.task=night")
        if not windows:
            return
        if len(windows) != len(examples):
            raise ValueError("samples with and without a night window cannot share a batch")
        normalized = [
            self._normalize_window(example, window) for example, window in zip(examples, windows, strict=True)
        ]
        batch.window_BWCL = torch.from_numpy(np.stack(normalized))
        batch.epoch_mask_BW = torch.from_numpy(np.stack([window.epoch_mask_W for window in windows]))
        there = [[reference is not None for reference in window.references] for window in windows]
        batch.channel_mask_BC = torch.tensor(there)
        batch.sleep_stage_idx_BW = torch.from_numpy(np.stack([window.sleep_stage_idx_W for window in windows]))
        domains = [window.domain_idx for window in windows if window.domain_idx is not None]
        if domains:
            batch.domain_B = torch.tensor(domains)
        inputs = [window.inputs_WF for window in windows if window.inputs_WF is not None]
        if inputs:
            batch.inputs_BWF = torch.from_numpy(np.stack(inputs))
        targets = [window.target_WK for window in windows if window.target_WK is not None]
        if targets:
            batch.target_BWK = torch.from_numpy(np.stack(targets))
        batch.scored_idx_B = torch.tensor([window.scored_idx for window in windows])
        batch.reads_night_B = torch.tensor([example.reads_night for example in examples])

    def _normalize_window(self, example: Example, window: NightWindow) -> np.ndarray:
        assert window.values_WCL.shape[1] == len(window.references)
        with _name_sample(example):
            normalized_WCL = normalize_channels(window.values_WCL, self.config.normalization, window.references)
        normalized_WCL[~window.epoch_mask_W] = 0
        return normalized_WCL


@contextmanager
def _name_sample(example: Example) -> Iterator[None]:
    """Put the sample's name before the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{example.sample_id}: {error}") from error


def extend_prompts(batch: Batch, ids: Sequence[Sequence[int]], pad_token_id: int) -> Batch:
    """The batch with further text after each prompt, such as a given rationale.

    Args:
        batch: prompts without responses.
        ids: token ids to add, per sample; may be empty.
        pad_token_id: id at the masked positions.
    """
    assert batch.input_ids_BT is not None and batch.attention_mask_BT is not None
    assert batch.slot_BT is not None and batch.series_seen_BT is not None
    assert batch.labels_BT is None, "a batch for training has its responses"
    mask_BT, last_seen = batch.attention_mask_BT, batch.series_seen_BT[:, -1].tolist()

    def extend(tensor_BT: torch.Tensor, tails: Sequence[Sequence[int]], pad: int) -> torch.Tensor:
        rows = zip(tensor_BT, mask_BT, tails, strict=True)
        return _pad_left([torch.cat([row_T[real_T], row_T.new_tensor(tail)]) for row_T, real_T, tail in rows], pad)

    return replace(
        batch,
        input_ids_BT=extend(batch.input_ids_BT, ids, pad_token_id),
        slot_BT=extend(batch.slot_BT, [[TEXT_SLOT] * len(added) for added in ids], TEXT_SLOT),
        series_seen_BT=extend(
            batch.series_seen_BT, [[seen] * len(added) for seen, added in zip(last_seen, ids, strict=True)], 0
        ),
        attention_mask_BT=extend(mask_BT, [[True] * len(added) for added in ids], False),
    ).check()


def _pad_left(sequences: Sequence[Sequence[int] | torch.Tensor], value: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(
        [torch.as_tensor(sequence) for sequence in sequences],
        batch_first=True,
        padding_value=value,
        padding_side="left",
    )


@dataclass(frozen=True)
class LabelTokens:
    """A forced beginning, and what each label adds to it."""

    given: list[int]  # the rationale; empty where labels follow the prompt directly
    labels: list[list[int]]  # ` Answer: X` and the end token, one list an option; no list begins another


def tokenize_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of the text alone, without begin or end token."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def tokenize_response(tokenizer: PreTrainedTokenizerBase, response: str) -> list[int]:
    """Ids of a response after its prompt, with the end token."""
    return [*tokenize_text(tokenizer, f" {response}"), end_token_id(tokenizer)]


def tokenize_labels(
    tokenizer: PreTrainedTokenizerBase, options: Sequence[str], rationale: str | None = None
) -> LabelTokens:
    """Every option as the answer that closes a response.

    Args:
        tokenizer: of the language model.
        options: the labels.
        rationale: what stands before the answer; None or empty: nothing, the answer follows the prompt. The
            prompt stays as it is (one that ends in `Rationale:` too), as for training samples without rationale.
    """
    responses = [tokenize_response(tokenizer, render_response(rationale or "", option)) for option in options]
    if not rationale:
        return LabelTokens([], responses)
    alone = tokenize_text(tokenizer, f" {rationale.strip()}")
    num_given = min(count_shared([alone, response]) for response in responses)
    return LabelTokens(responses[0][:num_given], [response[num_given:] for response in responses])


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the token that closes a response."""
    return tokenizer.eos_token_id


def count_shared(sequences: Sequence[Sequence[int]]) -> int:
    """How many leading ids all sequences have in common."""
    count = 0
    for ids in zip(*sequences, strict=False):
        if len(set(ids)) > 1:
            break
        count += 1
    return count
