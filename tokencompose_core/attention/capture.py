"""Capture cross-attention probabilities of a diffusers UNet."""

import math
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tokencompose_core.attention.columns import attention_columns


class AttentionMaps:
    """Maps of the last forward pass, by layer name.

    Attributes:
        maps: For each layer the probabilities, `(batch, heads, height, width, columns)`, in
            float32. A column is a token: all of them, or those that were asked for.
        tokens: Positions of the tokens to keep, for each sample of the batch; None keeps all.
        gradients: Whether maps have gradients where the network has some.
    """

    def __init__(self, *, gradients: bool = True) -> None:
        self.maps: dict[str, Float[Tensor, "batch heads height width columns"]] = {}
        self.tokens: Int[Tensor, "batch columns"] | None = None
        self.gradients = gradients
        self.is_paused = False
        self._listening = False
        self._latent_size = (1, 1)

    def select(self, tokens: Int[Tensor, "batch columns"] | None) -> None:
        """Say which tokens the following forward passes shall keep.

        The number of columns is the same for all samples of a batch; repeat any token of a sample
        that has fewer.
        """
        self.tokens = tokens

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Let the network run without being looked at, for instance to generate an image."""
        self.is_paused = True
        try:
            yield
        finally:
            self.is_paused = False

    def start(self, latent_size: tuple[int, int]) -> None:
        """Forget the maps of the last forward pass; a new one begins."""
        self.maps = {}
        self._latent_size = latent_size
        self._listening = True

    def stop(self) -> None:
        """The forward pass is over."""
        self._listening = False

    def add(self, layer: str, columns: Float[Tensor, "batch heads pixels columns"]) -> None:
        """Keep what a layer attends to, if the UNet runs forward.

        Gradient checkpointing runs layers a second time during the backward pass; by then the maps
        have been read, and the second set is dropped.
        """
        if self._listening:
            size = map_size(columns.shape[2], self._latent_size)
            self.maps[layer] = columns.unflatten(2, size)


def map_size(pixels: int, latent_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a map of `pixels`, reduced from latents of `latent_size`.

    Raises:
        ValueError: If no halving of the latents has that many pixels.
    """
    height, width = latent_size
    while height * width > pixels and max(height, width) > 1:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    if height * width != pixels:
        raise ValueError(f"a map of {pixels} pixels does not come from latents of {latent_size}")
    return height, width


@contextmanager
def capture_attention(
    unet: UNet2DConditionModel, layers: Collection[str], *, gradients: bool = True
) -> Iterator[AttentionMaps]:
    """Capture the probabilities of some layers of every forward pass inside the context.

    No layer computes anything else than outside of the context: its queries and keys are read as it
    projects them, whatever its processor is, and the wanted columns are computed beside it. So the
    output of the UNet stays the same bit for bit, with fused attention kernels, gradient
    checkpointing, LoRA layers and autocast.

    Add LoRA layers before. `torch.compile` the UNet or its blocks inside the context, not before;
    cross-attention stays uncompiled, all around it is. With gradient checkpointing compile blocks,
    with `dynamic=False`, or a block may meet the code of another size when it runs again.

    Args:
        unet: The network.
        layers: Names of cross-attention layers.
        gradients: Whether the maps train the network; False if they are only looked at.

    Yields:
        Maps of the latest forward pass.

    Raises:
        KeyError: If a layer is no cross-attention of the network.
        ValueError: If a layer's projections are fused.
    """
    modules = {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, Attention) and module.is_cross_attention
    }
    unknown = [name for name in layers if name not in modules]
    if unknown:
        raise KeyError(f"the UNet has no cross-attention {unknown}; it has {sorted(modules)}")
    fused = [name for name in layers if getattr(modules[name], "fused_projections", False)]
    if fused:
        raise ValueError(
            f"the projections of {fused} are fused; call unet.unfuse_qkv_projections()"
        )
    result = AttentionMaps(gradients=gradients)

    def start(module, inputs, keywords) -> None:
        sample = keywords["sample"] if "sample" in keywords else inputs[0]
        result.start(tuple(sample.shape[-2:]))

    def stop(module, inputs, output) -> None:
        result.stop()

    with ExitStack() as undo:
        undo.enter_context(unet.register_forward_pre_hook(start, with_kwargs=True))
        undo.enter_context(unet.register_forward_hook(stop, always_call=True))
        for name, module in modules.items():
            undo.callback(module.__dict__.update, _own(module, "forward"))
            forward = module.forward
            if name in layers:
                layer = _Layer(name, module, result)
                undo.enter_context(module.to_q.register_forward_hook(layer.see_query))
                undo.enter_context(module.to_k.register_forward_hook(layer.see_key))
                forward = layer.forward
            # Compiled, a checkpointed block could meet the code of another when it runs again.
            module.forward = torch.compiler.disable(forward)
            undo.callback(module.__dict__.pop, "forward")
        yield result


def _own(module: torch.nn.Module, name: str) -> dict[str, Any]:
    """What the module, and not its class, has under a name: offloading wraps `forward` so."""
    return {name: module.__dict__[name]} if name in module.__dict__ else {}


class _Layer:
    """A cross-attention layer that is captured."""

    def __init__(self, name: str, attention: Attention, maps: AttentionMaps) -> None:
        self.name = name
        self.attention = attention
        self.plain_forward = attention.forward
        self.maps = maps
        self.query: Tensor | None = None
        self.key: Tensor | None = None

    def see_query(self, module, inputs, output: Tensor) -> None:
        self.query = output

    def see_key(self, module, inputs, output: Tensor) -> None:
        self.key = output

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **keywords,
    ) -> Tensor:
        """Run the layer as it is, and compute columns from what its projections returned."""
        try:
            output = self.plain_forward(
                hidden_states, encoder_hidden_states, attention_mask, **keywords
            )
            assert self.query is not None  # the layer has just run
            assert self.key is not None
            query, key = (
                x.unflatten(-1, (self.attention.heads, -1)) for x in (self.query, self.key)
            )
        finally:
            self.query = self.key = None
        if self.maps.is_paused:
            return output
        if self.attention.norm_q is not None:
            query = self.attention.norm_q(query)
        if self.attention.norm_k is not None:
            key = self.attention.norm_k(key)
        # Computed in the second run of a checkpointed block as well, for its gradients.
        columns = self._columns(query.transpose(1, 2), key.transpose(1, 2), attention_mask)
        self.maps.add(self.name, columns)
        return output

    def _columns(self, query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
        """Wanted columns, which keep queries and keys alone until the backward pass.

        The layer keeps these anyhow; logits of all tokens would be several times as much.
        """
        columns = partial(
            attention_columns, scale=self.attention.scale, tokens=self.maps.tokens, bias=bias
        )
        if self.maps.gradients and torch.is_grad_enabled():
            return checkpoint(columns, query, key, use_reentrant=False, preserve_rng_state=False)
        with torch.no_grad():
            return columns(query, key)
