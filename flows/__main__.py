"""Run a flow from the command line: `python -m flows reproduce --profile pocket`."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from prefect.exceptions import ParameterBindError, ParameterTypeError, TerminationSignal
from pydantic import ValidationError

from data_schemas.configs.ablate_config import AblateConfig
from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.configs.import_masks_config import ImportMasksConfig
from data_schemas.configs.operate_config import GcConfig, LineageConfig, VerifyConfig
from data_schemas.configs.reproduce_config import ReproduceConfig
from flows.command_line import parse_arguments
from flows.describe_problems import describe_problems
from flows.local_server import end_unused_server, is_running, local_server, ui_url
from flows.print_results import (
    print_ablation,
    print_announced,
    print_changes,
    print_evaluation,
    print_figures,
    print_inspection,
    print_model,
    print_plan,
    print_reach,
    print_registered,
    print_released,
    print_reproduction,
    print_set,
)
from flows.print_tables import print_garbage, print_health, print_lineage, print_retries
from flows.quiet_console import quiet_console
from tasks.opened_store import StoreError

# What a person can mend says how; anything else shows where it happened.
_MENDABLE = (
    FileNotFoundError,
    StoreError,
    ValueError,
    ArithmeticError,
    ParameterBindError,
    ParameterTypeError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one flow with a Prefect server on this machine, and say what to look at."""
    options = parse_arguments(arguments)
    os.environ.setdefault("DO_NOT_TRACK", "1")
    try:
        if options.command == "ui":
            end_unused_server()
            if is_running():
                print(f"The UI is up already, at {ui_url()}.")
                return 0
            # In the place of this process: Ctrl-C, and all else, is for the server alone.
            os.execv(sys.executable, [sys.executable, "-m", "prefect", "server", "start"])
        if options.command == "score-released":
            return _score_released(options)
        if options.command in ("serve", "deploy", "stop"):
            return _serve(options.command)
        # Bars and one line a stage say enough; the UI has everything.
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
        is_pocket = getattr(options, "profile", "pocket") == "pocket"
        os.environ.setdefault("HF_HUB_OFFLINE", "1" if is_pocket else "0")
        quiet_console(_MENDABLE)
        _run(options)
    except ValidationError as error:
        print(*describe_problems(error), sep="\n", file=sys.stderr)
        return 2
    except _MENDABLE as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, TerminationSignal):
        print("Stopped. The same command goes on from what is stored.", file=sys.stderr)
        return 130
    return 0


def _serve(command: str) -> int:
    from flows import serve

    try:
        {"serve": serve.serve, "deploy": serve.register, "stop": serve.stop}[command]()
    except (RuntimeError, LookupError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    """Check the config first; only then start a server and the flow."""
    values = options.values
    match options.command:
        case "reproduce":
            settings = ReproduceConfig.model_validate(values)
            with local_server():
                from flows.reproduce import reproduce

                state = reproduce(settings, return_state=True)
                print_reproduction(state.result(), state.state_details.flow_run_id)
        case "evaluate":
            from flows.chosen_models import ChosenModels

            chosen = ChosenModels.load(values)
            with local_server():
                from flows.evaluate import evaluate

                own = evaluate(chosen.models, chosen.config, return_state=True)
                print_evaluation(own.result(), own.state_details.flow_run_id)
        case "compare":
            from flows.chosen_models import TwoModels

            two = TwoModels.load(values)
            with local_server():
                from flows.compare import compare

                own = compare(two.a, two.b, two.config, return_state=True)
                print_evaluation(own.result(), own.state_details.flow_run_id)
        case "ablate":
            variants = AblateConfig.model_validate(values)
            with local_server():
                from flows.ablate import ablate

                print_ablation(ablate(variants))
        case "curate":
            caption_set = CurateConfig.model_validate(values)
            with local_server():
                from flows.curate import curate

                print_set(curate(caption_set), caption_set.profile)
                print_announced("finetune", caption_set.profile)
            print_reach(caption_set)
        case "finetune":
            training = FinetuneConfig.model_validate(values)
            with local_server():
                from flows.finetune import finetune

                stored = finetune(options.dataset, training, options.label)
                print_model(stored, options.label, training.base_model, training.profile)
                print_announced("evaluate", training.profile)
        case "register-captions":
            arrived = CurateConfig.model_validate(values)
            with local_server():
                from flows.register_captions import register_captions

                print_registered(register_captions(arrived), arrived.profile)
        case "import-masks":
            released = ImportMasksConfig.model_validate(values)
            with local_server():
                from flows.import_masks import import_masks

                print_set(import_masks(released))
        case "plan":
            planned = CurateConfig.model_validate(values)
            with local_server():
                from flows.plan import plan
                from tasks.publish_plan import plan_rows

                print_plan(plan_rows(plan(planned)))
            print_reach(planned)
        case "gc":
            chosen_age = GcConfig.model_validate(values)
            with local_server():
                from flows.gc import gc

                print_garbage(gc(chosen_age))
        case "verify":
            closeness = VerifyConfig.model_validate(values)
            with local_server():
                from flows.verify import verify

                looked = verify(closeness, return_state=True)
                health: Any = looked.result(raise_on_failure=False)
                if isinstance(health, BaseException):
                    raise health
                print_health(health)
                if looked.is_failed():
                    raise ValueError(looked.message)
        case "lineage":
            output = LineageConfig.model_validate(values)
            with local_server():
                from flows.lineage import lineage

                print_lineage(lineage(output))
        case "retry-rejected":
            again = CurateConfig.model_validate(values)
            with local_server():
                from flows.retry_rejected import retry_rejected

                print_retries(retry_rejected(again))
        case "inspect":
            from flows.inspect_sample import inspect_sample

            with local_server():
                print_inspection(inspect_sample(**values))
        case "changes":
            from flows.changes import changes

            with local_server():
                print_changes(changes(**values))
        case "train-pocket":
            from flows.train_pocket import TrainPocketConfig, train_pocket

            lessons = TrainPocketConfig.model_validate(values)
            with local_server():
                print_figures(train_pocket(lessons))
        case "pocket-report":
            from flows.train_pocket import PocketReportConfig, pocket_report

            report = PocketReportConfig.model_validate(values)
            with local_server():
                print_figures(pocket_report(report))


def _score_released(options: argparse.Namespace) -> int:
    from tasks.score_released import score_released

    print_released(
        score_released(
            options.prompts,
            options.detections,
            num_images_per_prompt=options.num_images_per_prompt,
            threshold=options.threshold,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
