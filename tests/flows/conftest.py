"""A small drawn caption set, and a store in which `curate` has already made it."""

import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.manifest import Manifest
from data_schemas.records import SelectedImage
from tests.model_calls import BUILT, count_model_calls
from tokencompose_core.pocket.floors.held_out import HeldOut, draw_held_out
from tokencompose_core.store.tables import read_table

NUM_ROWS = 40
_SUMMARY = re.compile(r"^(\w+) +(\d+ \w+(?:, \d+ \w+)*) +\d+ in", re.MULTILINE)
_KNOWN = re.compile(r"^(\w+) .* out  known already: (\d+)", re.MULTILINE)
_STATE = re.compile(r"(\d+) (\w+)")


@dataclass
class DrawnSet:
    """Scenes of the pocket world on disk, two captions each, and the store beside them.

    Attributes:
        folder: Holds the images, the caption file, and `store/`.
        rows: What the caption file says; tests change it.
    """

    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def store_dir(self) -> Path:
        return self.folder / "store"

    def config(self, **changes: Any) -> CurateConfig:
        """Write the caption file, and a config that reads it."""
        path = self.folder / "captions.jsonl"
        path.write_text("\n".join(map(json.dumps, self.rows)))
        source = {"kind": "json", "paths": [str(path)], "images_dir": str(self.folder)}
        return CurateConfig.load(
            caption_set="drawn", source=source, select={"partition_size": 8}, **changes
        )

    def manifests(self, stage: str) -> dict[str, Manifest]:
        found = [
            Manifest.model_validate_json(path.read_text())
            for path in self.store_dir.glob(f"{stage}-*/manifest.json")
        ]
        return {manifest.key: manifest for manifest in found}

    def partitions(self) -> set[tuple[str, ...]]:
        """All partitions that were ever selected, as JSON of their rows."""
        return {
            tuple(row.model_dump_json() for row in read_table(path, SelectedImage))
            for path in self.store_dir.glob("select-*/part-*.parquet")
        }

    def add(self, number: int, item: HeldOut, suffix: str = "") -> None:
        """Put another scene into the set, behind the others."""
        name = f"{number:03d}{suffix}.jpg"
        item.image.save(self.folder / name, quality=92)
        self.rows.append({"img_path": name, "caption": [item.sentence.text, item.wrong.text]})

    def spread(self, num_new: int, suffix: str = "a", seed: int = 42) -> None:
        """Put other scenes evenly among those of the set, as in a sorted folder that grows."""
        step = NUM_ROWS // num_new
        for number, item in enumerate(draw_held_out(num_new, seed=seed)):
            self.add(number * step + step // 2, item, suffix)
        self.rows.sort(key=lambda row: row["img_path"])

    def damage(self, missing: str) -> dict[str, Any]:
        """Cut an image off, take the nouns out of a caption, and name an image that is not there.

        Args:
            missing: What the caption file calls that image.

        Returns:
            Changes of the config with which a run takes the set all the same, and other masks.
        """
        (self.folder / "005.jpg").write_bytes((self.folder / "005.jpg").read_bytes()[:2500])
        self.rows[7]["caption"] = ["Very nice."]
        self.rows.append({"img_path": missing, "caption": ["A cat that is nowhere."]})
        return {"max_rejected_fraction": 0.5, "mask": {"box_threshold": 0.4}}

    def copy_to(self, folder: Path) -> "DrawnSet":
        """The set and its store in another place, to be changed there."""
        shutil.copytree(self.folder, folder)
        return DrawnSet(folder, [dict(row, caption=list(row["caption"])) for row in self.rows])


@dataclass(frozen=True)
class Run:
    """What a flow did, and said.

    Attributes:
        calls: Images and captions that models saw.
        built: Modules that were built.
        states: Outputs of each stage by state.
        known: How many samples of a stage it says were known already.
        result: What it gave.
    """

    calls: Counter[str]
    built: int
    states: dict[str, Counter[str]]
    known: dict[str, int]
    result: Any


def run_flow(flow: Callable[[CurateConfig], Any], config: CurateConfig) -> Run:
    """Run a flow, and read its own lines."""
    with count_model_calls() as calls, redirect_stdout(io.StringIO()) as printed:
        result = flow(config)
    states = {
        stage: Counter({name: int(count) for count, name in _STATE.findall(made)})
        for stage, made in _SUMMARY.findall(printed.getvalue())
    }
    known = {stage: int(count) for stage, count in _KNOWN.findall(printed.getvalue())}
    return Run(calls, calls.pop(BUILT, 0), states, known, result)


@dataclass(frozen=True)
class Base:
    """A set that was planned with an empty store, and then computed."""

    drawn: DrawnSet
    planned: Run
    stages_after_plan: set[str]
    computed: Run


@pytest.fixture(scope="session")
def base(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A drawn set, once a session; tests work on copies."""
    from flows.curate import curate
    from flows.plan import plan

    drawn = DrawnSet(tmp_path_factory.mktemp("drawn") / "set")
    drawn.folder.mkdir()
    for number, item in enumerate(draw_held_out(NUM_ROWS, seed=41)):
        drawn.add(number, item)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENCOMPOSE_STORE", str(drawn.store_dir))
        planned = run_flow(plan, drawn.config())
        stored = drawn.store_dir.glob("*/manifest.json")
        stages = {path.parent.name.partition("-")[0] for path in stored}
        computed = run_flow(curate, drawn.config())
    return Base(drawn, planned, stages, computed)


@pytest.fixture
def drawn(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DrawnSet:
    """A copy of the computed set, with a store of its own."""
    copy = base.drawn.copy_to(tmp_path / "set")
    monkeypatch.setenv("TOKENCOMPOSE_STORE", str(copy.store_dir))
    return copy
