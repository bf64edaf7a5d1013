"""The flow `evaluate` on benchmarks of both kinds, with the pocket models."""

import asyncio
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact

from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.evaluation_records import DetectedBox, GeneratedImage, ScoredImage
from data_schemas.results import MultiGenResult, VisorResult
from flows.compare import compare
from flows.evaluate import evaluate
from tasks.benchmarks import list_benchmarks
from tasks.detect_objects import DETECTIONS_NAME
from tasks.generate_images import INDEX_NAME
from tasks.model_under_test import ModelUnderTest
from tasks.score_images import IMAGES_TABLE_NAME
from tasks.stage import open_store
from tests.shown_markdown import shown
from tests.tiny_models import write_model
from tokencompose_core.store.tables import read_table

pytestmark = pytest.mark.usefixtures("prefect_server")

SMALL = {
    "benchmarks": ["visor", "multigen"],
    "multigen": {"pocket": {"num_images_per_prompt": 2, "prompts": {"num_prompts": 2}}},
    "visor": {"num_prompts": 3, "num_images_per_prompt": 2},
    "sampler": {"num_inference_steps": 2},
}
BASE = ModelUnderTest(label="base", name="pocket:stable_diffusion")


def card(key: str) -> Artifact:
    """The newest card of a key."""

    async def read():
        async with get_client() as client:
            found = await client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
            )
        return max(found, key=lambda one: one.created)

    return asyncio.run(read())


def table(key: str) -> list[dict]:
    return json.loads(card(key).data)


def test_both_kinds_are_scored_and_their_images_kept(store_dir):
    config = EvaluateConfig.load(**SMALL)
    visor, multigen = evaluate([BASE], config).scores
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
    assert not multigen.is_mixed
    # Each of the two rounds has its share, so that these deviate; one round alone does not.
    assert "MG5" in table("multigen")[0]
    assert "(" in table("multigen")[0]["MG2"]
    assert "(deviation over rounds)" in shown(card("multigen").description)


def test_every_card_says_of_which_prompts_models_and_seed_its_figures_are(store_dir, tmp_path):
    quality = {
        "source": {"num_images": 24},
        "num_pairs": 6,
        "num_kid_subsets": 2,
        "kid_subset_size": 4,
        "allow_few_images": True,
    }
    config = EvaluateConfig.load(
        benchmarks=["multigen", "visor", "quality", "clip_score", "latency"],
        multigen={"pocket": {"num_images_per_prompt": 1, "prompts": {"num_prompts": 2}}},
        visor={"num_prompts": 2, "num_images_per_prompt": 1},
        quality={"pocket": quality},
        latency={"num_images": 1, "num_warmup": 0},
        sampler={"num_inference_steps": 1, "seed": 41},
    )
    model = ModelUnderTest(label="tiny |x|", name=str(write_model(tmp_path / "tiny", "sd1")))
    evaluate([model], config)
    digests = {one.name: one.digest[:12] for one in flow(list_benchmarks)(config)}
    named = {
        "multigen": ["multigen-pocket"],
        "visor": ["visor"],
        "quality": ["quality-pocket"],
        "clip-score": [*digests],
        "latency": [],
    }
    for key, benchmarks in named.items():
        text = shown(card(key).description)
        assert "seed 41" in text, key
        assert f"Models: tiny |x| {model.identity[:19]}" in text, key
        assert [name for name in digests if digests[name] in text] == benchmarks, key
        assert ("a score above 0.175 counts" in text) == (key in ("multigen", "visor")), key
    assert "Features: pocket CLIP, sha256:" in shown(card("quality").description)
    assert "(" not in table("multigen")[0]["MG2"]
    assert "deviation" not in shown(card("multigen").description)


