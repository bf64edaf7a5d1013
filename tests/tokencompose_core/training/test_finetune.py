import json
import multiprocessing
import random
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast

from data_schemas.rejections import RejectionReason
from tests.conftest import MODELS
from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers
from tokencompose_core.evaluation.generate import (
    Sampler,
    generate_images,
    load_pipeline,
    request_images,
)
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.objectives.tokencompose import paper_losses
from tokencompose_core.shards.read_shard import GroundedSample
from tokencompose_core.training.crop import crop_image
from tokencompose_core.training.encode_shard import (
    encode_samples,
    map_sides,
    read_encoded,
    select_samples,
    write_encoded,
)
from tokencompose_core.training.finetune import FinetuneSettings, finetune_unet
from tokencompose_core.training.trainable import choose_trainable, save_model
from tokencompose_core.training.validate import validate_unet

SETTINGS = FinetuneSettings(
    variant="paper",
    token_weight=0.05,
    pixel_weight=0.01,
    layers=("mid", "up"),
    trainable="unet",
    lora_rank=2,
    num_steps=6,
    batch_size=3,
    gradient_accumulation_steps=2,
    gradient_checkpointing=False,
    learning_rate=1e-3,
    lr_scheduler="constant_with_warmup",
    lr_warmup_steps=2,
    adam_beta1=0.9,
    adam_beta2=0.999,
    adam_weight_decay=1e-2,
    adam_epsilon=1e-8,
    max_grad_norm=1.0,
    seed=3,
    checkpoint_every_steps=2,
)


def make_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )


@pytest.fixture(scope="module")
def frozen_parts():
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=0.5,
    ).eval()
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=16,
            projection_dim=16,
            eos_token_id=49407,
        )
    ).eval()
    tokenizer = CLIPTokenizerFast.from_pretrained(
        MODELS / "stable_diffusion/tokenizer", model_max_length=16
    )
    return vae, text_encoder, tokenizer


def make_samples(count: int = 5) -> list[GroundedSample]:
    generator = np.random.default_rng(0)
    samples = []
    for number in range(count):
        mask = np.zeros((20, 24), dtype=bool)
        mask[4:12, 6 + number : 14 + number] = True
        samples.append(
            GroundedSample(
                key=f"{number:03d}",
                image=Image.fromarray(generator.integers(0, 255, (20, 24, 3), dtype=np.uint8)),
                caption="A surfboard and a cat",
                spans=[(2, 11), (18, 21)],
                masks=[mask, ~mask],
            )
        )
    return samples


def encode(frozen_parts, samples, **changes):
    options = {
        "resolution": 16,
        "sides": map_sides(2, 8),
        "reduction": "coverage",
        "batch_size": 2,
    } | changes
    return encode_samples(samples, *frozen_parts, **options)


@pytest.fixture(scope="module")
def encoded(frozen_parts):
    return encode(frozen_parts, make_samples())[0]


def test_sides_of_the_maps():
    assert map_sides(4, 64) == [64, 32, 16, 8]
    assert map_sides(3, 15) == [15, 8, 4]


def test_encoding_keeps_what_the_frozen_parts_compute(frozen_parts, encoded):
    vae, text_encoder, tokenizer = frozen_parts
    sample = make_samples()[3]
    with torch.no_grad():
        posterior = vae.encode(crop_image(sample.image, 16)[None]).latent_dist
        ids = tokenizer(sample.caption, padding="max_length", return_tensors="pt").input_ids
        states = text_encoder(ids)[0]
    assert torch.allclose(encoded.latents_mean[3], posterior.mean[0] * 0.5, atol=1e-5)
    assert torch.allclose(encoded.latents_deviation[3], posterior.std[0] * 0.5, atol=1e-5)
    assert torch.allclose(encoded.encoder_hidden_states[3], states[0], atol=1e-5)
    assert encoded.positions[3] == [[2, 3], [6]]
    assert encoded.grids[8].shape == (10, 8, 8)
    assert encoded.grids[4].shape == (10, 4, 4)


def test_encoded_samples_survive_the_disk(tmp_path, encoded):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_encoded(tmp_path / name, encoded)
    again = read_encoded([tmp_path / "a"])
    assert (again.keys, again.captions, again.positions) == (
        encoded.keys,
        encoded.captions,
        encoded.positions,
    )
    assert torch.equal(again.latents_mean, encoded.latents_mean)
    assert all(torch.equal(again.grids[side], grid) for side, grid in encoded.grids.items())
    assert len(read_encoded([tmp_path / "a", tmp_path / "b"]).keys) == 10


