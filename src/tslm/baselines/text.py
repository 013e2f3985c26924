"""Language models without an encoder: one reads the series as digits, one reads measurements in words.

Neither is trained for this task. The mean log-likelihood of each label over some training epochs is subtracted, which
needs no truth; otherwise the length and frequency of a label's words decide nearly every answer (Zhao et al. 2021,
"Calibrate before use", arXiv 2102.09690; the mean over inputs: Zhou et al. 2024, "Batch calibration", arXiv 2309.17249,
there over the test epochs).
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from tslm.baselines.inputs import BaselineInputs, Scorer
from tslm.batch import Example
from tslm.config.compose import compose_config
from tslm.config.schema import DigitsConfig, RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.collate import Collator
from tslm.data.samples.recordings_dataset import SleepDataset
from tslm.evidence.text.facts_line import render_facts_line
from tslm.evidence.words import epoch_facts
from tslm.labels import species_group
from tslm.models import build_text_model, build_tokenizer
from tslm.models.llm.backbone import count_positions
from tslm.models.text_model import TextModel
from tslm.predictions.calibration import scale_scores
from tslm.predictions.rows import PredictionRow, pick_likeliest
from tslm.predictions.stager import build_stager
from tslm.prompts import render_staging_question

NUM_PRIOR_NIGHTS, NUM_PRIOR_EPOCHS = 4, 16  # for the mean log-likelihood of each label
ROWS_AT_ONCE = 16  # answered before they are saved
_CURRICULUM_STAGE = "stage4_sleep_cot"
_DIGITS = 6


class _QuestionDataset(SleepDataset):
    """Epochs as questions to an untrained language model: the series, or its evidence in words."""

    def __init__(self, recordings: list[Recording], config: RunConfig, in_words: bool, with_rationale: bool) -> None:
        super().__init__(recordings, config)
        self.in_words, self.with_rationale = in_words, with_rationale

    def build_example(self, night: int, epoch: int) -> Example:
        example, recording = super().build_example(night, epoch), self.recordings[night]
        prompt = render_staging_question(self.label_set.answers, recording.epoch_s, self.with_rationale)
        example = replace(example, pre_prompt=prompt.pre_prompt, post_prompt=prompt.post_prompt)
        if not self.in_words:
            return example
        facts = epoch_facts(self.read_evidence(night), epoch)
        line = render_facts_line(facts, species_group(recording.species))
        return replace(example, pre_prompt=f"{prompt.pre_prompt}\n{line}", series=())


def fit_text_digits(inputs: BaselineInputs) -> Scorer:
    """The EEG as digits (`tslm.signals.normalize.render_digits`), its mean and standard deviation in words."""
    return _fit(inputs, in_words=False)


def fit_text_evidence(inputs: BaselineInputs) -> Scorer:
    """The measured evidence in words; no series."""
    return _fit(inputs, in_words=True)


def _fit(inputs: BaselineInputs, in_words: bool) -> Scorer:
    config, text = _configure(inputs), inputs.text
    model = build_text_model(config).requires_grad_(False).eval().to(text.device)
    stager = build_stager(model, config)
    nights = list(islice(inputs.train.read(), NUM_PRIOR_NIGHTS))
    known = _QuestionDataset(nights, config, in_words, text.free_answers)
    if not len(known):
        raise ValueError(f"{inputs.train.cohort_dir} has no scored epoch in split {inputs.train.split!r}")
    _check_length(model, known[0], text.free_answers, config)
    prior_K = None
    if not text.free_answers:
        rows = list(stager.answer(known, stager.list_units(known, NUM_PRIOR_EPOCHS), explain=False))
        prior_K = np.mean([row["log_likelihoods"] for row in rows], axis=0)

    def answer() -> Iterator[PredictionRow]:
        for recording in inputs.test.read():
            questions = _QuestionDataset([recording], config, in_words, text.free_answers)
            indices = [
                idx
                for idx, (_, epoch) in enumerate(questions.samples)
                if recording.name_epoch(epoch) in inputs.sample_ids
            ]
            for row in stager.answer(questions, indices, text.free_answers, ROWS_AT_ONCE):
                yield row if prior_K is None else _correct(row, prior_K)

    return answer


def _configure(inputs: BaselineInputs) -> RunConfig:
    text = inputs.text
    config = compose_config(_CURRICULUM_STAGE, llm=text.llm, model="text_only")
    digits = DigitsConfig(text.num_digit_values) if text.num_digit_values else config.model.digits
    return replace(
        config,
        seed=inputs.seed,
        model=replace(config.model, label_set=inputs.label_set.name, digits=digits),
        stage=replace(
            config.stage,
            channel=inputs.test.channels[0],
            extra_channels=(),
            constrained=False,
            max_new_tokens=text.max_new_tokens or config.stage.max_new_tokens,
        ),
        train=replace(config.train, eval_batch_size=text.batch_size or config.train.eval_batch_size),
    )


def _correct(row: PredictionRow, prior_K: np.ndarray) -> PredictionRow:
    """The row with `prior_K` subtracted from the scores of its labels; `log_likelihoods` stay uncorrected."""
    scores_K = np.array(row["log_likelihoods"]) - prior_K
    probabilities = [round(float(value), _DIGITS) for value in scale_scores(scores_K, None)]
    answer = row["options"][int(pick_likeliest(scores_K[None])[0])]
    return {**row, "answer": answer, "probabilities": probabilities}


def _check_length(model: TextModel, example: Example, with_rationale: bool, config: RunConfig) -> None:
    """ValueError where a prompt is longer than the language model can read."""
    longest = count_positions(model.causal_lm)
    collate = Collator(config.model, build_tokenizer(config), with_response=False)
    length = collate([example]).num_positions + (config.stage.max_new_tokens if with_rationale else 0)
    if longest is not None and length > longest:
        raise ValueError(
            f"a prompt takes {length} positions and {config.llm.name} reads {longest}; "
            f"write fewer than {config.model.digits.num_values} values per epoch with --digits"
        )
