"""Causal attention of one packed row over a shared prefix and itself, without a materialised mask."""

from __future__ import annotations

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

QUERY_BLOCK = 64
"""Queries per matrix product on CPU: no key behind the block's last query is multiplied."""


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """Each query sees the keys up to its own; the last query sees all.

    Args:
        queries: [num_heads, num_queries, head_dim], rotated.
        keys, values: [num_key_value_heads, num_keys, head_dim] with num_keys >= num_queries; the keys in front
            of the queries' own are the prefix.
    Returns: [num_queries, num_heads * head_dim].
    """
    if queries.is_cuda:
        return attend_fused(queries, keys, values, scale)
    return attend_in_blocks(queries, keys, values, scale)


def attend_fused(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """The device's own kernel. A launch per row hides behind the matrix products, which take longer."""
    heads = scaled_dot_product_attention(
        queries[None],
        keys[None],
        values[None],
        attn_mask=causal_lower_right(queries.shape[1], keys.shape[1]),
        scale=scale,
        enable_gqa=queries.shape[0] != keys.shape[0],
    )[0]
    return heads.transpose(0, 1).flatten(1)


def attend_in_blocks(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """Plain matrix products, float32: on CPU faster than the fused kernel at the lengths of instruction data."""
    num_heads, num_queries, head_dim = queries.shape
    num_shared = keys.shape[1] - num_queries
    groups = num_heads // keys.shape[0]  # query heads that read one key-value head
    out = queries.new_empty(num_queries, num_heads, head_dim)
    transposed = keys.transpose(1, 2)
    for start in range(0, num_queries, QUERY_BLOCK):
        end = min(start + QUERY_BLOCK, num_queries)
        seen = num_shared + end
        block = queries[:, start:end].reshape(-1, groups * (end - start), head_dim)
        weights = torch.bmm(block * scale, transposed[:, :, :seen])  # [kv_heads, groups * block, seen]
        if end - start > 1:
            later = torch.ones(end - start, end - start, dtype=torch.bool).triu_(1)
            own = weights.view(-1, groups, end - start, seen)[..., num_shared + start :]
            own.masked_fill_(later, float("-inf"))
        found = torch.bmm(weights.softmax(dim=-1), values[:, :seen])
        out[start:end] = found.view(num_heads, end - start, head_dim).transpose(0, 1)
    return out.flatten(1)
