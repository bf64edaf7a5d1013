import json
from importlib import resources

import pytest
from pydantic import ValidationError

from data_schemas import profiles
from data_schemas.configs.ablate_config import AblateConfig
from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.evaluate_config import EvaluateConfig, PromptFile
from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.configs.import_masks_config import ImportMasksConfig
from data_schemas.configs.reproduce_config import ReproduceConfig
from data_schemas.profiles import (
    absolute_profile,
    builtin_profile,
    load_profile,
    merge_values,
    profile_names,
)


def test_paper_profile_holds_the_values_of_table_6():
    config = ReproduceConfig(profile="paper")
    curate, finetune, evaluate = config.curate, config.finetune, config.evaluate
    assert (curate.rank.model, curate.rank.pretrained) == ("ViT-L-14-336", "openai")
    assert curate.parse.model == "flair/pos-english"
    assert curate.parse.noun_tags == ["NN", "NNS", "NNP", "NNPS"]
    assert "SwinT_OGC" in curate.mask.detector_config
    assert (curate.mask.box_threshold, curate.mask.text_threshold) == (0.25, 0.25)
    assert curate.mask.segmenter_config == "vit_h"
    assert finetune.resolution == 512
    assert (finetune.batch_size, finetune.gradient_accumulation_steps) == (1, 4)
    assert finetune.gradient_checkpointing
    assert finetune.num_steps == 24_000
    assert (finetune.lr_scheduler, finetune.learning_rate) == ("constant", 5e-6)
    assert finetune.lr_warmup_steps == 0
    assert (finetune.objective.token_weight, finetune.objective.pixel_weight) == (1e-3, 5e-5)
    assert finetune.objective.layers == ["mid", "up"]
    assert isinstance(evaluate.multigen["coco"].prompts, PromptFile)
    assert evaluate.multigen["coco"].num_images_per_prompt == 10
    sampler = evaluate.sampler
    assert (sampler.scheduler, sampler.num_inference_steps) == ("pndm", 50)
    assert sampler.guidance_scale == 7.5
    assert evaluate.detector.model == "google/owlv2-large-patch14-ensemble"
    assert evaluate.detector.threshold == 0.1
    pairs = {name: quality.num_pairs for name, quality in evaluate.quality.items()}
    assert pairs == {"coco": 10_000, "flickr30k": 1_000}
    assert {quality.extractor.kind for quality in evaluate.quality.values()} == {"inception"}
    visor = evaluate.visor
    assert (visor.categories, visor.num_prompts, visor.num_images_per_prompt) == ("coco", 0, 4)
    assert (visor.detector.architecture, visor.detector.model) == (
        "owlvit",
        "google/owlvit-base-patch32",
    )
    assert (visor.detector.query, visor.detector.threshold) == ("a photo of a {name}", 0.1)


@pytest.mark.parametrize("profile", profile_names())
def test_partitions_of_images_are_whole_batches(profile):
    config = EvaluateConfig.load(profile)
    whole = [config.sampler, config.detector, config.visor.detector, config.clip_score]
    sizes = {own.batch_size for own in [*whole, *config.quality.values()]}
    # As benchmarks/evaluate.py on a GPU, and twice that.
    sizes |= {16, 32}
    # A smaller partition is one batch.
    rests = [config.partition_size % size for size in sizes if size < config.partition_size]
    assert not any(rests)


@pytest.mark.parametrize("profile", profile_names())
def test_profiles_are_complete_and_survive_a_round_trip(profile):
    config = ReproduceConfig(profile=profile)
    assert ReproduceConfig.model_validate(config.model_dump()) == config
    assert ReproduceConfig.model_validate_json(config.model_dump_json()) == config


def test_part_of_a_config_replaces_part_of_the_profile():
    config = ReproduceConfig(profile="paper", finetune={"objective": {"token_weight": 0.5}})
    assert config.finetune.objective.token_weight == 0.5
    assert config.finetune.objective.pixel_weight == 5e-5
    assert config.finetune.learning_rate == 5e-6


def test_another_kind_of_source_replaces_the_whole_source():
    source = {"kind": "vsr_coco", "vsr_path": "a", "captions_paths": ["b"], "images_dir": "c"}
    config = CurateConfig(source=source)
    assert config.source.model_dump(exclude_defaults=True) == source