def test_selected_samples_keep_their_phrases(frozen_parts):
    samples = make_samples()
    samples[1] = replace(samples[1], spans=[], masks=[])
    encoded, _ = encode(frozen_parts, samples)
    part = select_samples(encoded, {"004", "001", "000"})
    assert part.keys == ["000", "001", "004"]
    assert [len(phrases) for phrases in part.positions] == [2, 0, 2]
    assert torch.equal(part.latents_mean, encoded.latents_mean[[0, 1, 4]])
    assert torch.equal(part.grids[8], encoded.grids[8][[0, 1, 6, 7]])


def test_lost_phrases_are_reported_and_their_samples_stay(frozen_parts):
    outside = np.zeros((20, 40), dtype=bool)
    outside[:, :4] = True
    inside = np.zeros((20, 40), dtype=bool)
    inside[5:15, 15:25] = True
    sample = GroundedSample(
        key="k",
        image=Image.new("RGB", (40, 20)),
        caption="A cat and a dog " + "so " * 20 + "kite",
        spans=[(2, 5), (12, 15), (76, 80)],
        masks=[outside, inside, inside],
    )
    encoded, rejected = encode(frozen_parts, [sample])
    assert encoded.positions == [[[5]]]
    assert [(r.detail, r.reason) for r in rejected] == [
        ("cat", RejectionReason.PHRASE_CROPPED_AWAY),
        ("kite", RejectionReason.PHRASE_BEYOND_TEXT_LIMIT),
    ]


def test_shard_without_samples_is_encoded_to_nothing(frozen_parts, encoded, tmp_path):
    nothing, rejected = encode(frozen_parts, [])
    assert (nothing.keys, rejected) == ([], [])
    for name, part in (("a", nothing), ("b", encoded)):
        (tmp_path / name).mkdir()
        write_encoded(tmp_path / name, part)
    assert read_encoded([tmp_path / "a", tmp_path / "b"]).keys == encoded.keys
    with pytest.raises(ValueError, match="no sample"):
        read_encoded([tmp_path / "a"])


def train(encoded, tmp_path, settings=SETTINGS, unet=None, **options):
    unet = unet or make_unet()
    history = finetune_unet(
        unet, DDPMScheduler(), encoded, settings, checkpoint_dir=tmp_path / "run", **options
    )
    return unet, history


def test_run_that_was_killed_and_resumed_ends_with_the_same_weights(tmp_path, encoded):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, history = train(encoded, tmp_path / "a")

    def die_at_five(step, num_steps, losses):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(encoded, tmp_path / "b", on_step=die_at_five)
    seen = []
    resumed, again = train(encoded, tmp_path / "b", on_step=lambda step, *_: seen.append(step))
    assert seen == [5, 6]
    assert again == history
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def train_from_disk(encoded_folder, folder, settings):
    train(read_encoded([encoded_folder]), folder, settings)


def kill_twenty_times(encoded_folder, folder, settings):
    """Start the run in forked processes and kill each some steps later, at a random moment."""
    torch.set_num_threads(1)
    rng = random.Random(0)
    context = multiprocessing.get_context("fork")
    for _ in range(20):
        target = newest_step(folder) + rng.randint(1, 4)
        process = context.Process(target=train_from_disk, args=(encoded_folder, folder, settings))
        process.start()
        while newest_step(folder) < target:
            assert process.is_alive()
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.05))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL


def newest_step(folder):
    return max(
        (int(path.stem.split("-")[1]) for path in folder.rglob("checkpoint-*.pt")), default=0
    )


