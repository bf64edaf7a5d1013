"""An evaluation that is killed in any of its stages goes on to the same tables."""

import signal
from pathlib import Path

import pytest

from data_schemas.manifest import Manifest
from tests.killed_evaluation import run_evaluation

MULTIGEN = {
    "multigen": {"pocket": {"num_images_per_prompt": 1, "prompts": {"num_prompts": 4}}},
    "partition_size": 2,
    "sampler": {"num_inference_steps": 2},
}
# Latency is not among them: what it measures is another every time.
OTHERS = {
    "benchmarks": ["visor", "quality", "clip_score"],
    "visor": {"num_prompts": 2, "num_images_per_prompt": 2},
    "quality": {
        "pocket": {
            "source": {"num_images": 24},
            "num_pairs": 6,
            "num_kid_subsets": 5,
            "kid_subset_size": 4,
            "allow_few_images": True,
        }
    },
    "partition_size": 4,
    "sampler": {"num_inference_steps": 2},
}
CASES = {
    "multigen": (MULTIGEN, {"generate", "detect", "score", "findings"}),
    "others": (
        OTHERS,
        {"pairs", "reference", "features", "quality", "clipscore", "agreement"},
    ),
}

pytestmark = pytest.mark.usefixtures("prefect_server")


def read_entries(store: Path) -> dict[str, tuple[int, dict[str, bytes]]]:
    """When each entry was put in its place, and what its files hold."""
    return {
        path.parent.name: (
            path.parent.stat().st_ino,
            {
                str(file.relative_to(path.parent)): file.read_bytes()
                for file in sorted(path.parent.rglob("*"))
                # The manifest says when it was made.
                if file.is_file() and file.name != "manifest.json"
            },
        )
        for path in store.glob("*-v*/manifest.json")
    }


def in_order(store: Path) -> list[str]:
    """The stages in the order in which they ended."""
    manifests = [
        Manifest.model_validate_json(path.read_text()) for path in store.glob("*-v*/manifest.json")
    ]
    manifests.sort(key=lambda manifest: manifest.provenance["created"], reverse=True)
    last = dict.fromkeys(manifest.stage for manifest in manifests)
    return list(last)[::-1]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", CASES)
def test_evaluation_killed_in_each_stage_goes_on_to_the_same_tables(
    case: str, tmp_path: Path
) -> None:
    changes, stages = CASES[case]
    assert run_evaluation(tmp_path / "calm", changes) == 0
    expected = read_entries(tmp_path / "calm")
    killed: dict[str, tuple[int, dict[str, bytes]]] = {}
    order = in_order(tmp_path / "calm")
    assert stages <= set(order)
    for stage in [stage for stage in order if stage in stages]:
        # Before the last output of the stage, so that the others are there already.
        count = sum(key.startswith(f"{stage}-v") for key in expected.keys() - killed.keys())
        code = run_evaluation(tmp_path / "killed", changes, stage, count)
        assert code == -signal.SIGKILL, stage
        entries = read_entries(tmp_path / "killed")
        made = [key for key in entries.keys() - killed.keys() if key.startswith(f"{stage}-v")]
        assert len(made) == count - 1
        # Nothing that was there has been made again.
        assert {name: entries[name][0] for name in killed} == {
            name: inode for name, (inode, _) in killed.items()
        }
        killed = entries
    assert run_evaluation(tmp_path / "killed", changes) == 0
    entries = read_entries(tmp_path / "killed")
    assert {name: files for name, (_, files) in entries.items()} == {
        name: files for name, (_, files) in expected.items()
    }
    assert all(entries[name][0] == inode for name, (inode, _) in killed.items())
