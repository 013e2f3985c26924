import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from curriculum.processes import build_accelerator, share_indices
from tests.factories.launching import end_ranks, start_ranks
from tests.factories.small import build_small_model, collate, sleep_dataset, small_config, small_recording, small_sample
from tslm.batch import Batch
from tslm.config.schema import OptimConfig, TrainConfig
from tslm.data.samples.collate import Collator
from tslm.data.samples.corpus_dataset import CorpusDataset
from tslm.data.samples.recordings_dataset import NightDataset
from tslm.data.samples.sampling import TrainBatches, TrainData
from tslm.models import build_tokenizer
from tslm.models.interface import ModelOutput
from tslm.prompts import render_choice_prompt
from tslm.training import loop
from tslm.training.checkpoints.resume import ResumePoint
from tslm.training.loop import EvalResult, RunData, Trainer, TrainingStoppedError, evaluate_loss
from tslm.training.optim import build_optimizer, build_scheduler
from tslm.training.process import StopSignals
from tslm.training.progress import Meter, Progress
from tslm.training.runs.recorder import RunContext

NO_DROPOUT = {"model__encoder__dropout": 0.0, "model__context__dropout": 0.0}
BIG_STEPS = {"optim__lr_encoder": 0.3, "optim__lr_projector": 0.3, "optim__lr_lora": 0.3}


def build_sgd(model: Any, optim: OptimConfig) -> torch.optim.SGD:
    """Steps that are the gradient itself; AdamW would blow round-off in zero gradients up to its rate."""
    return torch.optim.SGD([{**group, "weight_decay": 0.0} for group in model.param_groups(optim)])


@dataclass
class Passes(TrainData):
    """The same batches in every pass."""

    batches: Sequence[Batch]

    def __len__(self) -> int:
        return len(self.batches)

    def read_pass(self, train_epoch: int, first_batch: int = 0) -> Sequence[Batch]:
        return self.batches[first_batch:]


def build_trainer(
    config: Any, model: Any, accelerator: Accelerator, data: RunData, records: list[dict], progress: Progress | None
) -> Trainer:
    """A loop whose steps are the gradient itself, at a rate that stays; nothing is saved."""
    recorder: Any = SimpleNamespace(add=records.append)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "build_optimizer", lambda *_: build_sgd(model, config.optim))
        patch.setattr(loop, "build_scheduler", lambda optimizer, *_: LambdaLR(optimizer, lambda _: 1.0))
        patch.setattr(loop, "restore_optimizer", lambda *_: None)
        point = ResumePoint(Path("nowhere"), progress, 0) if progress else None
        trainer = Trainer(RunContext(config, accelerator, recorder), model, data, point)
    trainer.save = Saver([])  # type: ignore[assignment]
    return trainer


def train(
    config: Any, batches: Iterable[Batch], model: Any = None, progress: Progress | None = None, **changes: Any
) -> tuple[Progress, list[dict], list[tuple[str, Progress, dict]]]:
    """How it ended, log records, and what was to be saved."""
    accelerator = Accelerator(cpu=True)
    model = model if model is not None else build_small_model(config, lora_noise=0.1)
    records: list[dict] = []
    saved: list[tuple[str, Progress, dict]] = changes.pop("saved", [])
    data = RunData(
        Passes(list(batches)), changes.pop("val_batches", list(batches)), validate=changes.pop("validate", None)
    )
    trainer = build_trainer(config, model, accelerator, data, records, progress)
    trainer.save = Saver(saved)  # type: ignore[assignment]
    return trainer.fit(), records, saved


@dataclass
class Saver:
    """Notes what was to be saved."""

    saved: list[tuple[str, Progress, dict]]

    def __call__(self, *what: Any) -> None:
        self.saved.append(what)  # type: ignore[arg-type]

    def finish(self) -> None:
        pass


def trained_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: param.detach().clone() for name, param in model.named_parameters() if param.requires_grad}


def assert_moved(start: dict[str, torch.Tensor], end: dict[str, torch.Tensor]) -> None:
    distance = sum(float((end[name] - start[name]).square().sum()) for name in start) ** 0.5
    assert distance > 0.1


