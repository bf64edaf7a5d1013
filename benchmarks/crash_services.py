"""What stands beside the server: automations, registered once, and a loop that settles runs."""

import sys
import time
from datetime import timedelta

SECONDS_BETWEEN = 20


def main() -> None:
    """Do what the command line names."""
    match sys.argv[1]:
        case "automations":
            register()
        case "settle":
            settle()


def register() -> None:
    """Register the automation that crashes runs without a heartbeat."""
    from prefect.automations import Automation, EventTrigger, Posture
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState

    ends = (f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed"))
    Automation(
        name="crash-zombie-flow-runs",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *ends},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=90),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="no heartbeat")],
    ).create()


def settle() -> None:
    """Settle runs again and again, also while the server is away."""
    from tasks.settle_runs import settle_runs

    while True:
        try:
            for name in settle_runs():
                print(f"settled {name}", flush=True)
        except Exception as error:
            print(f"not settled: {error!r}", flush=True)
        time.sleep(SECONDS_BETWEEN)


if __name__ == "__main__":
    main()
