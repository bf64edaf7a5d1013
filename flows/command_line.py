"""The arguments of `python -m flows`: one command for each flow, each with what it takes."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_schemas.stages import KEY_BEGINNING

_CHAIN = {
    "reproduce": "captions to scores: curate, fine-tune, evaluate; what `make demo` runs",
    "curate": "captions in, a data set of grounded shards out",
    "plan": "what curate would compute, and why; no model is loaded",
    "finetune": "fine-tune on a data set that curate has made",
    "evaluate": "score models with MultiGen, VISOR, FID and others",
    "compare": "two models, image beside image",
    "ablate": "what each part of the method is worth",
}
_SETS = {
    "register-captions": "check a caption set, and announce it if it is new",
    "import-masks": "make a data set of the masks that TokenCompose released",
    "retry-rejected": "try again the samples that a data set had to leave out",
    "inspect": "what became of single samples, and why",
    "changes": "what differs between two data sets",
}
_STORE = {
    "gc": "list what nothing refers to, and delete it if told so",
    "verify": "compare what is stored with what its manifests say",
    "lineage": "what an output was made from, and what was made from it",
}
_REST = {
    "train-pocket": "train the models of the pocket world from nothing; takes hours",
    "pocket-report": "measure the models of the pocket world",
    "score-released": "MultiGen by detections that its released code wrote; runs no flow",
    "ui": "a Prefect server to look at past runs",
    "serve": "server, worker, deployments and automations, kept up in the background",
    "deploy": "bring the deployments of a server up to date",
    "stop": "end what serve started",
}
_HELP = _CHAIN | _SETS | _STORE | _REST
_NO_CONFIG = {"score-released", "ui", "serve", "deploy", "stop"}
_NO_PROFILE = {"import-masks", "inspect", "changes", *_STORE, *_NO_CONFIG}
_CONFIGS = {
    "evaluate": '{"config": {"benchmarks": ["visor"]}, "models": [{"label": "sd", "name": "...",'
    ' "lora": "..."}]}',
    "compare": '{"config": {"benchmarks": ["visor"]}, "a": {"label": "sd", "name": "...",'
    ' "lora": "..."}}',
    "reproduce": '{"finetune": {"seed": 2}}',
    "curate": '{"mask": {"box_threshold": 0.3}}',
    "finetune": '{"num_steps": 100}',
    "gc": '{"older_than_days": 30, "delete": true}',
    "import-masks": '{"metadata_path": "...", "masks_dir": "...", "images_dir": "..."}',
}


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read a command and what it takes.

    Returns:
        `command`, and `values`, the parameters of its flow, besides its own options.

    Raises:
        SystemExit: If there is no such command, or it does not take what it was given.
    """
    parser = argparse.ArgumentParser(
        prog="python -m flows",
        description="Run a flow on this machine, and say what to look at.",
        epilog="COMMAND --help says what a command takes.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    own = {name: _add_command(commands, name) for name in _HELP}
    own["finetune"].add_argument(
        "dataset", help="key of the data set, as curate prints it, or its beginning"
    )
    own["finetune"].add_argument("--label", default="grounded", help="the model's name in tables")
    for name in ("evaluate", "compare"):
        own[name].add_argument(
            "models",
            type=_model,
            nargs="*",
            metavar="LABEL=MODEL",
            help="what to call a model, and its folder, its name on the hub, or the key that"
            " finetune prints, as sd=pocket:stable_diffusion",
        )
    own["inspect"].add_argument(
        "sample", nargs="?", help="part of a sample's key, of its image's path, or of a caption"
    )
    own["inspect"].add_argument("--dataset", help="a caption set or a key; the newest without it")
    own["changes"].add_argument(
        "after", nargs="?", help="a caption set or a key; the newest data set without it"
    )
    own["changes"].add_argument("--before", help="likewise; the one made before it without it")
    own["lineage"].add_argument("key", nargs="?", help="an output in the store, or its beginning")
    own["verify"].add_argument(
        "--deep", action="store_true", default=None, help="compare every digest, not sizes alone"
    )
    released = own["score-released"]
    released.add_argument("--prompts", type=Path, required=True, help="prompt file")
    released.add_argument(
        "--detections",
        type=Path,
        nargs="+",
        required=True,
        help="the files of all processes, or the folder with them",
    )
    released.add_argument(
        "--num-images-per-prompt", type=int, default=10, help="rounds; 10, as released"
    )
    released.add_argument(
        "--threshold", type=float, default=0.1, help="a score counts if above; 0.1, as released"
    )
    # Without a command people want to know which there are.
    options = parser.parse_args((sys.argv[1:] if arguments is None else arguments) or ["--help"])
    if options.command == "compare" and len(options.models) not in (0, 2):
        own["compare"].error("compare takes two models, as LABEL=MODEL LABEL=MODEL")
    if getattr(options, "models", None) and {"models", "a", "b"} & options.config.keys():
        own[options.command].error("give models as LABEL=MODEL or as JSON, not both")
    options.values = _values(options)
    if options.command in ("evaluate", "compare") and not {"models", "a", "b"} & set(
        options.values
    ):
        own[options.command].error("say which models, as LABEL=MODEL; --help tells more")
    if options.command == "inspect" and not options.values.get("sample"):
        own["inspect"].error("say which: part of a key, of an image's path, or of a caption")
    return options


def _add_command(commands: Any, name: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=_HELP[name],
        description=_HELP[name][0].upper() + _HELP[name][1:] + ".",
        allow_abbrev=False,
    )
    if name not in _NO_PROFILE:
        parser.add_argument(
            "--profile", default="pocket", help="pocket (as without it), paper, or a TOML file"
        )
    if name not in _NO_CONFIG:
        example = f", as {_CONFIGS[name]}" if name in _CONFIGS else ""
        parser.add_argument(
            "--config",
            type=_json_object,
            default={},
            metavar="JSON",
            help=f"changes of the settings{example}".replace("%", "%%"),
        )
    return parser


def _json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{text[: error.pos]}>>>{text[error.pos :]}"
        raise argparse.ArgumentTypeError(f"this is no JSON, {error.msg}: {place}") from error
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f'expected an object, {{"field": value}}: {text}')
    return found


def _model(text: str) -> dict[str, str]:
    label, separator, model = text.partition("=")
    if not (label and separator and model):
        raise argparse.ArgumentTypeError(
            f"expected LABEL=MODEL, as sd=pocket:stable_diffusion: {text}"
        )
    # Of any stage: whoever gives the key of a data set hears that it is no model.
    return {"label": label, "stored" if KEY_BEGINNING.fullmatch(model) else "name": model}


def _values(options: argparse.Namespace) -> dict[str, Any]:
    """What the flow is given: the JSON, and what was said with arguments of the command's own."""
    names = ["profile", "deep", "key", "sample", "after", "before"]
    if options.command == "inspect":
        names.append("dataset")  # that of finetune stands beside its config
    given = {name: getattr(options, name, None) for name in names}
    if options.command == "evaluate":
        given["models"] = options.models or None
    if options.command == "compare" and options.models:
        given["a"], given["b"] = options.models
    said = {name: value for name, value in given.items() if value is not None}
    return said | getattr(options, "config", {})
