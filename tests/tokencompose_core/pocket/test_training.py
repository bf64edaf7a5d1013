"""Every trainer still learns: a few steps lower its loss, and its library loads the result."""

import pytest
from diffusers import AutoencoderKL

from tests.conftest import MODELS
from tokencompose_core.captions.clip import load_clip
from tokencompose_core.evaluation.detectors import load_detector
from tokencompose_core.evaluation.generate import load_pipeline
from tokencompose_core.masking.grounding_dino import load_grounding_dino
from tokencompose_core.masking.sam_hq import load_sam_hq
from tokencompose_core.nouns.tagger import find_noun_phrases, load_tagger
from tokencompose_core.pocket.fitting import FitSettings
from tokencompose_core.pocket.half_weights import halve_weights
from tokencompose_core.pocket.train_autoencoder import train_autoencoder
from tokencompose_core.pocket.train_clip import train_clip
from tokencompose_core.pocket.train_grounding_dino import train_grounding_dino
from tokencompose_core.pocket.train_owlv2 import train_owlv2
from tokencompose_core.pocket.train_sam_hq import train_sam_hq
from tokencompose_core.pocket.train_stable_diffusion import train_diffusion
from tokencompose_core.pocket.train_tagger import train_tagger


@pytest.fixture(scope="module")
def autoencoder():
    return AutoencoderKL.from_pretrained(MODELS / "stable_diffusion/vae").eval()


def learn(train, folder, steps: int, learning_rate: float, **options) -> list[dict[str, float]]:
    """Losses at the quarters of a short training."""
    settings = FitSettings(
        num_steps=steps,
        learning_rate=learning_rate,
        warmup_steps=4,
        progress_every_steps=steps // 4,
    )
    history = train(folder, settings=settings, seed=0, **options)
    halve_weights(folder)
    assert len(history) == 4
    return history


def test_clip_learns(tmp_path):
    history = learn(train_clip, tmp_path, 48, 1e-3, batch_size=24, num_scenes=90)
    assert history[-1]["contrastive"] < 0.95 * history[0]["contrastive"]
    load_clip(tmp_path, "")


def test_tagger_learns(tmp_path):
    train_tagger(tmp_path, seed=0, num_sentences=900, num_epochs=3)
    tagger = load_tagger(tmp_path)
    captions = ["A photo of a cat.", "There is a car on the road."]
    found = find_noun_phrases(tagger, captions, noun_tags=["NN"], batch_size=2)
    assert [[phrase.text for phrase in phrases] for phrases in found] == [
        ["photo", "cat"],
        ["car", "road"],
    ]


def test_grounding_dino_learns(tmp_path):
    history = learn(train_grounding_dino, tmp_path, 40, 3e-4, batch_size=4, num_scenes=40)
    assert history[-1]["decoder_class"] < 0.8 * history[0]["decoder_class"]
    assert history[-1]["encoder_l1"] < 0.9 * history[0]["encoder_l1"]
    load_grounding_dino(
        tmp_path / "config.json", tmp_path / "model.safetensors", str(tmp_path / "bert")
    )


def test_sam_hq_learns(tmp_path):
    history = learn(train_sam_hq, tmp_path, 24, 1e-3, batch_size=1, num_scenes=20)
    assert history[-1]["dice"] < 0.97 * history[0]["dice"]
    load_sam_hq(tmp_path / "config.json", tmp_path / "model.safetensors")


def test_autoencoder_learns(tmp_path):
    history = learn(train_autoencoder, tmp_path, 24, 2e-3, batch_size=8, num_scenes=260)
    assert history[-1]["absolute"] < 0.7 * history[0]["absolute"]
    AutoencoderKL.from_pretrained(tmp_path)


def test_owlv2_learns(tmp_path, autoencoder):
    history = learn(
        train_owlv2,
        tmp_path,
        40,
        1e-3,
        batch_size=16,
        num_scenes=60,
        num_distractors=8,
        autoencoder=autoencoder,
    )
    assert history[-1]["class"] < 0.9 * history[0]["class"]
    assert history[-1]["box"] < 0.9 * history[0]["box"]
    load_detector("owlv2", tmp_path)


def test_stable_diffusion_learns(tmp_path, autoencoder):
    history = learn(
        train_diffusion, tmp_path, 40, 1e-3, batch_size=8, num_scenes=64, autoencoder=autoencoder
    )
    assert history[-1]["denoising"] < 0.5 * history[0]["denoising"]
    load_pipeline(tmp_path)