@pytest.mark.parametrize(
    ("model", "values", "field"),
    [
        (FinetuneConfig, {"num_stepz": 3}, "num_stepz"),
        (FinetuneConfig, {"learning_rate": 0.0}, "learning_rate"),
        (FinetuneConfig, {"resolution": 60}, "resolution"),
        (FinetuneConfig, {"seed": 10**13}, "seed"),
        (FinetuneConfig, {"seed": -(10**13)}, "seed"),
        (AblateConfig, {"seeds": [1, 10**13]}, "seeds.1"),
        (FinetuneConfig, {"objective": {"layers": ["top"]}}, "objective.layers.0"),
        (CurateConfig, {"mask": {"box_threshold": 1.5}}, "mask.box_threshold"),
        (CurateConfig, {"caption_set": "My Set"}, "caption_set"),
        (EvaluateConfig, {"detector": {"query": "a photo"}}, "detector.query"),
        (
            EvaluateConfig,
            {"multigen": {"pocket": {"prompts": {"kind": "file"}}}},
            "multigen.pocket.prompts.file.path",
        ),
        (EvaluateConfig, {"attention": {"nouns": ["dog"]}}, "attention"),
        (FinetuneConfig, {"validation_fraction": 1.0}, "validation_fraction"),
        (
            EvaluateConfig,
            {"multigen": {"pocket": {"num_images_per_prompt": 0}}},
            "multigen.pocket.num_images_per_prompt",
        ),
        (ReproduceConfig, {"finetune": {"seeds": 1}}, "finetune.seeds"),
        (EvaluateConfig, {"quality": {"pocket": {"kid_subset_size": 65}}}, "quality.pocket"),
        (
            EvaluateConfig,
            {"quality": {"pocket": {"extractor": {"kind": "inception", "weights": "a"}}}},
            "quality.pocket",
        ),
        (EvaluateConfig, {"clip_score": {"scale": 0}}, "clip_score.scale"),
    ],
)
def test_wrong_field_is_refused_by_name(model, values, field):
    with pytest.raises(ValidationError) as caught:
        model(**values)
    assert field in {".".join(map(str, error["loc"])) for error in caught.value.errors()}


def test_warm_up_that_a_schedule_has_not_is_refused():
    with pytest.raises(ValidationError, match=r"lr_warmup_steps 20 .*; take constant_with_warmup"):
        FinetuneConfig.load(lr_scheduler="constant", lr_warmup_steps=20)
    for name in ("constant_with_warmup", "linear", "cosine"):
        FinetuneConfig.load(lr_scheduler=name, lr_warmup_steps=20)
    FinetuneConfig.load(lr_scheduler="constant", lr_warmup_steps=0)


def test_rate_that_a_polynomial_would_have_to_rise_from_is_refused():
    with pytest.raises(ValidationError, match=r"learning_rate 1e-07 is not above .*, or linear"):
        FinetuneConfig.load(lr_scheduler="polynomial", learning_rate=1e-7)
    FinetuneConfig.load(lr_scheduler="polynomial", learning_rate=2e-7)
    FinetuneConfig.load(lr_scheduler="linear", learning_rate=1e-7)


@pytest.mark.parametrize(
    "query", ["a {name} in {place}", "{name} {}", "{{name}}", "{name!r} or {name}", "{name} }"]
)
def test_query_of_a_detector_holds_the_name_alone(query):
    with pytest.raises(ValidationError, match=r"detector\.query\n.* the query '") as caught:
        EvaluateConfig.load(detector={"query": query})
    assert caught.value.error_count() == 1
    assert EvaluateConfig.load(detector={"query": "{name}, {name}"})


def test_unknown_profile_is_refused_with_the_known_ones():
    with pytest.raises(ValidationError, match="neither one of paper, pocket"):
        CurateConfig(profile="pokcet")


def test_profile_may_be_a_file_of_the_users_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[finetune]\nnum_steps = 7\n")
    with pytest.raises(ValidationError, match="base_model"):
        FinetuneConfig(profile=str(path))
    assert load_profile(str(path), "finetune") == {"num_steps": 7}


