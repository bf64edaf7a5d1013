"""A set is registered in the flow's store, wherever its task runs."""

from data_schemas.configs.curate_config import CurateConfig
from tasks.register_captions import RegisterSpec, register_set
from tasks.stage import PLANNER, Input
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.keys import make_key


def test_worker_with_another_store_registers_in_that_of_the_flow(tmp_path, store_dir):
    flow_store = Store(str(tmp_path / "flow"))

    def write(folder):
        (folder / "part-00000.parquet").write_bytes(b"rows")
        return {"num_out": 3}

    selection = flow_store.publish(make_key("select", 1, {}), "select", write)
    spec = RegisterSpec(
        selected=[Input.of(selection, "part-00000.parquet")],
        config=CurateConfig.load(caption_set="elsewhere"),
        flow_store=flow_store.url,
    )
    planning = PLANNER.set(lambda specs: [])  # which announces nothing, as no server is needed here
    try:
        registered = register_set.fn(spec)
    finally:
        PLANNER.reset(planning)
    assert registered.num_out == 3
    assert flow_store.find(registered.key) == registered
    assert not store_dir.exists()
