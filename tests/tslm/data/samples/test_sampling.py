from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.factories.small import AASM, collate, sleep_dataset, small_config, small_recording, small_sample
from tslm.config.schema import RunConfig
from tslm.data.samples.collate import Collator
from tslm.data.samples.corpus_dataset import CorpusDataset
from tslm.data.samples.recordings_dataset import NightDataset, SleepDataset
from tslm.data.samples.sampling import TrainBatches, bucket_by_length, estimate_length, sort_by_prompt
from tslm.models import build_tokenizer
from tslm.prompts import render_ecg_prompt

LENGTHS = np.random.default_rng(0).integers(10, 400, 103).tolist()


def bucket(seed: int, batch_size: int = 4, pool_batches: int = 8) -> list[list[int]]:
    everyone = range(len(LENGTHS))
    return bucket_by_length(everyone, LENGTHS, batch_size, pool_batches, np.random.default_rng(seed))


def count_padding(batches: list[list[int]]) -> int:
    return sum(
        max(LENGTHS[idx] for idx in batch) * len(batch) - sum(LENGTHS[idx] for idx in batch) for batch in batches
    )


def test_buckets_hold_every_draw_once_in_an_order_of_their_own() -> None:
    first, again, other = bucket(1), bucket(1), bucket(2)
    assert sorted(sum(first, [])) == list(range(103))
    assert first == again != other


def test_buckets_pad_less_and_do_not_go_from_short_to_long() -> None:
    plain = [list(range(first, min(103, first + 4))) for first in range(0, 103, 4)]
    assert count_padding(bucket(1)) < 0.3 * count_padding(plain)
    means = [np.mean([LENGTHS[idx] for idx in batch]) for batch in bucket(1)[:8]]
    assert means != sorted(means)


def test_a_batch_that_is_not_full_stays_last() -> None:
    batches = [sorted(LENGTHS[idx] for idx in batch) for batch in bucket(3, pool_batches=100)]
    assert [len(batch) for batch in batches] == [4] * 25 + [3]
    assert batches[-1] == sorted(LENGTHS)[-3:]


def train_batches(config: RunConfig, dataset: Any, process: int = 0, num_processes: int = 1) -> TrainBatches:
    return TrainBatches(dataset, Collator(config.model, build_tokenizer(config)), config, process, num_processes)


@pytest.mark.parametrize("sampling", ["balanced", "natural"])
def test_bucketing_changes_the_order_of_what_is_drawn_and_nothing_else(sampling: str, tiny_llm: Path) -> None:
    def draw(bucket_batches: int) -> list[int]:
        changes = {"stage__sampling": sampling, "stage__num_train_samples": 9, "train__bucket_batches": bucket_batches}
        config = small_config(tiny_llm, **changes)
        return sum(train_batches(config, sleep_dataset(config)).draw_pass(1), [])

    assert sorted(draw(3)) == sorted(draw(0))


def test_a_pass_is_drawn_by_seed_and_number(tiny_llm: Path) -> None:
    config = small_config(tiny_llm)
    data = train_batches(config, sleep_dataset(config))
    assert data.draw_pass(1) == data.draw_pass(1) != data.draw_pass(2)
    other = replace(config, seed=1)
    assert train_batches(other, sleep_dataset(config)).draw_pass(1) != data.draw_pass(1)


@pytest.mark.parametrize("num_processes", [1, 2, 3])
@pytest.mark.parametrize("sampling", ["balanced", "natural"])
def test_processes_share_each_batch_and_see_every_draw_once(sampling: str, num_processes: int, tiny_llm: Path) -> None:
    config = small_config(tiny_llm, stage__sampling=sampling)
    dataset = sleep_dataset(config, num_epochs=11)
    shares = [train_batches(config, dataset, process, num_processes) for process in range(num_processes)]
    drawn = shares[0].draw_pass(2)
    passes = [list(share.read_pass(2)) for share in shares]
    assert {len(one) for one in passes} == {len(drawn)} == {len(shares[0])}
    for shared, *parts in zip(drawn, *passes, strict=True):
        seen = [sample_id for part in parts if not part.is_filler for sample_id in part.sample_ids]
        assert sorted(seen) == sorted(dataset[idx].sample_id for idx in shared)
    fillers = [part for one in passes for part in one if part.is_filler]
    assert len(fillers) == max(0, num_processes - len(drawn[-1]))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_pass_read_from_the_middle_is_the_rest_of_it_augmentation_included(num_workers: int) -> None:
    config = small_config(model__name="classifier", train__num_workers=num_workers)
    dataset = NightDataset([small_recording(num_epochs=20)], config, augmented=True)
    data = train_batches(config, dataset)
    whole, rest, other = (list(data.read_pass(*which)) for which in ((1,), (1, 2), (2,)))
    assert [batch.sample_ids for batch in rest] == [batch.sample_ids for batch in whole[2:]]
    for one, again in zip(whole[2:], rest, strict=True):
        assert torch.equal(one.window_BWCL, again.window_BWCL)  # type: ignore[arg-type]
    assert not all(
        torch.equal(a.window_BWCL, b.window_BWCL)  # type: ignore[arg-type]
        for a, b in zip(whole, other, strict=True)
        if a.window_BWCL.shape == b.window_BWCL.shape  # type: ignore[union-attr]
    )