def sample_loader(config: Any, count: int, batch_size: int) -> DataLoader:
    dataset = sleep_dataset(config)
    collator = Collator(config.model, build_tokenizer(config))
    return DataLoader([dataset[idx] for idx in range(count)], batch_size=batch_size, collate_fn=collator)


class Toy(torch.nn.Module):
    """Loss (w - target)^2 a sample; the target is read from the sample's id."""

    def __init__(self, start: float = 1.0) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(start))

    def forward(self, batch: Batch) -> ModelOutput:
        targets = torch.tensor([float(sample_id) for sample_id in batch.sample_ids])
        return ModelOutput((self.w - targets).square().sum(), torch.tensor(float(len(targets))))

    def param_groups(self, optim: OptimConfig) -> list[dict]:
        return [{"name": "w", "params": [self.w], "lr": 0.1, "weight_decay": 0.0}]


def toy_loader(targets: list[float], batch_size: int = 1) -> DataLoader:
    def collate_ids(ids: list[float]) -> Batch:
        return Batch([str(target) for target in ids], labels_BT=torch.zeros(len(ids), 1, dtype=torch.int64))

    return DataLoader(targets, batch_size=batch_size, collate_fn=collate_ids)  # type: ignore[arg-type]


def toy_config(**train_changes: Any) -> Any:
    return replace(
        small_config(), train=replace(TrainConfig(train_epochs=6, batch_size=1, log_every_steps=1), **train_changes)
    )


def test_accumulating_two_batches_of_two_is_a_batch_of_four(tiny_llm: Path) -> None:
    ends = []
    for batch_size, grad_accum in ((4, 1), (2, 2), (1, 4)):
        config = small_config(tiny_llm, train__grad_accum=grad_accum, **NO_DROPOUT, **BIG_STEPS)
        model = build_small_model(config, lora_noise=0.1)
        start = trained_state(model)
        train(config, sample_loader(config, 4, batch_size), model)
        ends.append(trained_state(model))
        assert_moved(start, ends[-1])
    for other in ends[1:]:
        for name, param in ends[0].items():
            assert torch.allclose(param, other[name], atol=1e-6), name


