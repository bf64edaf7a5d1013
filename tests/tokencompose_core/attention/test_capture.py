import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig

from tests.tokencompose_core.training.method_reference import build_unet
from tokencompose_core.attention.capture import capture_attention, map_size
from tokencompose_core.attention.columns import attention_columns
from tokencompose_core.attention.layers import cross_attention_layers, layer_key


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
    with capture_attention(unet, cross_attention_layers(unet, ("mid", "up"), 8)) as attention:
        assert torch.equal(run(unet), plain)
        assert all(unet.attn_processors[name] is p for name, p in processors.items())
    assert len(attention.maps) == 3
    for module in unet.modules():
        assert "forward" not in vars(module)
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert torch.equal(run(unet), plain)


def test_layers_of_places_and_resolutions(unet):
    def blocks(*wanted):
        return [name.split(".attentions")[0] for name in cross_attention_layers(unet, wanted, 8)]

    assert blocks("mid") == blocks("mid_4") == ["mid_block"]
    assert blocks("up") == blocks("up_8") == ["up_blocks.1", "up_blocks.1"]
    assert blocks("up", "up_8", "down_8") == ["down_blocks.0", "up_blocks.1", "up_blocks.1"]
    assert len(blocks("down", "mid", "up")) == 4


def test_one_resolution_of_a_place_leaves_out_its_others():
    deep = build_unet("sd1")

    def blocks(*wanted):
        names = cross_attention_layers(deep, wanted, 8)
        return list(dict.fromkeys(name.split(".attentions")[0] for name in names))

    assert blocks("up") == ["up_blocks.1", "up_blocks.2"]
    assert blocks("up_4") == ["up_blocks.1"]
    assert blocks("up_8") == ["up_blocks.2"]
    assert blocks("down_4", "up_8") == ["down_blocks.1", "up_blocks.2"]


def test_keys_are_the_sizes_of_the_maps(unet):
    everything = cross_attention_layers(unet, ("down", "mid", "up"), 9)
    with capture_attention(unet, everything) as attention:
        run(unet, height=9, width=9)
    assert [layer_key(unet, name, 9).split("_")[1] for name in attention.maps] == [
        str(maps.shape[2]) for maps in attention.maps.values()
    ]


def test_maps_are_the_softmax_of_queries_and_keys(unet):
    (layer,) = cross_attention_layers(unet, ("down",), 8)
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
                    (query[sample, pixel, own] @ key[sample, token, own]).item() / 4**0.5
                    for token in range(5)
                ]
                expected = torch.tensor(logits).softmax(dim=0)
                found = maps[sample, head, pixel // 8, pixel % 8]
                assert torch.allclose(found, expected, atol=1e-6)


def test_latents_need_not_be_square(unet):
    with capture_attention(unet, cross_attention_layers(unet, ("mid", "up"), 8)) as attention:
        run(unet, height=8, width=12)
    sizes = {tuple(maps.shape[2:4]) for maps in attention.maps.values()}
    assert sizes == {(4, 6), (8, 12)}


def test_checkpointing_gives_one_set_of_maps_and_the_same_gradients(unet):
    layers = cross_attention_layers(unet, ("mid", "up"), 8)
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


def kept_bytes(unet, layers, **options):
    """Bytes kept for the backward pass, weights left out; and the maps, and a sum of them."""
    weights = {p.untyped_storage().data_ptr() for p in unet.parameters()}
    storages = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with capture_attention(unet, layers, **options) as attention:
            attention.select(torch.tensor([[1], [2]]))
            run(unet)
        total = sum(maps.square().sum() for maps in attention.maps.values())
    kept = sum(storage.nbytes() for storage in storages.values())
    return kept, attention.maps, total


def test_of_captured_columns_nothing_as_large_as_the_logits_is_kept(unet):
    layers = cross_attention_layers(unet, ("mid", "up"), 8)
    plain, _, _ = kept_bytes(unet.train(), [])
    kept, maps, total = kept_bytes(unet, layers)
    columns = sum(value.untyped_storage().nbytes() for value in maps.values())
    assert columns <= kept - plain < 2 * columns
    total.backward()
    assert unet.get_submodule(layers[-1]).to_q.weight.grad.abs().max() > 0
    kept, without, total = kept_bytes(unet, layers, gradients=False)
    assert kept == plain
    assert not total.requires_grad
    assert all(torch.equal(without[name], value) for name, value in maps.items())


def test_selected_columns_are_those_of_the_whole_map(unet):
    layers = cross_attention_layers(unet, ("mid", "up"), 8)
    tokens = torch.tensor([[4, 1], [0, 0]])
    with capture_attention(unet, layers) as attention:
        run(unet)
        whole = attention.maps
        attention.select(tokens)
        run(unet)
    for name, maps in attention.maps.items():
        assert maps.shape[-1] == 2
        for sample, own in enumerate(tokens):
            assert torch.allclose(maps[sample], whole[name][sample][..., own], atol=1e-6)


def test_padding_is_left_out_of_the_softmax(unet):
    layers = cross_attention_layers(unet, ("up",), 8)
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn((1, 4, 8, 8), generator=generator)
    states = torch.randn((1, 5, 6), generator=generator)
    padding = torch.tensor([[1, 1, 1, 0, 0]])
    with capture_attention(unet, layers) as attention:
        unet(sample, torch.tensor(10), states, encoder_attention_mask=padding)
        whole = attention.maps
        attention.select(torch.tensor([[1, 4]]))
        unet(sample, torch.tensor(10), states, encoder_attention_mask=padding)
        masked = attention.maps
        attention.select(None)
        unet(sample, torch.tensor(10), states[:, :3])
    for name, maps in attention.maps.items():
        assert torch.allclose(whole[name][..., :3], maps, atol=1e-5)
        assert torch.equal(whole[name][..., 3:], torch.zeros(1, 2, 8, 8, 2))
        assert torch.allclose(masked[name], whole[name][..., [1, 4]], atol=1e-6)


def test_lora_layers_are_seen(unet):
    (layer,) = cross_attention_layers(unet, ("mid",), 8)
    with capture_attention(unet, [layer]) as attention:
        run(unet)
    before = attention.maps[layer]
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False))
    with capture_attention(unet, [layer]) as attention:
        run(unet)
    assert not torch.allclose(attention.maps[layer], before, atol=1e-3)


