"""Train the models of the pocket world."""

from prefect import flow

from data_schemas.configs.train_pocket_config import PocketReportConfig, TrainPocketConfig
from tasks.measure_pocket_models import PocketReport, measure_models
from tasks.task_runner import TASK_RUNNER
from tasks.train_pocket_models import install_models, train_all

TRAINING = TrainPocketConfig.load("pocket")
REPORT = PocketReportConfig.load("pocket")


@flow(
    name="train-pocket",
    flow_run_name="train-pocket ({config.profile})",
    task_runner=TASK_RUNNER,
)
def train_pocket(
    config: TrainPocketConfig = TRAINING,
    report: PocketReportConfig = REPORT,
) -> PocketReport:
    """Train every model from nothing, put them in their place, and measure them.

    Returns:
        Every figure with its floor.
    """
    install_models(train_all(config))
    return measure_models(report)


@flow(name="pocket-report", task_runner=TASK_RUNNER)
def pocket_report(report: PocketReportConfig = REPORT) -> PocketReport:
    """Measure the models that come with the project on scenes that they were not trained on."""
    return measure_models(report)
