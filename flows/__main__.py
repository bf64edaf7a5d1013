"""Run a flow from the command line: `python -m flows reproduce --profile pocket`."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from prefect.exceptions import TerminationSignal
from pydantic import ValidationError

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.import_masks_config import ImportMasksConfig
from data_schemas.configs.reproduce_config import ReproduceConfig
from flows.local_server import local_server, ui_url

if TYPE_CHECKING:
    from tasks.draw_dataset_card import CuratedSet


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one flow with a Prefect server on this machine, and say what to look at."""
    parser = argparse.ArgumentParser(prog="python -m flows", description=__doc__)
    parser.add_argument(
        "flow",
        choices=[
            "reproduce",
            "curate",
            "plan",
            "import-masks",
            "train-pocket",
            "pocket-report",
            "ui",
        ],
    )
    parser.add_argument(
        "--profile", default="pocket", help="pocket, paper, or a TOML file (import-masks has none)"
    )
    parser.add_argument(
        "--config", type=json.loads, default={}, help='changes as JSON: {"finetune": {"seed": 2}}'
    )
    options = parser.parse_args(arguments)
    # Bars and one line a stage say enough; the UI has everything.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1" if options.profile == "pocket" else "0")
    if options.flow == "ui":
        return subprocess.call([sys.executable, "-m", "prefect", "server", "start"])
    try:
        profile = {} if options.flow == "import-masks" else {"profile": options.profile}
        _run(options.flow, profile | options.config)
    except ValidationError as error:
        for problem in error.errors():
            field = ".".join(str(part) for part in problem["loc"]) or "config"
            print(f"{field}: {problem['msg']}", file=sys.stderr)
        return 2
    except (FileNotFoundError, ValueError, ArithmeticError) as error:
        # What a person can mend says how; anything else shows where it happened.
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, TerminationSignal):
        print("Stopped. The same command goes on from what is stored.", file=sys.stderr)
        return 130
    return 0


def _run(flow: str, values: dict) -> None:
    """Check the config first; only then start a server and the flow."""
    match flow:
        case "reproduce":
            settings = ReproduceConfig.model_validate(values)
            with local_server():
                _reproduce(settings)
        case "curate":
            caption_set = CurateConfig.model_validate(values)
            with local_server():
                _curate(caption_set)
        case "import-masks":
            released = ImportMasksConfig.model_validate(values)
            with local_server():
                _import_masks(released)
        case "plan":
            planned = CurateConfig.model_validate(values)
            with local_server():
                _plan(planned)
        case "train-pocket":
            from flows.train_pocket import TrainPocketConfig, train_pocket

            training = TrainPocketConfig.model_validate(values)
            with local_server():
                _print_figures(train_pocket(training))
        case "pocket-report":
            from flows.train_pocket import PocketReportConfig, pocket_report

            report = PocketReportConfig.model_validate(values)
            with local_server():
                _print_figures(pocket_report(report))


def _reproduce(settings: ReproduceConfig) -> None:
    from flows.reproduce import Reproduction, reproduce

    state = reproduce(settings, return_state=True)
    result: Reproduction = state.result()
    columns = [f"MG{k}" for k in sorted(result.scores[0].mean)]
    print("\nMultiGen: share of images with at least k of their five categories, in percent")
    print("(in brackets the population standard deviation over rounds)\n")
    print(f"{'model':12}" + "".join(f"{name:>14}" for name in columns) + f"{'images':>9}")
    for score in result.scores:
        cells = [f"{score.mean[k]:.1f} ({score.deviation[k]:.1f})" for k in sorted(score.mean)]
        print(f"{score.label:12}" + "".join(f"{c:>14}" for c in cells) + f"{score.num_images:>9}")
    run = state.state_details.flow_run_id
    print(f"\nreport    {_from_here(result.report_path)}")
    print(f"data set  {result.dataset}")
    print(f"its card  {_from_here(result.dataset_report_path)}")
    print(f"UI        make ui, then open {ui_url()}/runs/flow-run/{run}")


def _curate(settings: CurateConfig) -> None:
    from flows.curate import curate

    _print_set(curate(settings))


def _import_masks(settings: ImportMasksConfig) -> None:
    from flows.import_masks import import_masks

    _print_set(import_masks(settings))


def _from_here(path: str) -> str:
    """A path as one would type it, if it lies below the working directory."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _print_set(made: "CuratedSet") -> None:
    print(f"\nreport    {_from_here(made.report_path)}")
    print(f"data set  {made.dataset}")


def _plan(settings: CurateConfig) -> None:
    from flows.plan import plan
    from tasks.publish_plan import COLUMNS, NOTES, plan_rows

    rows = plan_rows(plan(settings))
    print()
    for stage, there, *to_do, why in [COLUMNS, *rows]:
        print(f"{stage:9}{there:>6}{to_do[0]:>12}{to_do[1]:>8}  {why}".rstrip())
    print()
    for note in NOTES:
        print(fill(note, 96))


def _print_figures(report) -> None:
    print(f"\n{'model':17}{'figure':38}{'value':>8}  {'limits':>12}{'cases':>7}")
    for figure in report.figures:
        limits = f"{figure.low:g} to {figure.high:g}"
        mark = "" if figure.reached else "  MISSED"
        print(
            f"{figure.model:17}{figure.name:38}{figure.value:8.3f}  {limits:>12}"
            f"{figure.count:7}{mark}"
        )
    print(f"\npictures  {report.folder}")


if __name__ == "__main__":
    sys.exit(main())
