"""Trained models as PreTrainedModel of transformers: loaded from a checkpoint's folder or the hub, saved and pushed.

They wrap the library's own models and add no weights of their own. Inputs come from TSLMProcessor.
"""

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput, TokenClassifierOutput

from tslm.batch import Batch
from tslm.config.checkpoint import (
    CLASSIFIER_TYPE,
    ENCODER_TYPE,
    TEXT_MODEL_TYPE,
    load_checkpoint_config,
    parse_checkpoint_config,
    render_checkpoint_config,
)
from tslm.config.schema import RunConfig
from tslm.data.novelty import ChannelNovelty, load_novelty, save_novelty
from tslm.hub.repository import fetch_checkpoint, push_folder
from tslm.labels import LABEL_SETS
from tslm.models.llm.backbone import merge_lora
from tslm.predictions.calibration import Calibration, save_calibration
from tslm.predictions.epoch_writer import EpochWriter
from tslm.predictions.night_scorer import NightScorer, open_autocast
from tslm.predictions.rows import pick_likeliest
from tslm.predictions.stager import Stager, open_stager
from tslm.predictions.transitions import TRANSITIONS_FILE, Transitions, load_transitions, save_transitions
from tslm.training.checkpoints.checkpoint import find_foreign_file, read_state, save_checkpoint
from tslm.training.checkpoints.model_card import write_model_card


class _CheckpointConfig(PreTrainedConfig):
    """config.json of a checkpoint; `settings` are those of the run that made it, whole."""

    settings: dict | None = None
    tslm_version: str = ""

    @property
    def run(self) -> RunConfig:
        """The settings as the library knows them; ValueError when a newer version made them."""
        return parse_checkpoint_config({"tslm_version": self.tslm_version, "settings": self.settings}, "config.json")


class TSLMTextConfig(_CheckpointConfig):
    """Config of a language model that reads time series."""

    model_type = TEXT_MODEL_TYPE


class TSLMClassifierConfig(_CheckpointConfig):
    """Config of a classifier of sleep stages."""

    model_type = CLASSIFIER_TYPE


