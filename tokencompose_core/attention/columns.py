"""Single columns of a softmax over keys."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def attention_columns(
    query: Float[Tensor, "batch heads pixels width"],
    key: Float[Tensor, "batch heads tokens width"],
    scale: float,
    *,
    tokens: Int[Tensor, "batch columns"] | None = None,
    bias: Float[Tensor, "batch one_or_pixels tokens"] | None = None,
) -> Float[Tensor, "batch heads pixels columns"]:
    """Probabilities with which queries attend to some keys, normalised over all keys.

    A column is `exp(logit - logsumexp(logits))`. It is computed in float32 whatever the precision
    of queries and keys: rounded to bfloat16, logits alone would cost half a percent.

    Args:
        query: Projected queries.
        key: Projected keys.
        scale: Factor of the logits, one over the square root of the width as a rule.
        tokens: Positions of the wanted keys for each sample; None for all keys in order.
        bias: Added to the logits, for instance a large negative number for padding.
    """
    with torch.autocast(query.device.type, enabled=False):
        query, key = query.float() * scale, key.float()
        logits = query @ key.transpose(-1, -2)
        if bias is not None:
            logits = logits + bias[:, None].float()
        if tokens is None:
            return logits.softmax(dim=-1)
        total = logits.logsumexp(dim=-1, keepdim=True)
        # Products with the wanted keys alone: the backward pass of an index into all logits would
        # fill a tensor of their size with zeros.
        rows = torch.arange(len(tokens), device=tokens.device)[:, None]
        wanted = query @ key[rows, :, tokens].permute(0, 2, 3, 1)
        if bias is not None:
            places = tokens[:, None].expand(-1, bias.shape[1], -1)
            wanted = wanted + bias.gather(-1, places)[:, None].float()
        return (wanted - total).exp()
