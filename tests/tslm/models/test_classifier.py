from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.factories.small import CHANNEL, build_small_model, small_config, small_recording
from tslm.batch import IGNORE_INDEX
from tslm.config.files import merge_config
from tslm.config.schema import OptimConfig, RunConfig
from tslm.data.samples.collate import Collator
from tslm.data.samples.recordings_dataset import NightDataset
from tslm.models import build_model
from tslm.models.classifier import Classifier
from tslm.models.epoch_reader import EpochReader


def classifier_config(**changes: Any) -> RunConfig:
    base = {"model__name": "classifier", "stage__trained": ("encoder", "context", "classifier")}
    return small_config(**base, **changes)


def night_batch(config: RunConfig, **recording: Any) -> Any:
    dataset = NightDataset([small_recording(**recording)], config)
    return Collator(config.model, None)([dataset[idx] for idx in range(len(dataset))])


@pytest.mark.parametrize("kind", ["bigru", "none"])
@torch.no_grad()
def test_a_batch_of_windows_is_its_singles(kind: str) -> None:
    config = classifier_config(model__context__kind=kind)
    model = build_small_model(config)
    dataset = NightDataset([small_recording()], config)
    collator = Collator(config.model, None)
    examples = [dataset[idx] for idx in range(len(dataset))]
    together = model(collator(examples))
    alone = [model(collator([example])) for example in examples]
    for name in ("loss_sum", "weight_sum", "num_correct"):
        total = sum(float(getattr(out, name)) for out in alone)
        assert float(getattr(together, name)) == pytest.approx(total, rel=1e-5)


@torch.no_grad()
def test_loss_is_the_cross_entropy_of_both_heads_over_scored_epochs() -> None:
    config = classifier_config()
    model = build_small_model(config)
    batch = night_batch(config)
    epoch_logits, logits = model.logits(batch.window_BWCL, batch.epoch_mask_BW)
    log_p, epoch_log_p = logits.log_softmax(-1), epoch_logits.log_softmax(-1)
    expected, num_scored = 0.0, 0
    for row, col in (batch.sleep_stage_idx_BW != IGNORE_INDEX).nonzero().tolist():
        truth = int(batch.sleep_stage_idx_BW[row, col])
        expected -= float(log_p[row, col, truth]) + 0.5 * float(epoch_log_p[row, col, truth])
        num_scored += 1
    output = model(batch)
    assert float(output.loss_sum) == pytest.approx(expected, rel=1e-5)
    assert float(output.weight_sum) == num_scored


@torch.no_grad()
def test_unscored_epochs_are_seen_but_never_graded() -> None:
    config = classifier_config()
    model = build_small_model(config)
    batch = night_batch(config)
    hidden = replace(batch, sleep_stage_idx_BW=batch.sleep_stage_idx_BW.clone())
    hidden.sleep_stage_idx_BW[:, 2] = IGNORE_INDEX
    assert float(model(hidden).weight_sum) < float(model(batch).weight_sum)
    assert torch.equal(*(model.logits(one.window_BWCL, one.epoch_mask_BW)[1] for one in (batch, hidden)))


def test_class_weights_average_to_one_and_leave_absent_classes_out() -> None:
    model = build_small_model(classifier_config())
    counts = torch.tensor([100, 4, 50, 0, 25])
    model.set_class_weights(counts)
    weight = model.class_weight_K
    assert float((weight * counts).sum() / counts.sum()) == pytest.approx(1)
    assert float(weight[1] / weight[0]) == pytest.approx(5)
    assert float(weight[3]) == 0
    unweighted = build_small_model(classifier_config(loss__class_weight_power=0.0))
    unweighted.set_class_weights(counts[[0, 1, 2, 4, 4]])
    assert torch.allclose(unweighted.class_weight_K, torch.ones(5))


def test_label_smoothing_does_not_pull_towards_a_class_that_never_occurs() -> None:
    config = classifier_config(model__label_set="aasm_movement", loss__label_smoothing=0.1)
    model = build_small_model(config)
    model.set_class_weights(torch.tensor([1000, 50, 400, 200, 200, 0]))
    model(night_batch(config)).loss_sum.backward()
    assert float(model.head.bias.grad[5]) > 0  # descent lowers the absent class


@pytest.mark.parametrize("kind", ["bigru", "none"])
def test_all_trained_parameters_learn(kind: str) -> None:
    config = classifier_config(model__context__kind=kind)
    model = build_small_model(config)
    model(night_batch(config)).loss_sum.backward()
    assert all(param.grad is not None for param in model.parameters() if param.requires_grad)
    (group,) = model.param_groups(OptimConfig())
    assert len(group["params"]) == sum(param.requires_grad for param in model.parameters())