class _TrainedModel(PreTrainedModel):
    """A trained model of either kind: loading, saving and pushing a checkpoint's folder."""

    config_class: type[_CheckpointConfig]
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True  # the language model inside decides

    def __init__(
        self,
        config: PreTrainedConfig,
        stager: Stager,
        state: Mapping[str, Any],
        transitions: Transitions | None = None,
        novelty: Mapping[str, ChannelNovelty] | None = None,
    ) -> None:
        super().__init__(config)
        self.model: Any = stager.model
        self.stager, self.state = stager, state
        self.transitions = transitions  # of sleep stages in its training nights; None: not trained on nights
        self.novelty = novelty or {}  # what is typical of its training recordings
        self.run_config: RunConfig = config.run

    @property
    def calibration(self) -> Calibration:
        """The checkpoint's temperatures."""
        return self.stager.calibration

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, *_: Any, **options: Any) -> Self:  # type: ignore[override]
        """Rebuild a trained model from its folder (and the language model it names), frozen, in evaluation mode.

        Args:
            pretrained_model_name_or_path: a checkpoint's folder, or a hub id `owner/name`.
            options: revision, token, cache_dir, force_download, local_files_only; and merge_adapter=True adds the
                adapter into the language model's weights, which generates faster.

        Raises:
            OSError: no checkpoint there, or a language model that is not at hand.
            ValueError: it is of the other kind, damaged, holds a pickle, or was made by a newer version.
        """
        name = os.fspath(pretrained_model_name_or_path)
        folder = fetch_checkpoint(name, **options)
        rendered = render_checkpoint_config(load_checkpoint_config(folder))
        if rendered["model_type"] == ENCODER_TYPE:
            raise ValueError(f"{name} is a pretrained encoder without a head; train stage0_encoder from it")
        if rendered["model_type"] != cls.config_class.model_type:
            raise ValueError(f"{name} is a {rendered['architectures'][0]}; load it with that class or with AutoModel")
        config = cls.config_class(**rendered)
        config.name_or_path = name
        merge_adapter = bool(options.get("merge_adapter"))
        stager = open_stager(folder, merge_adapter=merge_adapter)
        state = read_state(folder) | ({"merged": True} if merge_adapter else {})
        transitions = load_transitions(folder) if (folder / TRANSITIONS_FILE).is_file() else None
        return cls(config, stager, state, transitions, load_novelty(folder)).eval()

    def save_pretrained(self, save_directory: str | os.PathLike, *, push_to_hub: bool = False, **options: Any) -> None:  # type: ignore[override]
        """Write the checkpoint's folder with its card; `push_to_hub=True` also uploads it as `repo_id`.

        Other options of transformers, about pickles and shards, have no effect.

        Raises:
            FileExistsError: the folder holds something that is no part of a checkpoint, which would be lost.
        """
        folder = _check_free(save_directory)
        save_checkpoint(self.model, self.run_config, self.state, folder, with_llm=bool(self.state.get("merged")))
        self._save_fitted(folder)
        if push_to_hub:
            self.push_to_hub(options.get("repo_id") or folder.name)

    def _save_fitted(self, folder: Path) -> None:
        """Write the temperatures, the transitions of sleep stages and what is typical of the training."""
        if self.calibration != Calibration():
            save_calibration(self.calibration, folder)
        if self.transitions is not None:
            save_transitions(self.transitions, folder)
        if self.novelty:
            save_novelty(self.novelty, folder)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:  # type: ignore[override]
        """Upload the checkpoint's folder; its card names the repository. Returns the address of the commit.

        Options as `tslm.hub.repository.push_folder`: private, token, revision, commit_message, create_pr.
        """

        def write(folder: Path, full_id: str) -> None:
            self.save_pretrained(folder / "checkpoint")
            for path in (folder / "checkpoint").iterdir():
                path.rename(folder / path.name)
            (folder / "checkpoint").rmdir()
            write_model_card(self.run_config, self.state, folder, full_id)

        return push_folder(write, repo_id, **options)

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the library builds or reads the weights."""


class TSLMTextModel(_TrainedModel):
    """A language model that reads series and answers with a rationale."""

    config_class = TSLMTextConfig
    stager: EpochWriter

    def forward(self, **inputs: Any) -> CausalLMOutput:
        """Mean loss over the supervised tokens of a batch with responses."""
        with open_autocast(self.device, self.run_config):
            output = self.model(Batch(**inputs))
        return CausalLMOutput(loss=output.loss_sum / output.weight_sum)

    @torch.no_grad()
    def generate(self, *, max_new_tokens: int | None = None, constrained: bool | None = None, **inputs: Any) -> Tensor:
        """Greedy answers to a batch of the processor's: (B, <= max_new_tokens) token ids, padded after each end.

        Args:
            max_new_tokens: None: the checkpoint's own limit.
            constrained: whether each ends in one of the label set's answers; None: as the checkpoint's settings say.
            inputs: of the processor.
        """
        batch = Batch(**inputs)
        options = [LABEL_SETS[self.run_config.model.label_set].answers] * len(batch.sample_ids)
        return self.stager.write(batch, options, max_new_tokens, constrained)[0]

    @torch.no_grad()
    def score_labels(self, *, labels: Sequence[str] | None = None, **inputs: Any) -> Tensor:
        """Log-likelihood of each answer directly after the prompt, (B, K) float32.

        Args:
            labels: answers to compare; None: all of the checkpoint's label set, in its order.
            inputs: of the processor.

        Raises:
            ValueError: a label that is none of the checkpoint's.
        """
        label_set = LABEL_SETS[self.run_config.model.label_set]
        answers = label_set.answers if labels is None else tuple(labels)
        for answer in answers:
            label_set.from_answer(answer)
        batch = Batch(**inputs)
        return self.stager.score_options(batch, [answers] * len(batch.sample_ids))

    def label_probabilities(self, *, labels: Sequence[str] | None = None, **inputs: Any) -> Tensor:
        """Calibrated probability of each answer directly after the prompt, (B, K); arguments as `score_labels`.

        Without a temperature (`calibration.answer` is None) they are not calibrated.
        """
        return (self.score_labels(labels=labels, **inputs) / (self.calibration.answer or 1.0)).softmax(dim=-1)

    def save_merged(self, save_directory: str | os.PathLike) -> None:
        """Write a self-contained folder: the language model with its adapter merged, in `llm/`, and the other parts.

        AutoModelForCausalLM loads the language model alone from `llm/`. Errors as `save_pretrained`.
        """
        folder = _check_free(save_directory)
        whole = copy.copy(self.model)
        whole._modules = dict(self.model._modules)
        whole.llm = merge_lora(copy.deepcopy(self.model.llm))
        save_checkpoint(whole, self.run_config, {**self.state, "merged": True}, folder, with_llm=True)
        self._save_fitted(folder)


class TSLMClassifier(_TrainedModel):
    """A classifier of the sleep stages of a night."""

    config_class = TSLMClassifierConfig
    stager: NightScorer

    def forward(self, **inputs: Any) -> TokenClassifierOutput:
        """Logits of every epoch in context, (B, epochs, sleep stages) in the order of `config.id2label`.

        Raises:
            ValueError: A logit is not finite.
        """
        batch = Batch(**inputs)
        assert batch.window_BWCL is not None and batch.epoch_mask_BW is not None, "a TSLMProcessor gives both"
        logits = self.stager.compute_logits(
            batch.window_BWCL, batch.epoch_mask_BW, batch.channel_mask_BC, batch.inputs_BWF
        )
        pick_likeliest(logits[batch.epoch_mask_BW].detach().float().cpu().numpy())
        return TokenClassifierOutput(logits=logits)


def _check_free(folder: str | os.PathLike) -> Path:
    path = Path(folder).resolve()
    foreign = find_foreign_file(path)
    if foreign is not None:
        raise FileExistsError(f"{path} holds {foreign.name}, which is no part of a checkpoint; choose another folder")
    return path