def test_columns_of_bfloat16_are_exact_and_their_gradients_round_once():
    generator = torch.Generator().manual_seed(0)
    query, key = 3 * torch.randn((2, 2, 4, 9, 8), generator=generator)
    rounded = [x.bfloat16().requires_grad_() for x in (query, key)]
    exact = [x.detach().double().requires_grad_() for x in rounded]
    tokens = torch.tensor([[3, 0], [8, 8]])
    with torch.autocast("cpu", torch.bfloat16):
        columns = attention_columns(*rounded, 0.3, tokens=tokens)
    assert columns.dtype == torch.float32
    whole = (exact[0] @ exact[1].transpose(-1, -2) * 0.3).softmax(dim=-1)
    expected = torch.stack([own[..., t] for own, t in zip(whole, tokens, strict=True)])
    assert torch.allclose(columns.double(), expected, rtol=1e-5)
    weights = torch.rand(columns.shape, generator=generator)
    gradients = torch.autograd.grad((weights * columns).sum(), rounded)
    wanted = torch.autograd.grad((weights * expected).sum(), exact)
    for one, other in zip(gradients, wanted, strict=True):
        assert (one.double() - other).norm() < 5e-3 * other.norm()


def test_unknown_layers_are_refused(unet):
    with pytest.raises(KeyError, match=r"up_blocks\.7"), capture_attention(unet, ["up_blocks.7"]):
        pass
    with pytest.raises(ValueError, match="'up_16'; it has down_8, mid_4, up_8"):
        cross_attention_layers(unet, ("up_16",), 8)
    with pytest.raises(ValueError, match="no cross-attention layers"):
        cross_attention_layers(unet, (), 8)


def test_layers_that_are_no_cross_attention_are_refused_naming_those_that_are(unet):
    names = cross_attention_layers(unet, ("down", "mid", "up"), 8)
    own = names[0].replace("attn2", "attn1")
    with pytest.raises(KeyError) as refusal, capture_attention(unet, [own]):
        pass
    assert str(sorted(names)) in str(refusal.value)


def test_wrapped_forward_is_called_and_put_back(unet):
    (layer,) = cross_attention_layers(unet, ("mid",), 8)
    module = unet.get_submodule(layer)
    calls = []
    plain = module.forward

    def wrapped(*inputs, **keywords):
        calls.append(layer)
        return plain(*inputs, **keywords)

    module.forward = wrapped
    with capture_attention(unet, [layer]) as attention:
        run(unet)
    assert calls == [layer]
    assert list(attention.maps) == [layer]
    assert module.forward is wrapped


def test_fused_projections_are_refused(unet):
    unet.fuse_qkv_projections()
    layers = cross_attention_layers(unet, ("mid",), 8)
    with pytest.raises(ValueError, match="unfuse_qkv"), capture_attention(unet, layers):
        pass


def test_forward_pass_that_fails_leaves_nothing_listening(unet):
    with capture_attention(unet, cross_attention_layers(unet, ("mid",), 8)) as attention:
        with pytest.raises(RuntimeError):
            unet(torch.zeros(1, 4, 8, 8), torch.tensor(1), torch.zeros(1, 5, 7))
        assert not attention._listening


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
