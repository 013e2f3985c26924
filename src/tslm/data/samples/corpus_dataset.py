"""Datasets of corpora: questions, captions and rationales, each with its own series."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tslm.answers.grammar import render_response
from tslm.batch import Example, Reference, Series
from tslm.config.schema import RunConfig
from tslm.data.prepared.corpora import Corpus, CorpusSample
from tslm.evidence.text.facts_line import FACTS_PREFIX
from tslm.labels import LABEL_SETS, SleepStage
from tslm.prompts import STYLES, Prompt, render_series_text, render_sleep_prompt
from tslm.signals.normalize import measure_reference

_UNSET_SCALE = 1.0
_REFERENCE_EPOCHS = 500


class CorpusDataset:
    """Samples of a corpus: curriculum stages 1 to 3 and 5."""

    sleep_stages: tuple[SleepStage, ...] = ()
    style: str = STYLES[0]  # of the line before a series; prompts of sleep alone have another

    def __init__(
        self,
        samples: Sequence[CorpusSample],
        render_prompt: Callable[[CorpusSample], Prompt],
        state_facts: Callable[[CorpusSample], str] | None = None,
        list_evidence: Callable[[CorpusSample], dict[str, float]] | None = None,
    ) -> None:
        """Read samples one by one.

        Args:
            samples: of one split.
            render_prompt: text around the series of a sample.
            state_facts: the prompt's line of what was measured in a sample; None: no such line.
            list_evidence: measured figures of a sample for the predictions file; None: none.
        """
        self.samples, self.render_prompt = samples, render_prompt
        self.state_facts, self.list_evidence = state_facts, list_evidence

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, idx: int) -> Example:
        sample = self.samples[idx]
        prompt = self.render_prompt(sample)
        return Example(
            sample_id=sample.sample_id,
            pre_prompt=prompt.pre_prompt,
            series=tuple(
                Series(
                    values_L,
                    render_series_text(name, float(values_L.mean()), float(values_L.std()), sample.unit, self.style),
                    Reference(float(values_L.std()) or _UNSET_SCALE),
                )
                for name, values_L in zip(sample.series_names, sample.series, strict=True)
            ),
            post_prompt=self._render_facts(sample) + prompt.post_prompt,
            response=render_response(sample.rationale, sample.answer),
            answer=sample.answer,
            options=sample.options,
        )

    def describe(self, idx: int) -> dict[str, Any]:
        """The question, and the measured evidence where the task has some."""
        sample = self.samples[idx]
        evidence = self.list_evidence(sample) if self.list_evidence else {}
        return {"question": sample.question, **({"evidence": evidence} if evidence else {})}

    def count_sample_classes(self) -> np.ndarray:
        """(num_samples, 0): the answers are no classes."""
        return np.zeros((len(self.samples), 0), dtype=np.int64)

    def _render_facts(self, sample: CorpusSample) -> str:
        return f"\n{FACTS_PREFIX}{self.state_facts(sample)}." if self.state_facts else ""


class SleepCotDataset(CorpusDataset):
    """Epochs with published rationales and no night around them; only those that the label set can answer.

    The reference is measured over the split, as the recordings of these epochs are unknown.
    """

    def __init__(self, corpus: Corpus, config: RunConfig) -> None:
        self.sleep_stages = LABEL_SETS[config.model.label_set].sleep_stages
        answers = LABEL_SETS[config.model.label_set].answers
        corpus_answers, self.style = corpus.answers, config.stage.prompt_style
        kept = [idx for idx, answer in enumerate(corpus_answers) if answer in answers]
        super().__init__(corpus.take(kept), lambda _sample: render_sleep_prompt(answers, style=self.style))
        self.answers = answers
        self.class_idx = np.array([answers.index(corpus_answers[idx]) for idx in kept], dtype=np.int64)
        spread = range(0, len(kept), max(1, len(kept) // _REFERENCE_EPOCHS))
        epochs = [self.samples[idx].series[0] for idx in spread]
        self.reference = measure_reference(np.stack(epochs)) if epochs else Reference()

    def __getitem__(self, idx: int) -> Example:
        example = super().__getitem__(idx)
        series = tuple(replace(one, reference=self.reference) for one in example.series)
        return replace(example, series=series, options=self.answers)

    def count_sample_classes(self) -> np.ndarray:
        """(num_samples, num_classes): the one answer."""
        return one_hot(self.class_idx, len(self.sleep_stages))


def one_hot(class_idx: np.ndarray, num_classes: int) -> np.ndarray:
    """(num_samples, num_classes) int64; without classes no column."""
    return (class_idx[:, None] == np.arange(num_classes)).astype(np.int64)
