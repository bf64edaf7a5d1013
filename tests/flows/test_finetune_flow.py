"""The flow `finetune` on each kind of Stable Diffusion, and plain diffusers on what it wrote."""

import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from prefect import flow
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.records import GroundedCaption, GroundedPhrase
from flows.finetune import finetune
from tasks.describe_dataset import DATASET_NAME, read_dataset
from tasks.encode_latents import encode_latents
from tasks.finetune_unet import LORA_FOLDER
from tasks.stage import Input
from tasks.train_unet import TrainingJob, train_unet
from tests.tiny_models import KINDS, write_model
from tokencompose_core.shards.write_shard import write_shard
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.run_lengths import encode_mask
from tokencompose_core.training.checkpoint import newest_step

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENCOMPOSE_STORE", str(folder))
        yield Store(str(folder))


@pytest.fixture(scope="module")
def dataset(store, tmp_path_factory) -> str:
    """A data set of one shard, the same for all models."""
    images_dir = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    samples = []
    for number in range(6):
        path = images_dir / f"{number}.png"
        pixels = generator.integers(0, 255, (40, 48 + 4 * number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        mask = np.zeros(pixels.shape[:2], dtype=bool)
        mask[8:30, 16:36] = True
        surfboard, cat = (
            GroundedPhrase(
                text=text,
                start=start,
                end=start + len(text),
                boxes=[[16, 8, 36, 30]],
                scores=[0.9],
                mask_counts=encode_mask(own),
            )
            for text, start, own in (("surfboard", 2, mask), ("cat", 18, ~mask))
        )
        samples.append(
            GroundedCaption(
                key=f"{number:06d}",
                image_path=path.name,
                image_sha256=file_digest(path),
                width=pixels.shape[1],
                height=pixels.shape[0],
                caption="A surfboard and a cat",
                phrases=[surfboard, cat],
            )
        )

    def write(folder: Path):
        write_shard(folder, samples, images_dir)
        return {"num_in": len(samples), "num_out": len(samples)}

    shard = store.publish("shard-v1-test", "shard", write)

    def write_list(folder: Path):
        listed = {"key": shard.key, "digest": shard.digest, "num_samples": len(samples)}
        (folder / DATASET_NAME).write_text(json.dumps({"shards": [listed]}))
        return {}

    return store.publish("dataset-v1-test", "dataset", write_list).key


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: write_model(root / kind, kind) for kind in KINDS}


@flow
def encode(dataset: str, config: FinetuneConfig) -> list[Input]:
    return encode_latents(read_dataset(dataset), config)


def config_for(base: Path, **changes) -> FinetuneConfig:
    values = {
        "resolution": 32,
        "num_steps": 2,
        "batch_size": 2,
        "learning_rate": 0.05,
        "lr_scheduler": "constant",
        "lr_warmup_steps": 0,
        "validation_fraction": 0.3,
        "validation_prompts": [{"prompt": "a cat", "nouns": ["cat"]}],
        "validation_every_steps": 0,
    }
    return FinetuneConfig.load(base_model=str(base), **(values | changes))


def draw(pipeline: DiffusionPipeline, **options):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        "a surfboard",
        num_inference_steps=2,
        height=32,
        width=32,
        generator=torch.Generator().manual_seed(0),
        **options,
    ).images[0]


@pytest.mark.parametrize("kind", KINDS)
def test_plain_diffusers_draws_with_what_was_trained(store, dataset, bases, kind):
    trained = finetune(dataset, config_for(bases[kind]))
    folder = trained.path(store)
    pipeline = DiffusionPipeline.from_pretrained(folder)
    base = DiffusionPipeline.from_pretrained(bases[kind])
    assert type(pipeline) is type(base)
    assert draw(pipeline).size == (32, 32)
    assert type(pipeline.scheduler) is type(base.scheduler)
    assert pipeline.scheduler.config.prediction_type == base.scheduler.config.prediction_type
    before, after = base.unet.state_dict(), pipeline.unet.state_dict()
    assert before.keys() == after.keys()
    assert max(float((after[name] - before[name]).abs().max()) for name in before) > 0.01
    for part in {"vae", "text_encoder", "text_encoder_2"} & set(base.components):
        weights = getattr(pipeline, part).state_dict()
        for name, value in getattr(base, part).state_dict().items():
            assert torch.equal(value, weights[name]), f"{part}: {name}"
    for part in {"tokenizer", "tokenizer_2"} & set(base.components):
        assert getattr(pipeline, part).pad_token == getattr(base, part).pad_token
    for path in folder.rglob("*.json"):
        assert str(bases[kind].parent) not in path.read_text(), path
    losses = json.loads((folder.parent / "losses.json").read_text())
    assert [row["step"] for row in losses] == [1, 2]
    assert all(np.isfinite(list(row.values())).all() and row["token"] > 0 for row in losses)


def test_plain_diffusers_loads_the_lora_layers_of_sdxl(store, dataset, bases):
    trained = finetune(dataset, config_for(bases["sdxl"], trainable="lora", lora_rank=2))
    merged = DiffusionPipeline.from_pretrained(trained.path(store))
    base = DiffusionPipeline.from_pretrained(bases["sdxl"])
    plain = draw(base, output_type="latent")
    base.load_lora_weights(
        store.path(store.find(trained.key), LORA_FOLDER),
        weight_name="pytorch_lora_weights.safetensors",
    )
    with_layers = draw(base, output_type="latent")
    expected = draw(merged, output_type="latent")
    assert torch.allclose(with_layers, expected, atol=1e-4)
    assert float((plain - expected).abs().max()) > 0.01