def test_two_processes_augment_a_sample_as_one_does() -> None:
    config = small_config(model__name="classifier", train__batch_size=4)
    halves = small_config(model__name="classifier", train__batch_size=2)
    dataset = NightDataset([small_recording(num_epochs=20)], config, augmented=True)

    def read(*shares: TrainBatches) -> dict[str, torch.Tensor]:
        batches = [batch for share in shares for batch in share.read_pass(1) if not batch.is_filler]
        return {
            sample_id: window
            for batch in batches
            for sample_id, window in zip(batch.sample_ids, batch.window_BWCL, strict=True)  # type: ignore[arg-type]
        }

    one = read(train_batches(config, dataset))
    two = read(*(train_batches(halves, dataset, process, 2) for process in range(2)))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_batches_count_the_classes_that_they_teach(tiny_llm: Path) -> None:
    config = small_config(tiny_llm)
    stages = [AASM[0]] * 4 + [AASM[4]] * 2
    counts = [
        batch.class_counts for batch in train_batches(config, sleep_dataset(config, sleep_stages=stages)).read_pass(1)
    ]
    assert sum((Counter(count) for count in counts), Counter()) == {"Wake": 4, "REM sleep": 2}
    questions = CorpusDataset(
        [small_sample(idx) for idx in range(4)],
        lambda sample: render_ecg_prompt(sample.question, sample.options),
    )
    assert all(not batch.class_counts for batch in train_batches(config, questions).read_pass(1))
    nights = small_config(model__name="classifier")
    dataset = NightDataset([small_recording(num_epochs=5)], nights)
    (batch,) = train_batches(nights, dataset).read_pass(1)
    assert sum(batch.class_counts.values()) == int((batch.sleep_stage_idx_BW >= 0).sum())  # type: ignore[operator, union-attr]


@pytest.mark.parametrize("model", ["soft_prompt", "classifier"])
def test_what_is_oversampled_is_counted_more_often(model: str, tiny_llm: Path) -> None:
    def count_rem(**changes: Any) -> float:
        config = small_config(tiny_llm, model__name=model, stage__num_train_samples=400, **changes)
        recording = small_recording(sleep_stages=([AASM[2]] * 8 + [AASM[4]] * 2) * 5)
        dataset: Any = (SleepDataset if config.writes_text else NightDataset)([recording], config)
        data = TrainBatches(dataset, Collator(config.model, build_tokenizer(config)), config)
        counts = sum((Counter(batch.class_counts) for batch in data.read_pass(1)), Counter())
        return counts["REM sleep"] / counts.total()

    natural, tripled = count_rem(), count_rem(stage__oversample={"REM": 3.0})
    assert natural == pytest.approx(0.2, abs=0.03)
    expected = 0.6 / 1.4 if model == "soft_prompt" else 0.26  # a window of five epochs holds other stages, too
    assert tripled == pytest.approx(expected, abs=0.06)


def test_hard_samples_are_drawn_more_by_all_processes_alike(tiny_llm: Path) -> None:
    config = small_config(tiny_llm, stage__hard_examples=1.0, stage__num_train_samples=1000)
    dataset = sleep_dataset(config, num_epochs=10)
    one, two = (train_batches(config, dataset, process, 2) for process in range(2))
    before = one.draw_pass(2)
    unseen_N, never_N = torch.full((10,), torch.nan, dtype=torch.float64), torch.full((10,), -1)
    known_N = torch.tensor([1.0] * 8 + [2.0, torch.nan], dtype=torch.float64)  # the mean is 10 / 9
    for data in (one, two):
        data.load_state({"known": known_N, "seen": unseen_N, "step": never_N})
    assert one.draw_pass(2) == two.draw_pass(2) != before
    drawn = np.concatenate([np.bincount(sum(one.draw_pass(number), []), minlength=10) for number in range(2, 400)])
    counts_N = drawn.reshape(-1, 10).sum(axis=0)
    assert counts_N[8] / counts_N[:8].mean() == pytest.approx(2, rel=0.15)
    assert counts_N[9] / counts_N[:8].mean() == pytest.approx(10 / 9, rel=0.15)


def test_before_any_loss_is_known_each_sample_is_drawn_once(tiny_llm: Path) -> None:
    plain, mining = (small_config(tiny_llm, stage__hard_examples=strength) for strength in (0.0, 1.0))
    passes = [train_batches(config, sleep_dataset(config)).draw_pass(1) for config in (plain, mining)]
    assert passes[0] == passes[1]
    assert sorted(sum(passes[0], [])) == list(range(10))


def test_the_losses_of_a_batch_are_those_of_its_samples(tiny_llm: Path) -> None:
    config = small_config(tiny_llm, stage__hard_examples=1.0)
    dataset = sleep_dataset(config)
    data = train_batches(config, dataset, 1, 2)
    expected_N = np.full(len(dataset), np.nan)
    places = {dataset[idx].sample_id: idx for idx in range(len(dataset))}
    for number, batch in enumerate(data.read_pass(1)):
        loss_B = torch.arange(len(batch.sample_ids)) + 10.0 * number
        if not batch.is_filler:
            data.record_losses(number, number, loss_B)
            expected_N[[places[sample_id] for sample_id in batch.sample_ids]] = loss_B
    seen_N = data.copy_state(lambda own: own)["seen"]
    assert np.array_equal(seen_N, expected_N, equal_nan=True)


def test_prompts_are_ranked_as_their_tokens_are(tiny_llm: Path) -> None:
    config = small_config(tiny_llm, model__encoder__patch_size=50)
    dataset = CorpusDataset(
        [small_sample(idx, "ecg", 1 + idx % 2) for idx in range(6)],
        lambda sample: render_ecg_prompt(sample.question, sample.options),
    )
    order = sort_by_prompt(dataset, range(6), config.model)
    estimates = [estimate_length(replace(dataset[idx], response=""), config.model) for idx in order]
    lengths = [collate(config, [dataset[idx]], with_response=False).input_ids_BT.shape[1] for idx in order]
    assert lengths == sorted(lengths, reverse=True)
    assert estimates == sorted(estimates, reverse=True)
    assert estimates[0] > estimates[-1]
