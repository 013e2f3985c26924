"""From encoder tokens to language-model embeddings.

Shape letters: S series, N patches, M merged tokens, D encoder width, B samples, H context width, K context tokens,
C classes, E LLM width.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from tslm.config.schema import ProjectorConfig


class Projector(nn.Module):
    """Joins `merge` neighbouring patches and maps them to the language model's width.

    `linear` is the guide's LayerNorm-Linear-GELU-Dropout. `mlp` adds a second linear layer, whose
    output can take either sign, and starts at a set multiple of the word embeddings' spread.
    """

    def __init__(self, config: ProjectorConfig, d_in: int, d_llm: int, embedding_std: float) -> None:
        super().__init__()
        self.merge = config.merge
        width = d_in * config.merge
        layers: list[nn.Module] = [nn.LayerNorm(width), nn.Linear(width, d_llm), nn.GELU(), nn.Dropout(config.dropout)]
        if config.kind == "mlp":
            out = nn.Linear(d_llm, d_llm)
            _init_output_std(out, layers[1], config.embedding_scale * embedding_std)
            layers.append(out)
        elif config.kind != "linear":
            raise ValueError(f"unknown model.projector.kind {config.kind!r}; one of: mlp, linear")
        self.layers = nn.Sequential(*layers)

    def forward(self, tokens_SND: Tensor) -> Tensor:
        """(S, N, D) -> (S, M, E), M = ceil(N / merge); the last token is filled up with zeros."""
        num_series, num_patches, width = tokens_SND.shape
        missing = -num_patches % self.merge
        padded = nn.functional.pad(tokens_SND, (0, 0, 0, missing))
        return self.layers(padded.reshape(num_series, -1, width * self.merge))


class ContextProjector(nn.Module):
    """One night state to a few language-model tokens, each through a projector of its own.

    With classes, one more token follows: the mean of their vectors, weighted by the classifier's probabilities.
    """

    def __init__(
        self,
        config: ProjectorConfig,
        d_in: int,
        d_llm: int,
        embedding_std: float,
        num_tokens: int,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        unmerged = replace(config, merge=1)
        self.tokens = nn.ModuleList([Projector(unmerged, d_in, d_llm, embedding_std) for _ in range(num_tokens)])
        self.classes = None
        if num_classes:
            self.classes = ClassToken(num_classes, d_llm, config.embedding_scale * embedding_std)

    def forward(self, state_BH: Tensor, probability_BC: Tensor) -> Tensor:
        """States (B, H) and probabilities of the classes (B, C) -> (B, K, E)."""
        tokens = [token(state_BH[:, None]) for token in self.tokens]
        if self.classes is not None:
            tokens.append(self.classes(probability_BC))
        return torch.cat(tokens, dim=1)


class ClassToken(nn.Module):
    """Probabilities of classes to one language-model token."""

    def __init__(self, num_classes: int, d_llm: int, std: float) -> None:
        super().__init__()
        self.std = std
        self.vector_CE = nn.Parameter(std * torch.randn(num_classes, d_llm))

    def forward(self, probability_BC: Tensor) -> Tensor:
        """(B, C) -> (B, 1, E)."""
        return (probability_BC.to(self.vector_CE.dtype) @ self.vector_CE)[:, None]

    @torch.no_grad()
    def start_from(self, name_CE: Tensor) -> None:
        """Let the vectors be the embeddings of the classes' names, (C, E), scaled to the spread of the token."""
        name_CE = name_CE.float()
        self.vector_CE.copy_(name_CE * (self.std / name_CE.std(dim=1, keepdim=True)))


def _init_output_std(out: nn.Linear, hidden: nn.Module, target_std: float) -> None:
    # The hidden layer sees LayerNorm output (variance 1); E[gelu(z)^2] = 0.425 for standard normal z.
    assert isinstance(hidden, nn.Linear)
    nn.init.normal_(hidden.weight, std=1 / math.sqrt(hidden.in_features))
    nn.init.zeros_(hidden.bias)
    nn.init.normal_(out.weight, std=target_std / math.sqrt(0.425 * out.in_features))
    nn.init.zeros_(out.bias)