@torch.no_grad()
def test_windows_of_a_whole_short_night_give_what_the_night_gives() -> None:
    config = classifier_config(model__context__window_epochs=21)
    model = build_small_model(config)
    night = torch.from_numpy(small_recording().channels[CHANNEL] / 20)[:, None]
    whole = model.logits(night[None], torch.ones(1, 10, dtype=torch.bool))[1][0]
    window = torch.zeros(1, 21, 1, night.shape[2])
    mask = torch.zeros(1, 21, dtype=torch.bool)
    window[0, 6:16], mask[0, 6:16] = night, True
    assert torch.allclose(model.logits(window, mask)[1][0, 6:16], whole, atol=1e-5)


@torch.no_grad()
def test_without_context_each_epoch_stands_alone() -> None:
    config = classifier_config(model__context__kind="none")
    model = build_small_model(config)
    night = torch.from_numpy(small_recording().channels[CHANNEL] / 20)[None, :, None]
    everything = torch.ones(1, 10, dtype=torch.bool)
    logits = model.logits(night, everything)[1]
    changed = night.clone()
    changed[0, 3] *= -2
    moved = (model.logits(changed, everything)[1] - logits).abs().amax(dim=-1)[0] > 1e-6
    assert np.flatnonzero(moved).tolist() == [3]


@pytest.mark.parametrize("label_set", ["aasm", "aasm_movement", "rodent"])
def test_the_head_answers_the_label_set(label_set: str) -> None:
    model = build_model(classifier_config(model__label_set=label_set))
    assert isinstance(model, Classifier)
    assert model.head.out_features == {"aasm": 5, "aasm_movement": 6, "rodent": 3}[label_set]


def test_one_reader_state_fits_both_models(tiny_llm: Any) -> None:
    text_config = small_config(tiny_llm)
    soft_prompt, classifier = build_small_model(text_config), build_small_model(classifier_config(), seed=1)
    soft_prompt.reader.load_state_dict(classifier.reader.state_dict())
    assert isinstance(soft_prompt.reader, EpochReader)


@pytest.mark.parametrize(
    ("key", "said"), [("name", "soft_prompt, flamingo, text_only, classifier"), ("label_set", "aasm, aasm_movement")]
)
def test_a_wrong_name_in_the_model_config_lists_the_right_ones(key: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_model(merge_config({"model": {key: "nonsense"}}))


def test_a_night_read_in_pieces_is_the_night_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tslm.models.epoch_reader._TOKENS_AT_ONCE", 200)
    config = classifier_config()
    model = build_small_model(config)
    night = torch.randn(1, 150, 1, 600)
    mask = torch.ones(1, 150, dtype=torch.bool)
    at_once = model.logits(night, mask)
    with torch.inference_mode():
        in_pieces = model.logits(night, mask)
    for one, other in zip(at_once, in_pieces, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@torch.no_grad()
def test_losses_of_single_windows_are_their_means_alone() -> None:
    config = classifier_config(loss__focal_gamma=2.0)
    model = build_small_model(config)
    model.set_class_weights(torch.tensor([9, 4, 3, 2, 1]))
    dataset = NightDataset([small_recording()], config)
    collator = Collator(config.model, None)
    examples = [dataset[idx] for idx in range(len(dataset))]
    alone = [model(collator([example])) for example in examples]
    assert model(collator(examples)).loss_B.tolist() == pytest.approx(
        [float(one.loss_sum / one.weight_sum) for one in alone], rel=1e-5
    )
    batch = collator(examples)
    batch.sleep_stage_idx_BW[0] = IGNORE_INDEX
    assert model(batch).loss_B.isnan().tolist() == [True] + [False] * (len(examples) - 1)


def test_losses_of_single_windows_carry_no_gradient() -> None:
    config = classifier_config()
    assert not build_small_model(config)(night_batch(config)).loss_B.requires_grad


@torch.no_grad()
def test_the_focal_loss_is_below_the_plain_one_and_counts_the_same_epochs() -> None:
    plain, focal = (classifier_config(loss__focal_gamma=gamma) for gamma in (0.0, 2.0))
    batch = night_batch(plain)
    plain_out, focal_out = build_small_model(plain)(batch), build_small_model(focal)(batch)
    assert float(focal_out.loss_sum) < float(plain_out.loss_sum)
    assert float(focal_out.weight_sum) == float(plain_out.weight_sum)