def test_two_models_side_by_side_on_one_page(store_dir, tmp_path):
    config = EvaluateConfig.load(**SMALL | {"benchmarks": ["multigen", "clip_score"]})
    tiny = ModelUnderTest(label="tiny <b>", name=str(write_model(tmp_path / "tiny", "sd1")))
    found = compare(BASE, tiny, config)
    assert [score.label for score in found.scores] == ["base", "tiny <b>"]
    page = Path(found.report_path).read_text()
    for heading in (
        "MultiGen: pocket",
        "Difference to base",
        "Same prompts, same noise",
        "Success by category",
        "Found instead",
        "CLIPScore",
        "What models were trained on",
    ):
        assert re.search(rf"<h[23][^>]*>{heading}</h[23]>", page), heading
    assert "tiny &lt;b&gt;" in page
    assert "tiny <b>" not in page
    # Two prompts of two models, and the largest changes among them.
    assert 4 <= page.count("data:image/jpeg") <= 12
    assert list_benchmarks(config)[0].digest[:12] in page
    # A model alone is computed anew in nothing but its page.
    before = {path.name for path in store_dir.glob("*-v*")}
    alone = evaluate([BASE], config)
    made = {
        path.name.partition("-")[0] for path in store_dir.glob("*-v*") if path.name not in before
    }
    assert made == {"findings"}
    assert "Difference to" not in Path(alone.report_path).read_text()


def test_more_prompts_and_rounds_generate_what_is_new(store_dir):
    def run(num_prompts: int, num_rounds: int) -> set[str]:
        """Stages of what is new in the store, with a number if there are several."""
        visor = {"num_prompts": num_prompts, "num_images_per_prompt": num_rounds}
        # A category that is new would be looked for in all images, as what might be there instead.
        visor["categories"] = ["cat", "boat"]
        before = {path.name for path in store_dir.glob("*-v*")}
        evaluate(
            [BASE],
            EvaluateConfig.load(
                **SMALL | {"benchmarks": ["visor"], "visor": visor, "partition_size": 2}
            ),
        )
        made = Counter(
            path.name.partition("-")[0]
            for path in store_dir.glob("*-v*")
            if path.name not in before
        )
        return {f"{count} {stage}" for stage, count in made.items()}

    assert run(4, 1) == {"2 generate", "2 detect", "1 score", "1 findings"}
    assert run(6, 1) == {"1 generate", "1 detect", "1 score", "1 findings"}
    assert run(6, 2) == {"3 generate", "3 detect", "1 score", "1 findings"}


def test_a_prompt_file_goes_from_its_entries_to_a_score_that_is_counted_by_hand(
    store_dir, tmp_path
):
    asked = {30: ["cat", "boat", "kite"], 4: ["cup", "car"], 11: ["clock", "cat", "boat"]}
    entries = [
        {
            "unique_id": number,
            "num_objects": len(names),
            "text": f"a photo of a {', a '.join(names[:-1])}, and a {names[-1]}.",
            **{f"obj_{place}_attributes": [name] for place, name in enumerate(names, 1)},
        }
        for number, names in asked.items()
    ]
    path = tmp_path / "released.json"
    path.write_text(json.dumps(entries))
    prompts = {"kind": "file", "path": str(path)}
    config = EvaluateConfig.load(
        multigen={"pocket": None, "released": {"num_images_per_prompt": 2, "prompts": prompts}},
        benchmarks=["multigen"],
        partition_size=2,
        sampler={"num_inference_steps": 20},
    )
    (score,) = evaluate([BASE], config).scores
    assert score.benchmark == "multigen-released"
    assert score.is_mixed
    store = open_store()
    drawn = [
        row
        for part in score.generated
        for row in read_table(part.path(store) / INDEX_NAME, GeneratedImage)
    ]
    texts = {entry["unique_id"]: entry["text"] for entry in entries}
    assert sorted((row.prompt_id, row.round, row.prompt) for row in drawn) == sorted(
        (number, round_number, text) for number, text in texts.items() for round_number in (0, 1)
    )
    found: dict[str, set[str]] = {row.image: set() for row in drawn}
    for table_path in store_dir.glob(f"detect-v*/{DETECTIONS_NAME}"):
        for box in read_table(table_path, DetectedBox):
            assert box.category in asked[box.prompt_id]
            if box.score > config.detector.threshold:
                found[box.image].add(box.category)
    assert isinstance(score.result, MultiGenResult)
    assert sorted(score.result.mean) == [2, 3]
    counts = [len(names) for names in found.values()]
    assert max(counts) >= 2
    for k, share in score.result.mean.items():
        assert share == pytest.approx(100 * sum(count >= k for count in counts) / 6)
    of_cat = [image for image in found if int(image.split("_")[0]) in (30, 11)]
    assert score.result.success["cat"] == pytest.approx(
        100 * sum("cat" in found[image] for image in of_cat) / 4
    )


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
