"""The flow `evaluate` on benchmarks of both kinds, with the pocket models."""

import asyncio
import json

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.records import ScoredImage
from data_schemas.results import MultiGenResult, VisorResult
from flows.evaluate import evaluate
from tasks.benchmarks import list_benchmarks
from tasks.generate_images import ModelUnderTest
from tasks.score_images import IMAGES_TABLE_NAME
from tasks.stage import open_store
from tokencompose_core.store.tables import read_table

pytestmark = pytest.mark.usefixtures("prefect_server")

SMALL = {
    "benchmarks": ["visor", "multigen"],
    "multigen": {"pocket": {"num_images_per_prompt": 2, "prompts": {"num_prompts": 2}}},
    "visor": {"num_prompts": 3, "num_images_per_prompt": 2},
    "sampler": {"num_inference_steps": 2},
}


def table(key: str) -> list[dict]:
    async def read():
        async with get_client() as client:
            found = await client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
            )
        return json.loads(found[-1].data)

    return asyncio.run(read())


def test_both_kinds_are_scored_and_their_images_kept(store_dir):
    config = EvaluateConfig.load(**SMALL)
    visor, multigen = evaluate(
        [ModelUnderTest(label="base", name="pocket:stable_diffusion")], config
    )
    assert isinstance(visor.result, VisorResult)
    assert isinstance(multigen.result, MultiGenResult)
    assert (visor.benchmark, multigen.benchmark) == ("visor", "multigen-pocket")
    assert (visor.result.num_images, multigen.result.num_images) == (6, 4)
    digests = [benchmark.digest for benchmark in list_benchmarks(config)]
    assert [visor.result.prompts_digest, multigen.result.prompts_digest] == digests
    rows = read_table(visor.scored.path(open_store()) / IMAGES_TABLE_NAME, ScoredImage)
    assert len(rows) == 6
    assert 100 * sum(r.num_found == 2 for r in rows) / 6 == visor.result.object_accuracy.percent
    assert [row["prompts"] for row in table("visor")] == ["visor"]
    assert "MG5" in table("multigen")[0]


def test_what_a_benchmark_asks_for():
    visor, multigen = list_benchmarks(EvaluateConfig.load(**SMALL))
    assert visor.vocabulary == sorted({n for p in visor.prompts for n in p.categories})
    assert len(visor.vocabulary) <= 6
    assert {len(p.categories) for p in multigen.prompts} == {5}
    assert visor.digest != multigen.digest


def test_vocabularies_by_name_and_too_few_of_them():
    def load(**prompts):
        values = {"kind": "sampled", "num_prompts": 4, "num_objects": 3, "seed": 1, **prompts}
        multigen = {"pocket": {"num_images_per_prompt": 1, "prompts": values}}
        return list_benchmarks(EvaluateConfig.load(multigen=multigen))

    (benchmark,) = load(categories="ade20k")
    assert [len(prompt.categories) for prompt in benchmark.prompts] == [3] * 4
    field = r"evaluate\.multigen\.pocket\.prompts: "
    with pytest.raises(ValueError, match=field + "prompts of 3 objects need"):
        load(categories=["cat", "cup"])
    with pytest.raises(ValueError, match=field + r".*\['cat'\] are listed again"):
        load(categories=["cat", "cup", "cat", "kite"])
    config = EvaluateConfig.load(benchmarks=["visor"], visor={"num_prompts": 961})
    with pytest.raises(ValueError, match=r"evaluate\.visor: 16 categories give 960 prompts"):
        list_benchmarks(config)