def test_two_processes_train_the_same_model_and_show_it_on_the_way(store, dataset, bases):
    one = config_for(bases["sd1"], num_steps=3, learning_rate=1e-3, validation_every_steps=2)
    alone = finetune(dataset, one)
    saved = DiffusionPipeline.from_pretrained(alone.path(store)).unet.state_dict()
    facts = store.find(alone.key).facts
    # The number of processes is not part of the key: what one made would be found again.
    shutil.rmtree(store.path(store.find(alone.key)))
    two = finetune(dataset, one.model_copy(update={"num_processes": 2}))
    assert two.key == alone.key
    shared = DiffusionPipeline.from_pretrained(two.path(store)).unet.state_dict()
    for name, value in saved.items():
        assert torch.allclose(shared[name], value, atol=1e-4), name
    manifest = store.find(two.key)
    for name, value in facts.items():
        assert manifest.facts[name] == pytest.approx(value, rel=1e-3), name
    assert {"samples.jpg", "nouns.jpg", "losses.png"} <= set(manifest.names())
    events = EventAccumulator(str(store.log_dir(two.key) / "tokencompose")).Reload()
    assert [event.step for event in events.Scalars("token")] == [1, 2, 3]
    assert [event.step for event in events.Scalars("held_out/inside")] == [0, 2, 3]
    assert [event.step for event in events.Images("validation")] == [0, 2, 3]


def job_of(config: FinetuneConfig, store: Store, dataset: str, folder: Path) -> TrainingJob:
    """A training on a data set, to be run here and not by its task."""
    job = TrainingJob(
        config=config,
        encoded=[part.path(store) for part in encode(dataset, config)],
        work_dir=folder / "work",
        log_dir=folder / "logs",
    )
    job.work_dir.mkdir()
    return job


def test_run_that_is_taken_up_logs_every_step_once(store, dataset, bases, tmp_path):
    config = config_for(
        bases["sd1"],
        seed=3,
        num_steps=5,
        learning_rate=1e-3,
        checkpoint_every_steps=3,
        validation_every_steps=2,
        trackers=["tensorboard"],
    )
    job = job_of(config, store, dataset, tmp_path)

    def break_at_last_step(step: int, losses: dict[str, float]) -> None:
        if step == config.num_steps:
            raise ConnectionError("the machine went away")

    with pytest.raises(ConnectionError):
        train_unet(job, break_at_last_step)
    began_again = []
    train_unet(job, lambda step, losses: began_again.append(step))
    assert began_again == [4, 5]
    events = EventAccumulator(str(job.log_dir / "tokencompose")).Reload()
    assert [event.step for event in events.Scalars("token")] == [1, 2, 3, 4, 5]
    assert [event.step for event in events.Scalars("held_out/inside")] == [0, 2, 4, 5]
    assert [event.step for event in events.Images("validation")] == [0, 2, 4, 5]


def test_training_whose_process_is_killed_is_tried_again(store, dataset, bases, tmp_path):
    config = config_for(
        bases["sd1"],
        seed=3,
        num_steps=3,
        checkpoint_every_steps=1,
        validation_prompts=[],
        timeout_minutes=10.0,
    )
    job = job_of(config, store, dataset, tmp_path)

    def kill_it(step: int, losses: dict[str, float]) -> None:
        if step == 2:
            for child in multiprocessing.active_children():
                child.kill()

    # Stages are tried again after an `OSError`.
    with pytest.raises(
        ChildProcessError, match=r"was killed, .* from its last checkpoint .*, lower finetune"
    ):
        train_unet(job, kill_it)
    assert newest_step(job.work_dir) >= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trackers": ["wandb"]}, r"finetune\.trackers needs wandb, which is not installed"),
        ({"mixed_precision": "fp16", "device": "cpu"}, r"mixed_precision: fp16 needs a GPU"),
    ],
)
def test_what_this_machine_cannot_do_is_refused(store, dataset, bases, changes, message):
    with pytest.raises(ValueError, match=message):
        finetune(dataset, config_for(bases["sd1"], seed=9, **changes))


def test_without_prompts_nothing_is_drawn(store, dataset, bases):
    trained = finetune(dataset, config_for(bases["sd1"], seed=5, validation_prompts=[]))
    names = store.find(trained.key).names()
    assert "losses.png" in names
    assert not {"samples.jpg", "nouns.jpg"} & set(names)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objective": {"layers": ["mid", "up_16"]}},
            r"finetune\.objective\.layers: .* no .*'up_16'",
        ),
        (
            {"validation_prompts": [{"prompt": "very " * 20 + "cat", "nouns": ["cat"]}]},
            r"finetune\.validation_prompts\.0: cat lie beyond the 16 tokens",
        ),
    ],
)
def test_what_the_model_cannot_do_is_refused_before_anything_is_encoded(
    store, dataset, bases, changes, message
):
    before = sorted(Path(store.root).glob("encode-*"))
    config = config_for(bases["sdxl"], mask_reduction="antialiased", **changes)
    with pytest.raises(ValueError, match=message):
        finetune(dataset, config)
    assert sorted(Path(store.root).glob("encode-*")) == before
