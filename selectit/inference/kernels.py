"""What computes attention and matrix products, chosen by device and number type, for inference and training.

The packed path's attention is causal attention of one packed row over a shared prefix and itself, without a
materialised mask. Its matrix products on a CPU go through oneDNN, which takes the widest vectors of every maker's
cores: torch's own linear layers go to MKL, which does so on Intel's; on an AMD EPYC oneDNN was 2.2 times as fast.
"""

from __future__ import annotations

import platform

import torch
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers.utils import is_flash_attn_2_available

QUERY_BLOCK = 64
"""Queries per matrix product on CPU: no key behind the block's last query is multiplied."""
_ONEDNN = platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()


def training_attention(packs: bool, dtype: torch.dtype) -> str | None:
    """transformers' name of what computes attention in training; None: its own choice. Packed rows do not see each
    other with either; FlashAttention also leaves out the work between them.
    """
    return "flash_attention_2" if packs and is_flash_attn_2_available() and dtype != torch.float32 else None


def linear(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """As torch's. Args: rows: [num_rows, in]; weight: [out, in]; bias: [out]. Returns: [num_rows, out]."""
    if _ONEDNN and rows.device.type == "cpu" and rows.dtype == torch.float32:
        # what torch.compile takes for a linear layer on a CPU; torch has no public name for it
        return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return functional.linear(rows, weight, bias)


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
