"""Series beside the text: gated cross-attention before the layers of a frozen language model.

1. The resampler turns every series into as many latents; the night's state is projected to a few more.
2. Every block makes its keys and values of them once a batch.
3. The decoder gets them as a keyword argument. A forward pre-hook replaces it by one for its layers, with the
   mask of what each position may see; a pre-hook on each layer takes that out and applies the layer's block, if any.

An argument belongs to one call of the decoder: layers that run a second time in the backward pass (gradient
checkpointing) get the same memory again.

Shape letters: B samples, T sequence positions, S series of all samples in order, J series of a sample, N patches,
M latents, D latent width, H context width, E LLM width.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from tslm.batch import Batch
from tslm.config.schema import ModelConfig
from tslm.models.epoch_reader import EpochReader
from tslm.models.fusion import MEMORY_ARGUMENT, DecoderInputs, NightContext
from tslm.models.interface import frozen
from tslm.models.llm.backbone import LanguageModel, unwrap_lora, word_embeddings
from tslm.nn.context import context_width
from tslm.nn.cross_attention import GatedCrossAttention, VisibleLatents
from tslm.nn.patch_encoder import count_patches
from tslm.nn.projector import ContextProjector
from tslm.nn.resampler import Resampler, number_series

_LATENTS_ARGUMENT = "visible_latents"  # keyword argument by which layers get the VisibleLatents of each block
_NEVER = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Memory:
    """What the text of a batch may look at."""

    keys_values: tuple[tuple[Tensor, Tensor], ...]  # one pair a block, (B, heads, M, head size) each
    start_BM: Tensor  # int64, position from which on a latent is seen; _NEVER: padding

    def select_rows(self, rows: Tensor) -> "Memory":
        """The memory of these samples."""
        return Memory(tuple((key[rows], value[rows]) for key, value in self.keys_values), self.start_BM[rows])


class Flamingo(nn.Module):
    """Resampler and gated cross-attention, hooked to a language model whose weights it does not own.

    A language model carries the hooks of one Flamingo. Without a memory, text passes the feed-forward parts alone,
    as text before the first series does.
    """

    def __init__(self, config: ModelConfig, llm: LanguageModel) -> None:
        super().__init__()
        self.patch_size, self.recomputes = config.encoder.patch_size, config.gradient_checkpointing
        d_model, d_llm = config.encoder.d_model, word_embeddings(llm).embedding_dim
        self.resampler = Resampler(config.flamingo, d_model)
        self.context_projector = None
        if config.context.kind != "none":
            unit = 1 / config.projector.embedding_scale  # the spread of the resampler's latents
            self.context_projector = ContextProjector(
                config.projector,
                context_width(config.context, d_model),
                d_model,
                unit,
                config.context.num_tokens,
                config.num_context_classes,
            )
        decoder = unwrap_lora(llm).base_model
        layers = _decoder_layers(decoder)
        every = config.flamingo.every_n_layers
        if not 1 <= every <= len(layers):
            raise ValueError(f"model.flamingo.every_n_layers is {every}; the language model has {len(layers)} layers")
        self.blocks = nn.ModuleList(
            [GatedCrossAttention(config.flamingo, d_llm, d_model) for _ in range(len(layers) // every)]
        )
        decoder.register_forward_pre_hook(self._pass_to_layers, with_kwargs=True)
        for number, layer in enumerate(layers, start=1):
            block_idx = number // every - 1 if number % every == 0 else None
            layer.register_forward_pre_hook(partial(self._before_layer, block_idx), with_kwargs=True)

    def forward(
        self, words_BTE: Tensor, batch: Batch, reader: EpochReader, night: NightContext | None
    ) -> DecoderInputs:
        """The words as they are, and the batch's series and context as memory."""
        assert batch.attention_mask_BT is not None and batch.series_seen_BT is not None
        num_series_B = words_BTE.new_zeros(len(words_BTE), dtype=torch.int64)
        latents = [words_BTE.new_zeros(len(words_BTE), 0, self.resampler.width, dtype=torch.float32)]
        starts = [num_series_B.new_zeros(len(words_BTE), 0)]
        if batch.series_SL is not None:
            assert batch.series_row_S is not None
            num_series_B = batch.series_row_S.bincount(minlength=len(words_BTE))
            latents_BJMD = self._read_series(batch, reader, num_series_B.tolist())
            latents.append(latents_BJMD.flatten(1, 2))
            starts.append(_find_starts(batch, num_series_B).repeat_interleave(latents_BJMD.shape[2], dim=1))
        if self.context_projector is not None and night is not None:
            latents.append(self.context_projector(night.state_BH, night.probability_BC))
            not_last_BT = batch.attention_mask_BT & (batch.series_seen_BT < num_series_B[:, None])
            start_B1 = not_last_BT.sum(dim=1, keepdim=True)
            assert batch.reads_night_B is not None
            start_B1 = start_B1.masked_fill(~batch.reads_night_B[:, None], _NEVER)
            starts.append(start_B1.expand(-1, latents[-1].shape[1]))
        latents_BMD = torch.cat(latents, dim=1)
        keys_values = tuple(block.read_latents(latents_BMD) for block in self.blocks)  # type: ignore[operator]
        return DecoderInputs(words_BTE, Memory(keys_values, torch.cat(starts, dim=1)))

    def _read_series(self, batch: Batch, reader: EpochReader, counts: list[int]) -> Tensor:
        """(B, J, M, D), zero-padded where a sample has fewer series than another."""
        assert batch.series_SL is not None and batch.series_lengths_S is not None
        with frozen(reader.encoder):
            tokens_SND = reader.encode_series(batch.series_SL, batch.series_lengths_S, batch.series_channel_S)
        num_patches_S = torch.tensor(
            [count_patches(length, self.patch_size) for length in batch.series_lengths_S.tolist()]
        )
        is_real_SN = torch.arange(tokens_SND.shape[1]) < num_patches_S[:, None]
        latents_SMD = self.resampler(tokens_SND, is_real_SN.to(tokens_SND.device))
        latents_BJMD = pad_sequence(list(latents_SMD.split(counts)), batch_first=True)
        return latents_BJMD + number_series(latents_BJMD.shape[1], self.resampler.width).to(latents_BJMD)[:, None]

    def _pass_to_layers(self, _decoder: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict]:
        memory: Memory | None = kwargs.pop(MEMORY_ARGUMENT, None)
        if memory is None:
            return args, {**kwargs, _LATENTS_ARGUMENT: None}
        assert kwargs.get("position_ids") is not None, "what a position sees depends on its number"
        visible_BTM = kwargs["position_ids"][..., None] >= memory.start_BM[:, None]
        latents = [VisibleLatents(key_BHMd, value_BHMd, visible_BTM) for key_BHMd, value_BHMd in memory.keys_values]
        return args, {**kwargs, _LATENTS_ARGUMENT: latents}

    def _before_layer(
        self, block_idx: int | None, layer: nn.Module, args: tuple, kwargs: dict[str, Any]
    ) -> tuple[tuple, dict]:
        if _LATENTS_ARGUMENT not in kwargs:
            raise ValueError(
                f"model.name=flamingo cannot read by {type(layer).__name__}: its decoder hands no keyword arguments "
                "to its layers; use model.name=soft_prompt"
            )
        latents: list[VisibleLatents] | None = kwargs[_LATENTS_ARGUMENT]
        kwargs = {name: value for name, value in kwargs.items() if name != _LATENTS_ARGUMENT}
        if block_idx is None:
            return args, kwargs
        block, visible = self.blocks[block_idx], None if latents is None else latents[block_idx]
        if self.recomputes and self.training and torch.is_grad_enabled():
            hidden_BTE = checkpoint(block, args[0], visible, use_reentrant=False)
        else:
            hidden_BTE = block(args[0], visible)
        return (hidden_BTE, *args[1:]), kwargs


def _find_starts(batch: Batch, num_series_B: Tensor) -> Tensor:
    """Position of the first word after each series, (B, J) int64; _NEVER where a sample has fewer series."""
    assert batch.attention_mask_BT is not None and batch.series_seen_BT is not None
    number_J = torch.arange(int(num_series_B.max()), device=num_series_B.device)
    before_BJT = (batch.series_seen_BT[:, None] <= number_J[:, None]) & batch.attention_mask_BT[:, None]
    return before_BJT.sum(dim=-1).masked_fill(number_J >= num_series_B[:, None], _NEVER)


def _decoder_layers(decoder: nn.Module) -> list[nn.Module]:
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise ValueError(
            f"model.name=flamingo cannot read by {type(decoder).__name__}: it needs a decoder that lists its `layers`, "
            "as Llama, Qwen and Gemma do; use model.name=soft_prompt"
        )
    return list(layers)