def test_profile_of_ones_own_holds_what_differs_from_its_base(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "paper"\n[curate.mask]\nbox_threshold = 0.3\n')
    mine, paper = (CurateConfig.load(profile) for profile in (str(path), "paper"))
    assert mine.mask.box_threshold == 0.3
    changed = {"profile": paper.profile, "mask": paper.mask}
    assert mine.model_copy(update=changed) == paper
    assert mine.mask.model_copy(update={"box_threshold": paper.mask.box_threshold}) == paper.mask
    # What the file says nothing of is all its base's.
    assert load_profile(str(path), "finetune") == load_profile("paper", "finetune")


def test_profile_of_ones_own_goes_back_to_its_base(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('base = "paper"\n')
    (tmp_path / "whole.toml").write_text("[finetune]\nnum_steps = 7\n")
    monkeypatch.chdir(tmp_path)
    assert [builtin_profile(name) for name in ("mine.toml", "whole.toml", "paper")] == [
        "paper",
        None,
        "paper",
    ]
    with pytest.raises(ValueError, match="neither one of paper, pocket"):
        builtin_profile("gone.toml")
    assert absolute_profile("mine.toml") == str(tmp_path / "mine.toml")
    assert absolute_profile("paper") == "paper"


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("[finetune]\nnum_steps = 7\n", "base_model, base_revision, resolution ..."),
        ("", "base_model"),
    ],
)
def test_profile_without_a_base_is_answered_with_those_that_there_are(text, lacks, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValidationError) as caught:
        FinetuneConfig(profile=str(path))
    (problem,) = caught.value.errors()
    begin = f'{str(path)!r} has no base; begin it with base = "pocket" or base = "paper"'
    assert begin in problem["msg"]
    assert f"all of [finetune], which lacks {lacks}" in problem["msg"]


def test_whole_profile_needs_no_base(tmp_path):
    path = tmp_path / "whole.toml"
    path.write_text((resources.files(profiles) / "pocket.toml").read_text("utf-8"))
    pocket = ReproduceConfig.load("pocket").model_dump_json()
    assert ReproduceConfig.load(str(path)).model_dump_json().replace(str(path), "pocket") == pocket


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "papr"', "base is 'papr', but not one of paper, pocket"),
        ("base = [", "is no TOML"),
        ('base = "paper"\n[curat]\nx = 1', r"has sections \['curat'\], but its base has"),
    ],
)
def test_profile_that_cannot_be_read_is_refused(text, message, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValidationError, match=message):
        FinetuneConfig(profile=str(path))


@pytest.mark.parametrize(("field", "name"), [("multigen", "ade20k"), ("quality", "flickr30k")])
def test_set_of_a_profile_is_left_out_by_null(field, name):
    paper = EvaluateConfig.load("paper")
    config = EvaluateConfig.load("paper", **{field: {name: None}})
    others = {key: own for key, own in getattr(paper, field).items() if key != name}
    assert getattr(config, field) == others
    assert others
    with pytest.raises(ValidationError, match=f"{field} is a benchmark to run, but has no set"):
        EvaluateConfig.load("paper", **{field: dict.fromkeys(getattr(paper, field))})
    EvaluateConfig.load(
        "paper", benchmarks=["visor"], **{field: dict.fromkeys(getattr(paper, field))}
    )


def test_form_of_a_flow_asks_for_nothing_that_the_profile_has():
    assert '"required"' not in json.dumps(ReproduceConfig.model_json_schema())


def test_form_of_a_flow_without_profiles_asks_for_what_has_no_default():
    assert ImportMasksConfig.model_json_schema()["required"] == ["metadata_path", "masks_dir"]
    assert ImportMasksConfig(metadata_path="a", masks_dir="b").select.partition_size == 128


def test_merge_goes_table_by_table():
    merged = merge_values({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}})
    assert merged == {"a": {"b": 9, "c": 2}, "d": 3}


def test_what_no_benchmark_generates_images_for_is_refused():
    for benchmarks in (["clip_score"], ["clip_score", "latency"]):
        with pytest.raises(ValidationError, match="add one of multigen, visor, quality"):
            EvaluateConfig.load(benchmarks=benchmarks)
    for other in ("multigen", "visor", "quality"):
        config = EvaluateConfig.load(benchmarks=["clip_score", "latency", other])
        assert config.benchmarks[-1] == other
    with pytest.raises(ValidationError, match="lacks multigen"):
        ReproduceConfig.load(evaluate={"benchmarks": ["quality"]})


def test_reproduce_draws_with_models_that_have_no_safety_checker():
    with pytest.raises(ValidationError, match="models that were fine-tuned here have none"):
        ReproduceConfig.load(evaluate={"sampler": {"safety_checker": True}})
