"""Log-likelihoods of labels after one prompt: all labels as a tree of tokens, read in one pass.

Tokens that labels begin with in common are computed once, and the prompt's keys and values serve
every label: a token attends to the prompt and to its own ancestors (a block mask).

Shape letters: R prompts, T cached positions, N tree tokens, K labels, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicSlidingWindowLayer

from tslm.models.decoding.attention import any_mask, takes_added_mask
from tslm.models.decoding.cache import fork_cache
from tslm.models.fusion import SeriesMemory, memory_argument, run_decoder
from tslm.models.llm.backbone import cap_logits

_ROOT = -1  # parent of every label's first token


@dataclass
class LabelTree:
    """Labels joined where they begin alike; nodes are in the order of their labels, parents first."""

    tokens: list[int] = field(default_factory=list)  # of the nodes, which are read
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)  # 0 for the children of the root
    steps: list[list[tuple[int, int]]] = field(default_factory=list)  # a label: (node, token that follows it)


@dataclass(frozen=True)
class LabelScores:
    """Scores of the labels; -inf and False where a row has fewer of them."""

    log_likelihood_RK: Tensor  # float32, sum over the tokens of a label, its end token included
    is_greedy_RK: Tensor  # bool, each of these tokens is the most likely of the vocabulary


def build_label_tree(labels: Sequence[Sequence[int]], unread: int | None = None) -> LabelTree:
    """The tree of one sample's labels, each a list of token ids; the last token of a label is scored and never read.

    `unread` is the last token before the labels where the cache lacks it; it is read with them and not scored.
    """
    tree, children = LabelTree(), dict[tuple[int, int], int]()
    start = _ROOT
    if unread is not None:
        start = _add_node(tree, unread, _ROOT)
    for label in labels:
        node, steps = start, []
        for token in label:
            steps.append((node, token))
            if len(steps) == len(label):
                break
            if (node, token) not in children:
                children[node, token] = _add_node(tree, token, node)
            node = children[node, token]
        tree.steps.append(steps)
    return tree


def _add_node(tree: LabelTree, token: int, parent: int) -> int:
    tree.tokens.append(token)
    tree.parents.append(parent)
    tree.depths.append(tree.depths[parent] + 1 if parent != _ROOT else 0)
    return len(tree.tokens) - 1


@torch.no_grad()
def score_label_trees(
    causal_lm: PreTrainedModel,
    cache: DynamicCache,
    mask_RT: Tensor,
    trees: Sequence[LabelTree],
    logits_RV: Tensor | None = None,
    memory: SeriesMemory | None = None,
) -> LabelScores:
    """Log-likelihood of every label after what the cache holds.

    Args:
        causal_lm: the language model, without adapters around it.
        cache: keys and values of the text before the labels; it is not changed.
        mask_RT: which cached positions are real.
        trees: the labels of each row.
        logits_RV: logits of the first token; None where all trees begin with an unread one.
        memory: what the decoder reads beside the sequence.
    """
    parts = [] if logits_RV is None else [logits_RV[:, None]]
    if any(tree.tokens for tree in trees):
        parts.append(_read_trees(causal_lm, cache, mask_RT, trees, memory))
    logits_RNV = cap_logits(torch.cat(parts, dim=1).float(), causal_lm)
    log_norm_RN, best_RN = logits_RNV.logsumexp(-1), logits_RNV.argmax(-1)
    first_node = 0 if logits_RV is None else _ROOT
    steps = [
        (row, label, node - first_node, token)
        for row, tree in enumerate(trees)
        for label, path in enumerate(tree.steps)
        for node, token in path
    ]
    row_S, label_S, node_S, token_S = torch.tensor(steps, device=mask_RT.device).T
    log_probability_S = logits_RNV[row_S, node_S, token_S] - log_norm_RN[row_S, node_S]
    shape = len(trees), max(len(tree.steps) for tree in trees)
    scores_RK, num_others_RK = torch.zeros(shape, device=mask_RT.device), torch.zeros(shape, device=mask_RT.device)
    scores_RK.index_put_((row_S, label_S), log_probability_S, accumulate=True)
    num_others_RK.index_put_((row_S, label_S), (best_RN[row_S, node_S] != token_S).float(), accumulate=True)
    counts = torch.tensor([len(tree.steps) for tree in trees], device=mask_RT.device)
    missing_RK = torch.arange(shape[1], device=mask_RT.device)[None] >= counts[:, None]
    return LabelScores(scores_RK.masked_fill(missing_RK, -torch.inf), (num_others_RK == 0) & ~missing_RK)


def _read_trees(
    causal_lm: PreTrainedModel,
    cache: DynamicCache,
    mask_RT: Tensor,
    trees: Sequence[LabelTree],
    memory: SeriesMemory | None,
) -> Tensor:
    """Logits after every node, (R, N, V)."""
    width, device = max(len(tree.tokens) for tree in trees), mask_RT.device
    token_RN = torch.tensor([tree.tokens + [0] * (width - len(tree.tokens)) for tree in trees], device=device)
    depth_RN = torch.tensor([tree.depths + [0] * (width - len(tree.depths)) for tree in trees], device=device)
    position_RN = mask_RT.sum(dim=1, keepdim=True) + depth_RN
    head = causal_lm.get_output_embeddings()
    assert isinstance(head, nn.Module)
    fork = fork_cache(cache)
    with any_mask(causal_lm):
        hidden_RNE = run_decoder(
            causal_lm,
            **memory_argument(memory),
            input_ids=token_RN,
            attention_mask=_build_masks(causal_lm, fork, mask_RT, _related(trees, width, device), position_RN),
            position_ids=position_RN,
            past_key_values=fork,
            use_cache=True,
        )
    return head(hidden_RNE)


def _related(trees: Sequence[LabelTree], width: int, device: torch.device) -> Tensor:
    """(R, N, N) bool: the second node is the first or an ancestor of it."""
    related_RNN = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)
    for row, tree in enumerate(trees):
        for node, parent in enumerate(tree.parents):
            if parent != _ROOT:
                related_RNN[row, node] |= related_RNN[row, parent]
    return related_RNN.to(device)


def _build_masks(
    causal_lm: PreTrainedModel, cache: DynamicCache, mask_RT: Tensor, related_RNN: Tensor, position_RN: Tensor
) -> Tensor | dict[str, Tensor]:
    """Attention masks of the nodes over cache and tree, for each kind of layer, as transformers' decoders take them."""
    mask_RT = mask_RT.bool()
    seen_RNT = mask_RT[:, None].expand(-1, position_RN.shape[1], -1)
    full = _shape_mask(causal_lm, torch.cat([seen_RNT, related_RNN], dim=2))
    sliding = [layer for layer in cache.layers if isinstance(layer, DynamicSlidingWindowLayer)]
    if not sliding:
        return full if not hasattr(causal_lm.config, "layer_types") else {"full_attention": full}
    assert sliding[0].keys is not None
    window, num_kept = sliding[0].sliding_window, sliding[0].keys.shape[-2]
    key_RT = (mask_RT.long().cumsum(dim=1) - 1)[:, mask_RT.shape[1] - num_kept :]
    near_RNT = position_RN[:, :, None] - key_RT[:, None] < window
    near_RNN = position_RN[:, :, None] - position_RN[:, None] < window
    kept_RNT = seen_RNT[:, :, mask_RT.shape[1] - num_kept :] & near_RNT
    near = _shape_mask(causal_lm, torch.cat([kept_RNT, related_RNN & near_RNN], dim=2))
    return {"full_attention": full, "sliding_attention": near} if hasattr(causal_lm.config, "layer_types") else near


def _shape_mask(causal_lm: PreTrainedModel, seen_RNT: Tensor) -> Tensor:
    """A mask as the attention takes it: bool for the fused kernel, else a bias added to the scores."""
    if not takes_added_mask(causal_lm):
        return seen_RNT[:, None]
    added_RNT = torch.zeros(seen_RNT.shape, dtype=causal_lm.dtype, device=seen_RNT.device)
    return added_RNT.masked_fill(~seen_RNT, torch.finfo(causal_lm.dtype).min)[:, None]
