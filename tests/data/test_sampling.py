from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import collate, sleep_dataset, small_config, small_sample
from torch.utils.data import SequentialSampler

from tslm.config import TrainConfig
from tslm.data.dataset import CorpusDataset
from tslm.data.sampling import LengthBuckets, build_train_sampler, estimate_length, sort_by_prompt
from tslm.prompts import render_ecg_prompt

LENGTHS = np.random.default_rng(0).integers(10, 400, 103).tolist()


def bucket(seed: int, batch_size: int = 4, pool_batches: int = 8) -> LengthBuckets:
    return LengthBuckets(
        SequentialSampler(LENGTHS),
        LENGTHS.__getitem__,
        batch_size,
        pool_batches,
        torch.Generator().manual_seed(seed),
    )


def count_padding(order: list[int], batch_size: int = 4) -> int:
    batches = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
    return sum(
        max(LENGTHS[idx] for idx in batch) * len(batch) - sum(LENGTHS[idx] for idx in batch) for batch in batches
    )


def test_buckets_hold_every_draw_once_in_an_order_of_their_own() -> None:
    first, again, other = list(bucket(1)), list(bucket(1)), list(bucket(2))
    assert sorted(first) == list(range(103))
    assert first == again != other
    assert len(bucket(1)) == 103


def test_buckets_pad_less_and_do_not_go_from_short_to_long() -> None:
    order = list(bucket(1))
    assert count_padding(order) < 0.3 * count_padding(list(range(103)))
    means = [np.mean([LENGTHS[idx] for idx in order[first : first + 4]]) for first in range(0, 32, 4)]
    assert means != sorted(means)


def test_a_batch_that_is_not_full_stays_last() -> None:
    order = list(bucket(3, pool_batches=100))
    batches = [sorted(LENGTHS[idx] for idx in order[first : first + 4]) for first in range(0, 103, 4)]
    assert len(batches[-1]) == 3
    ranked = sorted(LENGTHS)
    assert batches[-1] == ranked[-3:]


@pytest.mark.parametrize("sampling", ["balanced", "natural"])
def test_bucketing_changes_the_order_of_what_is_drawn_and_nothing_else(sampling: str) -> None:
    config = small_config(stage__sampling=sampling, stage__num_train_samples=9)
    dataset = sleep_dataset(config)

    def draw(bucket_batches: int) -> list[int]:
        generator = torch.Generator().manual_seed(5)
        train = TrainConfig(batch_size=2, bucket_batches=bucket_batches)
        return list(build_train_sampler(dataset, config.stage, train, config.model, generator))

    assert sorted(draw(3)) == sorted(draw(0))


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
