"""The spread of attention logits, and the entropy of attention weights, from a sample of the rows."""

from __future__ import annotations

import math
from typing import Any

import torch

_ROWS = 512  # that are measured
_MASKED = -1e4  # logits up to this are masked


def logit_facts(logits: Any) -> dict[str, float]:
    """Facts about logits `(..., keys)` and their softmax, without the masked entries.

    Returns:
        `std`: standard deviation about the mean of a row. `entropy`: of a row of weights, as a share of the largest
        possible, averaged over rows. `keys`: average number of entries of a row that are not masked. None of these if
        no row has two such entries. `hidden`: 1 if every entry of a row is -inf.
    """
    rows = logits.detach().reshape(-1, logits.shape[-1]) if logits.ndim else logits.detach().reshape(1, 1)
    rows = rows[:: max(len(rows) // _ROWS, 1)].double()
    hidden = {"hidden": 1.0} if bool((rows == -math.inf).all(-1).any()) else {}
    open_ = torch.isfinite(rows) & (rows > _MASKED)
    count = open_.sum(-1)
    rows, open_, count = rows[count > 1], open_[count > 1], count[count > 1].double()
    if not len(rows):
        return hidden
    plain = rows.where(open_, 0.0)
    mean = plain.sum(-1, keepdim=True) / count[:, None]
    std = ((plain - mean).where(open_, 0.0).square().sum() / count.sum()).sqrt()
    weights = rows.masked_fill(~open_, -math.inf).softmax(-1)
    entropy = -(weights * weights.clamp_min(1e-300).log()).sum(-1) / count.log()
    return {"std": float(std), "entropy": float(entropy.mean()), "keys": float(count.mean()), **hidden}


def attention_facts(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, float]:
    """The same facts about fused attention, whose logits are computed again for the first sample.

    Args:
        args, kwargs: of the call.
    """
    named = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False)) | kwargs
    query, key = (named[name].detach()[:1].float() for name in ("query", "key"))
    if query.ndim == 4 and key.shape[1] != query.shape[1]:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scale = kwargs.get("scale") or 1 / math.sqrt(query.shape[-1])
    logits = query @ key.transpose(-1, -2) * scale
    mask = named.get("attn_mask")
    if named.get("is_causal"):
        logits = logits.masked_fill(~torch.ones_like(logits, dtype=torch.bool).tril(), -math.inf)
    elif mask is not None:
        part = mask.detach()[:1] if mask.ndim == logits.ndim else mask.detach()
        logits = logits.masked_fill(~part, -math.inf) if part.dtype == torch.bool else logits + part
    return logit_facts(logits)