@pytest.fixture
def one_thread():
    """Sums are bit-identical only with as many threads as in the killed processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_run_killed_twenty_times_ends_with_the_same_weights(tmp_path, encoded):
    settings = replace(
        SETTINGS,
        num_steps=120,
        gradient_accumulation_steps=1,
        batch_size=2,
        checkpoint_every_steps=1,
    )
    for name in ("encoded", "killed"):
        (tmp_path / name).mkdir()
    write_encoded(tmp_path / "encoded", encoded)
    # The killer is a fresh process: one that has computed with several threads cannot be forked.
    killer = multiprocessing.get_context("spawn").Process(
        target=kill_twenty_times, args=(tmp_path / "encoded", tmp_path / "killed", settings)
    )
    killer.start()
    killer.join()
    assert killer.exitcode == 0
    assert 20 < newest_step(tmp_path / "killed") < settings.num_steps
    resumed, again = train(encoded, tmp_path / "killed", settings)
    whole, history = train(encoded, tmp_path / "whole", settings)
    assert again == history
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path, encoded, caplog):
    def die_at_five(step, num_steps, losses):
        if step == 5:
            raise KeyboardInterrupt

    whole, _ = train(encoded, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        train(
            encoded,
            tmp_path / "b",
            replace(SETTINGS, checkpoint_every_steps=1),
            on_step=die_at_five,
        )
    kept = sorted(path.name for path in (tmp_path / "b/run").iterdir())
    assert kept == ["checkpoint-00000003.pt", "checkpoint-00000004.pt"]
    newest = tmp_path / "b/run" / kept[1]
    newest.write_bytes(newest.read_bytes()[:1000])
    seen = []
    resumed, _ = train(encoded, tmp_path / "b", on_step=lambda step, *_: seen.append(step))
    assert seen == [4, 5, 6]
    assert "checkpoint-00000004.pt cannot be read" in caplog.text
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_checkpoint_of_other_settings_is_refused(tmp_path, encoded):
    train(encoded, tmp_path)
    with pytest.raises(ValueError, match=r"another token_weight, seed; remove them"):
        train(encoded, tmp_path, replace(SETTINGS, token_weight=0.1, seed=4))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("cross_attention_keys", (".attn2.to_k.",)),
        ("cross_attention_keys_values", (".attn2.to_k.", ".attn2.to_v.")),
        ("lora", ("lora_A", "lora_B")),
    ],
)
def test_only_the_chosen_weights_change(tmp_path, encoded, kind, names):
    unet, before = make_unet(), make_unet().state_dict()
    train(encoded, tmp_path, replace(SETTINGS, trainable=kind), unet)
    changed = set()
    for name, value in unet.state_dict().items():
        old = before.get(name.replace(".base_layer", ""))
        if old is None or not torch.equal(old, value):
            changed.add(name)
    assert changed
    assert all(any(part in name for part in names) for name in changed)


def test_lora_is_resumed_and_saved_for_diffusers(tmp_path, encoded):
    settings = replace(SETTINGS, trainable="lora", learning_rate=1e-2)

    def die_at_five(step, num_steps, losses):
        if step == 5:
            raise KeyboardInterrupt

    whole, history = train(encoded, tmp_path / "a", settings)
    with pytest.raises(KeyboardInterrupt):
        train(encoded, tmp_path / "b", settings, on_step=die_at_five)
    resumed, again = train(encoded, tmp_path / "b", settings)
    assert again == history
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_saved_lora_and_saved_folder_draw_the_same(tmp_path):
    requests = request_images([Prompt(0, "a photo of a cat.", ("cat",))], 1, 0)
    sampler = Sampler(num_inference_steps=3, guidance_scale=7.5, height=64, width=64)

    def draw(pipeline):
        (image,) = generate_images(pipeline, requests, sampler, batch_size=1)
        return np.asarray(image).astype(int)

    base = load_pipeline(MODELS / "stable_diffusion")
    plain = draw(base)
    chosen = choose_trainable(base.unet, "lora", lora_rank=4, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in chosen.items():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    tuned = draw(base)
    assert np.abs(tuned - plain).max() > 20
    save_model(base, "lora", tmp_path / "model", tmp_path / "lora")
    assert np.abs(draw(load_pipeline(tmp_path / "model")) - tuned).max() <= 2
    again = load_pipeline(MODELS / "stable_diffusion")
    again.load_lora_weights(tmp_path / "lora", weight_name="pytorch_lora_weights.safetensors")
    assert np.abs(draw(again) - tuned).max() <= 2


def test_total_is_eq_7_and_first_step_equals_a_slow_loop(tmp_path, encoded):
    settings = replace(SETTINGS, num_steps=1, gradient_accumulation_steps=1, batch_size=5)
    _, history = train(encoded, tmp_path, settings)
    row = history[0]
    assert row["total"] == pytest.approx(
        row["denoising"] + 0.05 * row["token"] + 0.01 * row["pixel"], rel=1e-6
    )
    from tokencompose_core.training.order import batch_keys

    keys = batch_keys(encoded.keys, 5, settings.seed, 0)
    rows = [encoded.keys.index(key) for key in keys]
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003)
    draws = torch.randn((2, 5, 4, 8, 8), generator=generator)
    timesteps = torch.randint(0, 1000, (5,), generator=generator)
    unet = make_unet().train()
    latents = encoded.latents_mean[rows] + encoded.latents_deviation[rows] * draws[0]
    noisy = DDPMScheduler().add_noise(latents, draws[1], timesteps)
    layers = cross_attention_layers(unet, ("mid", "up"), 8)
    with torch.no_grad(), capture_attention(unet, layers) as attention:
        predicted = unet(noisy, timesteps, encoded.encoder_hidden_states[rows]).sample
    assert row["denoising"] == pytest.approx(
        float((predicted - draws[1]).square().mean()), rel=1e-5
    )
    token = 0.0
    for maps in attention.maps.values():
        for number, source in enumerate(rows):
            terms = []
            for phrase, positions in enumerate(encoded.positions[source]):
                mask = encoded.grids[maps.shape[2]][2 * source + phrase]
                for position in positions:
                    own = maps[number, :, :, :, position].mean(dim=0)
                    terms.append((1 - float((own * mask).sum() / own.sum())) ** 2)
            token += sum(terms) / len(terms) / 5
    assert row["token"] == pytest.approx(token, rel=1e-4)


def test_accumulation_sees_the_samples_of_a_larger_batch(tmp_path, encoded):
    small = replace(SETTINGS, num_steps=1, batch_size=2, gradient_accumulation_steps=2)
    _, parts = train(encoded, tmp_path, small)
    assert parts[0]["total"] > 0


def test_checkpointing_changes_nothing_but_memory(tmp_path, encoded):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain, _ = train(encoded, tmp_path / "a", replace(SETTINGS, num_steps=2))
    saving, _ = train(
        encoded, tmp_path / "b", replace(SETTINGS, num_steps=2, gradient_checkpointing=True)
    )
    for name, value in plain.state_dict().items():
        assert torch.allclose(value, saving.state_dict()[name], atol=1e-5), name


def test_losses_make_attention_fall_into_the_masks(tmp_path, encoded):
    settings = replace(
        SETTINGS,
        num_steps=60,
        gradient_accumulation_steps=1,
        batch_size=5,
        token_weight=1.0,
        pixel_weight=0.0,
        learning_rate=5e-3,
    )
    _, history = train(encoded, tmp_path, settings)
    assert history[-1]["inside"] > history[0]["inside"] + 0.15


def test_without_weights_the_losses_are_measured_and_do_not_train(tmp_path, encoded):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = replace(SETTINGS, num_steps=2, token_weight=0.0, pixel_weight=0.0)
    first, history = train(encoded, tmp_path / "a", plain)
    assert history[0]["token"] > 0
    assert history[0]["total"] == pytest.approx(history[0]["denoising"])
    blind = replace(encoded, positions=[[] for _ in encoded.keys])
    second, history = train(blind, tmp_path / "b", plain)
    assert history[0]["token"] == 0.0
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_loss_that_is_not_finite_stops_the_run_with_its_checkpoint(tmp_path, encoded):
    spoilt = replace(encoded, latents_mean=encoded.latents_mean * float("nan"))
    with pytest.raises(FloatingPointError, match=r"step 0.*run; lower"):
        train(spoilt, tmp_path)


def test_released_variant_trains_with_its_own_losses(tmp_path, encoded):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = replace(SETTINGS, num_steps=1)
    _, paper = train(encoded, tmp_path / "a", one)
    _, released = train(encoded, tmp_path / "b", replace(one, variant="released"))
    assert released[0]["denoising"] == paper[0]["denoising"]
    # Two decoder layers of each size: the released pixel loss averages them, the paper's adds them.
    assert released[0]["pixel"] < 0.8 * paper[0]["pixel"]
    assert released[0]["token"] != paper[0]["token"]


def test_layers_that_the_unet_lacks_are_refused(tmp_path, encoded):
    with pytest.raises(ValueError, match="'up_16'; it has down_8, down_4, mid_4, up_4, up_8"):
        train(encoded, tmp_path, replace(SETTINGS, layers=("mid", "up_16")))


def test_validation_is_the_mean_over_samples_and_timesteps(encoded):
    unet, scheduler = make_unet(), DDPMScheduler()
    whole = validate_unet(
        unet, scheduler, encoded, paper_losses, layers=("mid", "up"), timesteps=(100, 800)
    )
    assert unet.training
    draws = torch.randn((2, 5, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    latents = encoded.latents_mean + encoded.latents_deviation * draws[0]
    errors = []
    for timestep in (100, 800):
        for row in range(5):
            noisy = scheduler.add_noise(latents[row], draws[1, row], torch.tensor([timestep]))
            with torch.no_grad():
                predicted = unet(
                    noisy[None], timestep, encoded.encoder_hidden_states[row : row + 1]
                ).sample
            errors.append(float((predicted[0] - draws[1, row]).square().mean()))
    assert whole["denoising"] == pytest.approx(sum(errors) / len(errors), rel=1e-4)
    parts = validate_unet(
        unet,
        scheduler,
        encoded,
        paper_losses,
        layers=("mid", "up"),
        timesteps=(100, 800),
        batch_size=2,
    )
    for name in ("denoising", "token", "pixel"):
        assert parts[name] == pytest.approx(whole[name], rel=1e-4)
    assert parts["inside"] == pytest.approx(whole["inside"], rel=0.02)


def test_history_is_plain_json(tmp_path, encoded):
    _, history = train(encoded, tmp_path, replace(SETTINGS, num_steps=1))
    assert set(json.loads(json.dumps(history))[0]) == {
        "step",
        "denoising",
        "token",
        "pixel",
        "inside",
        "total",
        "grad_norm",
    }
