import signal
from pathlib import Path

import pytest

from tests.killed_evaluation import run_evaluation

CHANGES = {
    "multigen": {"pocket": {"num_images_per_prompt": 1, "prompts": {"num_prompts": 4}}},
    "partition_size": 2,
    "sampler": {"num_inference_steps": 2},
}

pytestmark = pytest.mark.usefixtures("prefect_server")


def read_entries(store: Path) -> dict[str, tuple[int, dict[str, bytes]]]:
    """When each entry was put in its place, and what its files hold."""
    return {
        path.parent.name: (
            path.parent.stat().st_ino,
            {
                file.name: file.read_bytes()
                for file in sorted(path.parent.iterdir())
                # Says when it was made.
                if file.name != "manifest.json"
            },
        )
        for path in store.glob("*-v*/manifest.json")
    }


def test_evaluation_killed_in_each_stage_goes_on_to_the_same_tables(tmp_path: Path) -> None:
    assert run_evaluation(tmp_path / "calm", CHANGES) == 0
    expected = read_entries(tmp_path / "calm")
    killed: dict[str, tuple[int, dict[str, bytes]]] = {}
    # The second of two partitions where there are two, so that the first one is there already.
    for stage, count in (("generate", 2), ("detect", 2), ("score", 1)):
        code = run_evaluation(tmp_path / "killed", CHANGES, stage, count)
        assert code == -signal.SIGKILL
        entries = read_entries(tmp_path / "killed")
        assert not [name for name in entries if name.startswith(stage)][count - 1 :]
        # Nothing that was there has been made again.
        assert {name: entries[name][0] for name in killed} == {
            name: inode for name, (inode, _) in killed.items()
        }
        killed = entries
    assert run_evaluation(tmp_path / "killed", CHANGES) == 0
    entries = read_entries(tmp_path / "killed")
    assert {name: files for name, (_, files) in entries.items()} == {
        name: files for name, (_, files) in expected.items()
    }
    assert all(entries[name][0] == inode for name, (inode, _) in killed.items())
