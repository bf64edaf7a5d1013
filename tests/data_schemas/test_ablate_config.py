import pytest
from pydantic import ValidationError

from data_schemas.configs.ablate_config import AblateConfig
from data_schemas.configs.finetune_config import FinetuneConfig
from tasks.compare_variants import list_trainings


def test_objectives_of_the_paper_differ_in_their_weights_alone() -> None:
    config = AblateConfig.load()
    weights = {}
    for variant in config.studies["objectives"]:
        if not variant.frozen:
            own = config.finetune_config(variant, 2)
            assert own.seed == 2
            assert (
                own.model_copy(
                    update={"seed": config.finetune.seed, "objective": config.finetune.objective}
                )
                == FinetuneConfig.load()
            )
            weights[variant.label] = (
                own.objective.variant,
                own.objective.token_weight,
                own.objective.pixel_weight,
            )
    assert weights == {
        "denoising": ("paper", 0.0, 0.0),
        "denoising + pixel": ("paper", 0.0, 1.5e-4),
        "denoising + token": ("paper", 3e-3, 0.0),
        "denoising + token + pixel": ("paper", 3e-3, 1.5e-4),
        "both, as released": ("released", 3e-3, 1.5e-4),
    }


@pytest.mark.parametrize("profile", ["pocket", "paper"])
def test_a_training_that_studies_share_is_done_once(profile: str) -> None:
    config = AblateConfig.load(profile, seeds=[4, 7])
    labels = [training.label for training in list_trainings(config)]
    assert len(labels) == len(set(labels))
    distinct = {
        config.finetune_config(variant, seed).model_dump_json()
        for name in config.run
        for variant in config.studies[name]
        for seed in config.seeds
        if not variant.frozen
    }
    assert len(labels) == len(distinct)
    # One of the three mask reductions and one of the layer sets are what the objectives have too.
    assert len(labels) == 2 * (5 + 4 + 2)


def test_prompts_are_others_than_those_of_the_demonstration() -> None:
    own = AblateConfig.load().evaluate.multigen["pocket"].prompts
    from data_schemas.configs.evaluate_config import EvaluateConfig

    shown = EvaluateConfig.load().multigen["pocket"].prompts
    assert own.kind == shown.kind == "sampled"
    assert own.seed != shown.seed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"studies": {"masks": [{"label": "x", "changes": {"objective": {"tokn": 1}}}]}},
            "changes.objective.tokn",
        ),
        ({"run": ["nothing"]}, "no variants of"),
        ({"seeds": [1, 1]}, "has one twice"),
        ({"seeds": []}, "seeds"),
        ({"studies": {"masks": [{"label": "x"}, {"label": "x"}]}}, "same label"),
        (
            {"studies": {"masks": [{"label": "mid", "changes": {"lora_rank": 3}}]}},
            "another variant in another study",
        ),
        (
            {"studies": {"masks": [{"label": "x", "changes": {"seed": 3}}]}},
            "'x': changes.seed: every variant .* leave it out and set seeds",
        ),
        (
            {"studies": {"masks": [{"label": "x", "frozen": True, "changes": {"lora_rank": 3}}]}},
            r"'x': a frozen variant .* changes of \['lora_rank'\] .* leave out one of the two",
        ),
        (
            {"studies": {"masks": [{"label": n, "reference": True} for n in "xy"]}},
            r"studies\.masks: \['x', 'y'\] are all the reference; let one be it",
        ),
        (
            {"studies": {"masks": [{"label": "x", "published": {"OA": 52.15}}]}},
            r"(?s)masks\.0\.published\.OA.*should match pattern '\^MG",
        ),
        (
            {"evaluate": {"multigen": {"pocket": {"prompts": {"num_prompts": 1}}}}},
            r"multigen\.pocket\.prompts\.num_prompts: .* there is 1; draw at least 2",
        ),
    ],
)
def test_impossible_ablation_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AblateConfig.load(**changes)
