"""Write the page of all settings: `python -m data_schemas.list_settings > docs/settings.md`."""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from data_schemas.configs.ablate_config import AblateConfig
from data_schemas.configs.backfill_config import BackfillConfig
from data_schemas.configs.curate_config import CurateConfig, ImageLimits
from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.configs.import_masks_config import ImportMasksConfig
from data_schemas.configs.operate_config import GcConfig
from data_schemas.configs.reproduce_config import ReproduceConfig
from data_schemas.profiles import load_profile

_HEAD = """# All settings

Made from the configs by `.venv/bin/python -m data_schemas.list_settings > docs/settings.md`; a test
holds this page against them. A field with dots is a field of a table: `mask.box_threshold` of
`curate` is `{"mask": {"box_threshold": 0.3}}` in `--config` of that command, and `box_threshold`
below `[curate.mask]` in a profile. `<name>` is a name of your choice, `[]` each entry of a list.
The columns `pocket` and `paper` are the values of the profiles; where `...` stands, or nothing, see
`data_schemas/profiles/`. The settings of `train-pocket` and `pocket-report` are in `pocket.toml`
there.
"""
_FLOWS: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("curate", CurateConfig, "Also of `plan`, `register-captions` and `retry-rejected`."),
    ("finetune", FinetuneConfig, ""),
    ("evaluate", EvaluateConfig, "Of the commands `evaluate` and `compare` below `config`."),
    ("reproduce", ReproduceConfig, "Besides `curate`, `finetune` and `evaluate`, as above."),
    ("ablate", AblateConfig, "Besides `curate`, `finetune` and `evaluate`, as above."),
    ("import-masks", ImportMasksConfig, "It takes [`image_limits`](#image_limits), too."),
    ("backfill", BackfillConfig, ""),
    ("gc", GcConfig, ""),
)
_WITHOUT_PROFILE = {"import-masks", "backfill", "gc"}
_PARTS = {"curate", "finetune", "evaluate"}
_LIMITS = "image_limits"
_LONGEST = 40
_NO_VALUE = object()


def list_settings() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    kinds: dict[str, tuple[str, Any]] = {}
    for flow, model, note in _FLOWS:
        schema = model.model_json_schema()
        profiles, skipped = [], {_LIMITS}
        if flow not in _WITHOUT_PROFILE:
            profiles = [load_profile(name, flow) for name in ("pocket", "paper")]
            skipped |= {"profile"} | (set() if flow in _PARTS else _PARTS)
        about = " ".join(text for text in (_first(schema), note) if text)
        parts.append(f"## `{flow}`\n\n{about}\n")
        parts.append(_table(schema, schema, skipped, profiles, kinds))
    parts.append("## Kinds\n\nFields that depend on the `kind` beside them.\n")
    for name, (field, root) in kinds.items():
        own = root["$defs"][name]
        also = (
            f" It takes [`{_LIMITS}`](#image_limits), too." if _LIMITS in own["properties"] else ""
        )
        kind = own["properties"]["kind"]["const"]
        parts.append(f"### `{field}` of kind `{kind}`\n\n{_first(own)}{also}\n")
        parts.append(_table(own, root, {"kind", _LIMITS}, [], {}))
    limits = ImageLimits.model_json_schema()
    parts.append(f"## `{_LIMITS}`\n\n{_first(limits)}\n")
    parts.append(_table(limits, limits, set(), [], {}))
    return "\n".join(parts)


def _first(schema: Mapping[str, Any]) -> str:
    """The first paragraph of a config's docstring."""
    return " ".join(schema.get("description", "").split("\n\n")[0].split())


def _table(
    schema: Mapping[str, Any],
    root: Mapping[str, Any],
    skipped: set[str],
    profiles: list[dict[str, Any]],
    kinds: dict[str, tuple[str, Any]],
) -> str:
    names = ["pocket", "paper"] if profiles else ["default"]
    lines = [f"| field | {' | '.join(names)} | takes | what |", "|---" * (len(names) + 3) + "|"]
    for path, field in _fields(schema, root, (), skipped, kinds):
        if profiles:
            values = [_value(_at(own, path, field)) for own in profiles]
        else:
            values = [_value(field.get("default", _NO_VALUE))]
        what = " ".join(field.get("description", "").split()).replace("|", "\\|")
        lines.append(f"| `{_name(path)}` | {' | '.join(values)} | {_takes(field)} | {what} |")
    return "\n".join(lines) + "\n"


def _fields(
    schema: Mapping[str, Any],
    root: Mapping[str, Any],
    path: tuple[str, ...],
    skipped: set[str],
    kinds: dict[str, tuple[str, Any]],
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """The leaves of a config and of its tables, with their JSON schemas."""
    for name, field in schema["properties"].items():
        here = (*path, name)
        if not path and name in skipped:
            continue
        own, inner = _inside(field)
        of_kinds = field.get("discriminator", {}).get("mapping")
        if of_kinds:
            known = ", ".join(f"`{kind}`" for kind in of_kinds)
            yield (
                (*here, "kind"),
                {"description": f"One of {known}; see [Kinds](#kinds).", "type": "string"},
            )
            for reference in of_kinds.values():
                kinds.setdefault(reference.split("/")[-1], (name, root))
        elif inner:
            table = root["$defs"][inner.split("/")[-1]]
            for below, leaf in _fields(table, root, (*here, *own), set(), kinds):
                default = _at(field.get("default"), below[len(here) :], leaf)
                yield below, leaf if default is _NO_VALUE else {**leaf, "default": default}
        else:
            yield here, field


def _inside(field: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """What stands between a field and the table that it holds, and which table that is."""
    if "$ref" in field:
        return (), field["$ref"]
    entries = field.get("items", {})
    if "$ref" in entries:
        return ("[]",), entries["$ref"]
    named = [*field.get("patternProperties", {}).values(), field.get("additionalProperties")]
    for own in (own for own in named if isinstance(own, Mapping)):
        for choice in own.get("anyOf", [own]):
            if "$ref" in choice:
                return ("<name>",), choice["$ref"]
            if "$ref" in choice.get("items", {}):
                return ("<name>", "[]"), choice["items"]["$ref"]
    return (), ""


def _name(path: tuple[str, ...]) -> str:
    return ".".join(path).replace(".[]", "[]")


def _at(profile: Any, path: tuple[str, ...], field: Mapping[str, Any]) -> Any:
    """The value of a profile, unless it is one of many."""
    for part in path:
        if part in ("[]", "<name>"):
            return _NO_VALUE
        if not isinstance(profile, Mapping) or part not in profile:
            return field.get("default", _NO_VALUE)
        profile = profile[part]
    return profile


def _value(value: Any) -> str:
    if value is _NO_VALUE:
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= _LONGEST else "..."


def _takes(field: Mapping[str, Any]) -> str:
    """What a field may hold, in words."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_takes(choice) for choice in field["anyOf"]))
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    match field.get("type"):
        case "array":
            return f"list: {_takes(field['items'])}" if "items" in field else "list"
        case "object":
            return "table"
        case "string":
            return "text"
        case "boolean":
            return "`true`, `false`"
        case "integer" | "number" as kind:
            ends = [
                f"{words} {field[key]:.10g}"
                for key, words in (
                    ("minimum", "from"),
                    ("exclusiveMinimum", "above"),
                    ("maximum", "to"),
                    ("exclusiveMaximum", "below"),
                    ("multipleOf", "multiple of"),
                )
                if key in field
            ]
            return " ".join(["whole number" if kind == "integer" else "number", *ends])
        case "null":
            return "`null`"
    return ""


if __name__ == "__main__":
    sys.stdout.write(list_settings())
