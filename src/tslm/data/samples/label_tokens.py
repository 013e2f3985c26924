"""Tokens of responses and labels: the one place that says which ids a model was taught to write.

A response is tokenised whole, with the space that parts it from the prompt, and closed by the end
token. A label's tokens are the tail of that, so they are the very ids that training supervises.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from tslm.answers.grammar import render_response


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
