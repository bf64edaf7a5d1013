"""What the frozen parts of each kind of Stable Diffusion give, against their plain models."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel

from data_schemas.rejections import RejectionReason
from tests.tiny_models import KINDS, NUM_TOKENS, write_model
from tests.tokencompose_core.training.pixel_training import read_plainly, train_from_pixels
from tests.tokencompose_core.training.small_run import SETTINGS, encode, make_samples
from tokencompose_core.objectives.tokencompose import paper_losses
from tokencompose_core.training.base_model import check_base_model, load_frozen_parts
from tokencompose_core.training.encode_shard import read_encoded, select_samples, write_encoded
from tokencompose_core.training.finetune import finetune_unet
from tokencompose_core.training.processes import make_accelerator


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: write_model(root / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def encoded_by(folders):
    return {
        kind: encode(load_frozen_parts(str(folder)), make_samples())[0]
        for kind, folder in folders.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_captions_are_encoded_as_by_the_plain_text_encoders(folders, kind):
    samples = [
        replace(sample, caption=caption, spans=[], masks=[])
        for sample, caption in zip(
            make_samples(3), ["A surfboard and a cat", "a kite!", ""], strict=True
        )
    ]
    encoded, _ = encode(load_frozen_parts(str(folders[kind])), samples)
    states, pooled = read_plainly(folders[kind], [sample.caption for sample in samples])
    assert torch.allclose(encoded.encoder_hidden_states, states, atol=1e-6)
    assert torch.allclose(encoded.empty_hidden_states, states[2:], atol=1e-6)
    assert float((states[0] - states[2]).abs().max()) > 0.01
    if kind != "sdxl":
        assert encoded.added_conditions == encoded.empty_conditions == {}
        return
    assert set(encoded.added_conditions) == {"text_embeds", "time_ids"}
    assert torch.allclose(encoded.added_conditions["text_embeds"], pooled, atol=1e-6)
    assert set(encoded.empty_conditions) == {"text_embeds"}
    assert torch.allclose(encoded.empty_conditions["text_embeds"], pooled[2:], atol=1e-6)


def test_states_of_stable_diffusion_1_are_bit_by_bit_those_of_its_text_encoder(folders):
    """So models that were fine-tuned before encode_prompt was used are made again."""
    pipeline = load_frozen_parts(str(folders["sd1"]))
    samples = make_samples(3)
    encoded, _ = encode(pipeline, samples, batch_size=3)
    ids = pipeline.tokenizer(
        [sample.caption for sample in samples],
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    ).input_ids
    with torch.no_grad():
        assert torch.equal(encoded.encoder_hidden_states, pipeline.text_encoder(ids)[0])


def test_sizes_that_sdxl_is_told_are_those_of_each_image(folders):
    pipeline = load_frozen_parts(str(folders["sdxl"]))
    samples = make_samples(2)
    turned = samples[1].image.transpose(method=4)
    samples[1] = replace(
        samples[1], image=turned, masks=[mask.swapaxes(0, 1) for mask in samples[1].masks]
    )
    encoded, _ = encode(pipeline, samples)
    # 20 x 24 pixels are shrunk to 16 x 19, of which three columns are too many: two to the left,
    # since halves are rounded to even numbers.
    assert encoded.added_conditions["time_ids"].tolist() == [
        [20, 24, 0, 2, 16, 16],
        [24, 20, 2, 0, 16, 16],
    ]


def test_conditions_survive_the_disk_joining_and_selection(folders, encoded_by, tmp_path):
    encoded = encoded_by["sdxl"]
    nothing, _ = encode(load_frozen_parts(str(folders["sdxl"])), [])
    for name, part in (("a", nothing), ("b", encoded), ("c", encoded)):
        (tmp_path / name).mkdir()
        write_encoded(tmp_path / name, part)
    joined = read_encoded([tmp_path / name for name in ("a", "b", "c")])
    chosen = select_samples(joined, {"001", "003"})
    rows = [1, 3, 1, 3]
    for name, value in encoded.added_conditions.items():
        assert torch.equal(joined.added_conditions[name], torch.cat([value, value]))
        assert torch.equal(chosen.added_conditions[name], value[rows])
    for part in (joined, chosen):
        assert torch.equal(part.empty_hidden_states, encoded.empty_hidden_states)
        assert set(part.empty_conditions) == {"text_embeds"}
        assert torch.equal(
            part.empty_conditions["text_embeds"], encoded.empty_conditions["text_embeds"]
        )
    assert joined.empty_hidden_states.shape == (1, 16, 16)


def test_noun_that_sdxl_reads_at_two_places_is_left_out(folders):
    """Its second tokenizer pads with "!", which makes each of them a token of its own."""
    pipeline = load_frozen_parts(str(folders["sdxl"]))
    (sample,) = make_samples(1)
    shouted = replace(
        sample, caption="A cat!! a kite", spans=[(2, 5), (10, 14)], masks=sample.masks
    )
    said = replace(sample, caption="Wow! a cat!!", spans=[(7, 10)], masks=sample.masks[:1])
    encoded, rejected = encode(pipeline, [sample, shouted, said])
    assert encoded.positions == [[[2, 3], [6]], [[2]], [[4]]]
    assert [(r.detail, r.reason) for r in rejected] == [
        ("kite", RejectionReason.PHRASE_SPLIT_DIFFERENTLY)
    ]


def test_text_encoders_with_different_vocabularies_are_refused(folders, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(folders["sdxl"], folder)
    path = folder / "tokenizer_2/tokenizer.json"
    path.unlink(missing_ok=True)
    vocabulary = json.loads((folder / "tokenizer_2/vocab.json").read_text())
    vocabulary["cat</w>"], vocabulary["dog</w>"] = vocabulary["dog</w>"], vocabulary["cat</w>"]
    (folder / "tokenizer_2/vocab.json").write_text(json.dumps(vocabulary))
    with pytest.raises(ValueError, match=r"base_model: the tokenizers .* different vocabularies"):
        load_frozen_parts(str(folder))


@pytest.mark.parametrize("kind", KINDS)
def test_training_from_encoded_samples_equals_training_from_pixels(
    folders, encoded_by, kind, tmp_path
):
    """The second network sees images, captions and full masks anew at every step."""
    # A large epsilon, or Adam would make whole steps of rounding where gradients vanish.
    settings = replace(
        SETTINGS,
        num_steps=3,
        gradient_accumulation_steps=1,
        weights={"token": 0.5, "pixel": 0.1},
        learning_rate=0.03,
        lr_scheduler="constant",
        adam_epsilon=1e-2,
    )
    folder = folders[kind]
    write_encoded(tmp_path, encoded_by[kind])
    encoded = read_encoded([tmp_path])
    noise_scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    assert noise_scheduler.config.prediction_type == (
        "v_prediction" if kind == "sd2" else "epsilon"
    )
    start, trained, plain = (
        UNet2DConditionModel.from_pretrained(folder, subfolder="unet") for _ in range(3)
    )
    finetune_unet(
        trained,
        noise_scheduler,
        encoded,
        paper_losses,
        settings,
        accelerator=make_accelerator("cpu", "no"),
        checkpoint_dir=tmp_path / "run",
        start_step=0,
    )
    train_from_pixels(plain, folder, noise_scheduler, settings)
    moved = [
        (a - b).abs().max() for a, b in zip(plain.parameters(), start.parameters(), strict=True)
    ]
    assert max(moved) > 1e-2
    for (name, value), other in zip(trained.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(value, other, atol=1e-5), name


def test_model_that_can_be_trained_has_its_sides(folders):
    for folder in folders.values():
        assert check_base_model(str(folder), resolution=30, layers=["mid", "up_8"]) == [15, 8]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"resolution": 33},
            r"finetune\.resolution: expected a multiple of 2, .* received 33; take 32 or 34",
        ),
        ({"resolution": 1}, "take 2 or 4"),
        (
            {"layers": ["mid", "up_16"]},
            r"finetune\.objective\.layers: the UNet has no cross-attention 'up_16'; it has down_8",
        ),
    ],
)
def test_settings_that_the_model_cannot_be_trained_with_are_refused(folders, changes, message):
    settings = {"resolution": 32, "layers": ["mid"]} | changes
    with pytest.raises(ValueError, match=message):
        check_base_model(str(folders["sdxl"]), **settings)


def test_models_of_another_family_are_refused(folders, tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ValueError, match=r"finetune\.base_model: .* is a FluxPipeline; expected"):
        check_base_model(str(tmp_path), resolution=32, layers=["mid"])


def test_unet_that_takes_more_than_latents_is_refused(tmp_path):
    folder = write_model(tmp_path / "inpainting", "sd1")
    path = folder / "unet/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"in_channels": 9}))
    with pytest.raises(ValueError, match=r"finetune\.base_model: .* takes 9 channels, .* makes 4"):
        check_base_model(str(folder), resolution=32, layers=["mid"])


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        (
            "scheduler/scheduler_",
            {"prediction_type": "sample"},
            "'sample'; expected one of epsilon",
        ),
        ("scheduler/scheduler_", {"beta_start": None}, "PNDMScheduler, has no beta_start, so its"),
        (
            "vae/",
            {"latents_mean": [1.0] * 4},
            "the VAE of .* a mean and a deviation of its own for",
        ),
    ],
)
def test_noise_and_latents_that_training_does_not_know_are_refused(
    tmp_path, part, changes, message
):
    folder = write_model(tmp_path / "other", "sd1")
    path = folder / f"{part}config.json"
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))
    with pytest.raises(ValueError, match=rf"finetune\.base_model: .*{message}"):
        check_base_model(str(folder), resolution=32, layers=["mid"])


def test_noun_that_the_text_encoder_does_not_read_is_refused(folders):
    before = "very " * (NUM_TOKENS - 3)
    fitting, beyond = (f"{before}cat", ("cat",)), (f"{before}big red cat", ("very", "cat"))
    for kind in KINDS:
        settings = {"resolution": 32, "layers": ["mid"]}
        check_base_model(str(folders[kind]), **settings, prompts=[fitting])
        with pytest.raises(
            ValueError, match=r"finetune\.validation_prompts\.1: cat lie beyond the 16 .*; shorten"
        ):
            check_base_model(str(folders[kind]), **settings, prompts=[fitting, beyond])


def test_weights_in_half_precision_are_loaded_in_single(tmp_path):
    folder = write_model(tmp_path, "sd1")
    AutoencoderKL.from_pretrained(folder, subfolder="vae").half().save_pretrained(folder / "vae")
    CLIPTextModel.from_pretrained(folder / "text_encoder").half().save_pretrained(
        folder / "text_encoder"
    )
    pipeline = load_frozen_parts(str(folder))
    assert pipeline.vae.dtype == pipeline.text_encoder.dtype == torch.float32
