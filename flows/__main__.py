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
            "score-released",
            "ui",
        ],
    )
    parser.add_argument(
        "--profile", default="pocket", help="pocket, paper, or a TOML file (import-masks has none)"
    )
    parser.add_argument(
        "--config", type=json.loads, default={}, help='changes as JSON: {"finetune": {"seed": 2}}'
    )
    released = parser.add_argument_group(
        "score-released", "MultiGen by detections that its released code wrote; runs no flow"
    )
    released.add_argument("--prompts", type=Path, help="prompt file")
    released.add_argument("--detections", type=Path, nargs="+", help="the files of all processes")
    released.add_argument("--num-images-per-prompt", type=int, default=10)
    released.add_argument("--threshold", type=float, default=0.1, help="a score counts if above")
    options = parser.parse_args(arguments)
    # Bars and one line a stage say enough; the UI has everything.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1" if options.profile == "pocket" else "0")
    if options.flow == "ui":
        return subprocess.call([sys.executable, "-m", "prefect", "server", "start"])
    if options.flow == "score-released" and not (options.prompts and options.detections):
        parser.error("score-released needs --prompts and --detections")
    try:
        if options.flow == "score-released":
            return _score_released(options)
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
    from tasks.result_cells import table_lines

    state = reproduce(settings, return_state=True)
    result: Reproduction = state.result()
    benchmarks = list(dict.fromkeys(score.benchmark for score in result.scores))
    for benchmark in benchmarks:
        rows = [(s.label, s.result) for s in result.scores if s.benchmark == benchmark]
        subject = benchmark if len(benchmarks) > 1 else ""
        print("", *table_lines(rows, subject), sep="\n")
    run = state.state_details.flow_run_id
    print(f"\nreport    {_from_here(result.report_path)}")
    print(f"data set  {result.dataset}")
    print(f"its card  {_from_here(result.dataset_report_path)}")
    print(f"UI        make ui, then open {ui_url()}/runs/flow-run/{run}")


def _score_released(options: argparse.Namespace) -> int:
    from tasks.score_released import score_released

    result = score_released(
        options.prompts,
        options.detections,
        num_images_per_prompt=options.num_images_per_prompt,
        threshold=options.threshold,
    )
    print(f"MultiGen of {result.num_images} images, in percent; deviations over rounds")
    print(f"\n{'':5}{'mean':>8}{'population':>12}{'sample':>8}  95 % interval over prompts")
    for k, mean in result.mean.items():
        sample, ends = result.sample_deviation[k], result.interval[k]
        print(
            f"MG{k:<3}{mean:8.2f}{result.deviation[k]:12.2f}"
            + (f"{'-':>8}" if sample is None else f"{sample:8.2f}")
            + ("" if ends is None else f"  {ends[0]:.2f} to {ends[1]:.2f}")
        )
    return 0


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
