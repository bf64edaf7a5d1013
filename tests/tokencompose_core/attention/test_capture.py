import pytest
import torch
from diffusers import UNet2DConditionModel

from tokencompose_core.attention.capture import (
    capture_attention,
    cross_attention_layers,
    map_size,
)


@pytest.fixture
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=6,
        attention_head_dim=2,
        norm_num_groups=4,
    ).eval()


def run(unet, height=8, width=8, batch=2):
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn((batch, 4, height, width), generator=generator)
    states = torch.randn((batch, 5, 6), generator=generator)
    return unet(sample, torch.tensor(10), states).sample


def test_output_is_that_of_the_plain_network_and_leaving_restores_it(unet):
    plain = run(unet)
    processors = dict(unet.attn_processors)
    with capture_attention(unet, cross_attention_layers(unet, ("mid", "up"))) as attention:
        captured = run(unet)
    assert torch.allclose(captured, plain, atol=1e-6)
    assert len(attention.maps) == 3
    assert all(unet.attn_processors[name] is p for name, p in processors.items())
    assert not unet._forward_hooks
    assert not unet._forward_pre_hooks
    assert torch.equal(run(unet), plain)


def test_layers_of_places(unet):
    assert [n.split(".")[0] for n in cross_attention_layers(unet, ("mid",))] == ["mid_block"]
    everything = cross_attention_layers(unet, ("down", "mid", "up"))
    assert len(everything) == 4
    assert all("attn2" in name for name in everything)


def test_maps_are_the_softmax_of_queries_and_keys(unet):
    (layer,) = cross_attention_layers(unet, ("down",))
    module = dict(unet.named_modules())[layer]
    seen = {}

    def keep(module, inputs, keywords):
        seen["pixels"], seen["states"] = inputs[0], keywords["encoder_hidden_states"]

    hook = module.register_forward_pre_hook(keep, with_kwargs=True)
    with capture_attention(unet, [layer]) as attention:
        run(unet)
    hook.remove()
    query, key = module.to_q(seen["pixels"]), module.to_k(seen["states"])
    maps = attention.maps[layer]
    assert maps.shape == (2, 2, 8, 8, 5)
    for sample in range(2):
        for head in range(2):
            own = slice(head * 4, head * 4 + 4)
            for pixel in (0, 9, 63):
                logits = [
                    float(query[sample, pixel, own] @ key[sample, token, own]) / 4**0.5
                    for token in range(5)
                ]
                expected = torch.tensor(logits).softmax(dim=0)
                found = maps[sample, head, pixel // 8, pixel % 8]
                assert torch.allclose(found, expected, atol=1e-6)


def test_latents_need_not_be_square(unet):
    with capture_attention(unet, cross_attention_layers(unet, ("mid", "up"))) as attention:
        run(unet, height=8, width=12)
    sizes = {tuple(maps.shape[2:4]) for maps in attention.maps.values()}
    assert sizes == {(4, 6), (8, 12)}


def test_checkpointing_gives_one_set_of_maps_and_the_same_gradients(unet):
    layers = cross_attention_layers(unet, ("mid", "up"))
    gradients = []
    for checkpointing in (False, True):
        unet.train()
        unet.zero_grad()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        with capture_attention(unet, layers) as attention:
            run(unet)
            loss = sum(maps[..., 1].square().sum() for maps in attention.maps.values())
            kept = dict(attention.maps)
            loss.backward()
            assert all(attention.maps[name] is maps for name, maps in kept.items())
        gradients.append([p.grad.clone() for p in unet.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_unknown_layers_are_refused(unet):
    with pytest.raises(KeyError, match=r"up_blocks\.7"), capture_attention(unet, ["up_blocks.7"]):
        pass
    with pytest.raises(ValueError, match="no cross-attention"):
        cross_attention_layers(unet, ())


@pytest.mark.parametrize(
    ("pixels", "latents", "expected"),
    [
        (64, (8, 8), (8, 8)),
        (16, (8, 8), (4, 4)),
        (24, (8, 12), (4, 6)),
        (6, (9, 5), (3, 2)),
        (1, (8, 8), (1, 1)),
    ],
)
def test_size_of_a_map(pixels, latents, expected):
    assert map_size(pixels, latents) == expected


def test_size_that_no_halving_gives_is_refused():
    with pytest.raises(ValueError, match="63 pixels"):
        map_size(63, (8, 8))