def test_loss_and_gradient_are_means_over_tokens(tiny_llm: Path) -> None:
    config = small_config(tiny_llm, train__grad_accum=2, optim__max_grad_norm=1e9, **NO_DROPOUT)
    model = build_small_model(config)
    dataset = sleep_dataset(config)
    examples = [dataset[0], replace(dataset[1], response="W. Answer: Wake"), dataset[2], dataset[3]]
    whole = model(collate(config, examples))
    (whole.loss_sum / whole.weight_sum).backward()
    norm = torch.stack([param.grad.norm() for param in model.parameters() if param.grad is not None]).norm()
    model.zero_grad()
    collator = Collator(config.model, build_tokenizer(config))
    _, records, _ = train(config, [collator(examples[:2]), collator(examples[2:])], model)
    assert records[0]["loss"] == pytest.approx((whole.loss_sum / whole.weight_sum).item(), rel=1e-5)
    assert records[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


def test_gradients_are_clipped_to_the_set_norm(tiny_llm: Path) -> None:
    config = small_config(tiny_llm, optim__max_grad_norm=1e-3)
    model = build_small_model(config)
    norms = []
    original = torch.optim.SGD.step

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        grads = [param.grad for group in self.param_groups for param in group["params"] if param.grad is not None]
        norms.append(float(torch.stack([grad.norm() for grad in grads]).norm()))
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", spy)
        _, records, _ = train(config, sample_loader(config, 2, 2), model)
    assert norms[0] == pytest.approx(1e-3, rel=1e-3)
    assert records[0]["grad_norm"] > 1e-2


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_any_update_and_names_the_samples(bad: float) -> None:
    model = Toy()
    with pytest.raises(FloatingPointError, match=str(bad)) as caught:
        train(toy_config(), toy_loader([bad, 2.0]), model)
    assert model.w.item() == 1.0
    assert f"samples: ['{bad}']" in str(caught.value)


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best() -> None:
    losses = iter([3.0, 2.0, 1.99999, 2.5, 2.5, 0.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tslm.training.loop.evaluate_loss", lambda *_: EvalResult(next(losses), 0.5, 1.0))
        result, _, saved = train(toy_config(patience=3, min_delta=1e-4), toy_loader([2.0, 3.0]), Toy())
    assert result.is_finished
    assert result.stopped_early
    assert (result.best_val_loss, result.best_train_epoch) == (2.0, 2)
    assert [which for which, *_ in saved] == ["best", "last", "best", "last", *["top", "last"] * 3]
    assert saved[-1][2]["train_epoch"] == 5
    assert result.step == 10


def test_the_best_pass_of_a_scorer_is_that_of_the_highest_kappa_and_among_equals_of_the_lowest_loss() -> None:
    losses, kappas = iter([3.0, 2.0, 2.5, 2.4, 1.9]), iter([0.5, 0.6, 0.7, 0.7, 0.6])
    config = toy_config(train_epochs=5, min_delta=1e-4)
    config = replace(config, model=replace(config.model, name="classifier"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tslm.training.loop.evaluate_loss", lambda *_: EvalResult(next(losses), 0.5, 1.0))
        result, records, saved = train(config, toy_loader([2.0]), Toy(), validate=lambda: {"val_kappa": next(kappas)})
    assert [which for which, *_ in saved if which != "last"] == ["best", "best", "best", "best", "top"]
    assert (result.best_val_kappa, result.best_val_loss, result.best_train_epoch) == (0.7, 2.4, 4)
    assert result.lowest_val_loss == 1.9
    assert result.stale == 0
    assert [record["val_kappa"] for record in records if "val_loss" in record] == [0.5, 0.6, 0.7, 0.7, 0.6]


def test_the_kappa_of_a_language_model_does_not_choose_its_best_pass() -> None:
    losses, kappas = iter([3.0, 2.0]), iter([0.9, 0.1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tslm.training.loop.evaluate_loss", lambda *_: EvalResult(next(losses), 0.5, 1.0))
        result, *_ = train(
            toy_config(train_epochs=2), toy_loader([2.0]), Toy(), validate=lambda: {"val_kappa": next(kappas)}
        )
    assert (result.best_val_loss, result.best_val_kappa) == (2.0, None)


def test_the_training_loss_of_a_pass_is_the_mean_over_its_tokens_also_where_it_went_on_in_the_middle(
    tiny_llm: Path,
) -> None:
    config = small_config(tiny_llm, train__train_epochs=2, train__checkpoint_every_steps=1, **NO_DROPOUT)
    config = replace(config, optim=replace(config.optim, max_grad_norm=1e-12))  # the weights stay
    model = build_small_model(config)
    batches = list(sample_loader(config, 5, 2))
    _, records, saved = train(config, batches, model)
    passes = [record for record in records if "train_loss" in record]
    wanted = evaluate_loss(model, batches, Accelerator(cpu=True)).loss
    assert [record["train_loss"] for record in passes] == pytest.approx([wanted] * 2, rel=1e-4)
    assert [record["train_perplexity"] for record in passes] == pytest.approx([math.exp(wanted)] * 2, rel=1e-4)
    then = next(progress for which, progress, _ in saved if which == "last" and progress.step == 4)
    _, resumed, _ = train(config, batches, model, progress=then)
    assert [record["train_loss"] for record in resumed if "train_loss" in record] == [
        pytest.approx(passes[1]["train_loss"], rel=1e-6)
    ]


def saved_steps(saved: list[tuple[str, Progress, dict]]) -> list[int]:
    return [progress.step for which, progress, _ in saved if which == "last"]


def test_checkpoints_come_every_so_many_steps_and_at_the_end_of_a_pass() -> None:
    _, _, saved = train(toy_config(train_epochs=2, checkpoint_every_steps=2), toy_loader([2.0] * 5), Toy())
    assert saved_steps(saved) == [2, 4, 5, 6, 8, 10, 10]
    middle = next(progress for which, progress, _ in saved if progress.step == 8)
    assert (middle.train_epoch, middle.num_batches, middle.is_finished) == (2, 3, False)
    assert saved[-1][1].is_finished


def test_checkpoints_come_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = iter([0.0, 1.0, 2.0, 0.0, 3.0])
    monkeypatch.setattr(Meter, "minutes_since_save", property(lambda _: next(minutes)))
    config = toy_config(train_epochs=1, checkpoint_every_steps=0, checkpoint_every_min=2.0)
    _, _, saved = train(config, toy_loader([2.0] * 5), Toy())
    assert saved_steps(saved) == [3, 5, 5]


def test_a_signal_ends_training_after_its_step_with_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[tuple[str, Progress, dict]] = []
    asked = iter([False, False, True])
    monkeypatch.setattr(StopSignals, "is_set", lambda _: next(asked))
    with pytest.raises(TrainingStoppedError, match="stopped after step 3"):
        train(toy_config(checkpoint_every_steps=0), toy_loader([2.0] * 5), Toy(), saved=saved)
    assert saved_steps(saved) == [3]


@pytest.mark.parametrize("stopped_at", [1, 4, 5, 7])
def test_a_loop_that_goes_on_does_what_is_left(stopped_at: int) -> None:
    config = toy_config(train_epochs=2, checkpoint_every_steps=1)
    whole, _, saved = train(config, toy_loader([float(number) for number in range(5)]), Toy())
    then = next(progress for which, progress, _ in saved if which == "last" and progress.step == stopped_at)
    result, records, _ = train(config, toy_loader([float(number) for number in range(5)]), Toy(), progress=then)
    found, wanted = (asdict(progress) for progress in (result, whole))
    by_weights = ("wall_s", "loss_sum", "best_val_loss", "lowest_val_loss")  # this loop goes on with new weights
    assert {key: found[key] for key in found if key not in by_weights} == {
        key: wanted[key] for key in wanted if key not in by_weights
    }
    assert [record["step"] for record in records if "loss" in record] == list(range(stopped_at + 1, 11))


def test_a_validation_loss_that_is_not_finite_saves_nothing() -> None:
    saved: list[tuple[str, Progress, dict]] = []
    with pytest.raises(FloatingPointError, match="validation loss nan"):
        train(toy_config(), toy_loader([2.0]), Toy(), val_batches=[], saved=saved)
    assert saved == []


def test_training_runs_all_passes_while_it_improves() -> None:
    result, records, saved = train(toy_config(train_epochs=4), toy_loader([2.0, 2.0, 2.0]), Toy())
    assert not result.stopped_early
    assert result.step == 12
    assert result.num_samples == 12
    assert [figures["train_epoch"] for which, _, figures in saved if which == "best"] == [1, 2, 3, 4]
    val_losses = [record["val_loss"] for record in records if "val_loss" in record]
    assert val_losses == sorted(val_losses, reverse=True)


def test_steps_left_over_from_accumulation_still_count() -> None:
    result, records, _ = train(toy_config(train_epochs=1, grad_accum=2), toy_loader([2.0] * 5), Toy())
    assert result.step == 3
    assert sum("loss" in record for record in records) == 3


def test_the_schedule_warms_up_and_falls_to_zero() -> None:
    optim = OptimConfig(warmup_fraction=0.2)
    optimizer = build_optimizer(Toy().param_groups(optim), optim)
    scheduler = build_scheduler(optimizer, optim, 10)
    rates = []
    for _ in range(11):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.05, 0.1, *(0.1 * left / 9 for left in range(8, -1, -1))])


@pytest.mark.parametrize("done", [0, 1, 3, 9])
def test_a_schedule_goes_on_where_it_stood_to_the_last_bit(done: int) -> None:
    def read_rates(steps_done: int) -> list[float]:
        optim = OptimConfig(warmup_fraction=0.3)
        optimizer = build_optimizer(Toy().param_groups(optim), optim)
        scheduler = build_scheduler(optimizer, optim, 10, steps_done)
        rates = []
        for _ in range(10 - steps_done):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return rates

    assert read_rates(done) == read_rates(0)[done:]


def test_nothing_to_train_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="stage.trained"):
        build_optimizer([], OptimConfig())


def test_validation_counts_each_sample_once_whatever_the_batch_size(tiny_llm: Path) -> None:
    config = small_config(tiny_llm)
    model = build_small_model(config).train()
    results = [evaluate_loss(model, sample_loader(config, 5, size), Accelerator(cpu=True)) for size in (1, 2, 5)]
    assert model.training
    for result in results[1:]:
        assert result.loss == pytest.approx(results[0].loss, rel=1e-5)
        assert (result.accuracy, result.num_supervised) == (results[0].accuracy, results[0].num_supervised)
    assert results[0].perplexity == pytest.approx(math.exp(results[0].loss))


TASKS: dict[str, dict[str, Any]] = {
    "questions": {},
    "nights": {
        "stage__extra_channels": ("EMG",),
        "stage__trained": ("encoder", "projector", "context", "lora"),
    },
    "flamingo": {"model__name": "flamingo"},
    "text_only": {"model__name": "text_only", "model__context__kind": "none"},
    "hard examples": {"stage__hard_examples": 2.0},
    "weighted": {"stage__sampling": "sqrt"},
    "classifier": {
        "model__name": "classifier",
        "stage__task": "night",
        "stage__trained": ("encoder", "context", "classifier"),
    },
}
Tensors = dict[str, torch.Tensor]


def train_on(task: str, world_size: int, tiny_llm: Path) -> tuple[Tensors, Tensors, list[float]]:
    """(first gradients, trained parameters, losses) of two passes: nine samples, four a step and one in the last."""
    sizes = {"train__grad_accum": 2, "train__batch_size": 2 // world_size}
    config = small_config(tiny_llm, **sizes, **NO_DROPOUT, **BIG_STEPS, **TASKS[task])
    config = replace(config, train=replace(config.train, train_epochs=2))
    accelerator = build_accelerator(config)
    model = build_small_model(config, lora_noise=0.1)
    start = trained_state(model)
    dataset: Any = sleep_dataset(config, num_epochs=9)
    if task in ("questions", "classifier"):
        dataset = corpus_dataset() if task == "questions" else NightDataset([small_recording(num_epochs=18)], config)
    assert len(dataset) == 9
    collator = Collator(config.model, build_tokenizer(config))
    data = TrainBatches(dataset, collator, config, accelerator.process_index, world_size)
    share = share_indices(list(range(9)), accelerator)
    records: list[dict] = []
    run_data = RunData(data, [collator([dataset[idx]]) for idx in share])
    trainer = build_trainer(config, model, accelerator, run_data, records, None)
    grads: list[Tensors] = []
    named = {name: param for name, param in model.named_parameters() if param.requires_grad}
    trainer.optimizer.optimizer.register_step_pre_hook(  # type: ignore[attr-defined]
        lambda *_: grads.append({name: param.grad.clone() for name, param in named.items() if param.grad is not None})
    )
    trainer.fit()
    losses = [record[key] for record in records for key in ("loss", "val_loss") if key in record]
    assert_moved(start, trained_state(model))
    return grads[0], trained_state(model), losses


def _train_rank(rank: int, tiny_llm: Path, out_path: Path) -> None:
    os.environ["ACCELERATE_USE_CPU"] = "true"
    ends = {task: train_on(task, 2, tiny_llm) for task in TASKS}
    if rank == 0:
        torch.save(ends, out_path)
    torch.distributed.destroy_process_group()


def corpus_dataset() -> CorpusDataset:
    """Questions without a night window: pool, context and their projector go unused, as in stages 1 to 3."""
    samples = [small_sample(idx) for idx in range(9)]
    return CorpusDataset(samples, lambda sample: render_choice_prompt(sample.question, sample.options))


@pytest.mark.kill
def test_two_processes_end_where_one_ends(tiny_llm: Path, tmp_path: Path) -> None:
    ranks = start_ranks(_train_rank, (tiny_llm, tmp_path / "end.pt"), tmp_path)
    ends_of_one = {task: train_on(task, 1, tiny_llm) for task in TASKS}
    assert end_ranks(ranks) == [0, 0], (tmp_path / "rank1.txt").read_text()[-3000:]
    ends = torch.load(tmp_path / "end.pt", weights_only=True)
    for task, (grads, state, losses) in ends_of_one.items():
        grads_of_two, state_of_two, losses_of_two = ends[task]
        for name, grad in grads.items():
            assert torch.allclose(grad, grads_of_two[name], rtol=0, atol=1e-6), (task, name)
        assert len(losses) == 8  # three steps and a validation a pass
        assert losses == pytest.approx(losses_of_two, rel=1e-5)
        for name, param in state.items():
            assert torch.allclose(param, state_of_two[name], atol=1e-5), (task, name)
