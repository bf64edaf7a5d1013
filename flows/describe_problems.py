"""What is wrong with a config, in a line a field, and which fields and kinds there are."""

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from data_schemas.configs.flow_config import FlowConfig

_OURS = ("data_schemas.", "flows.", "tasks.")
_HOLDERS: list[Any] = [Union, UnionType, Annotated, list, tuple, dict]
_Models = list[type[BaseModel]]


def describe_problems(error: ValidationError) -> list[str]:
    """A line for each field that cannot be: the field, what is wrong, and what is there instead.

    Args:
        error: Of one of the project's models.
    """
    roots = [model for model in _subclasses(BaseModel) if model.__name__ == error.title]
    return [_describe(problem, roots) for problem in error.errors()]


def _describe(problem: ErrorDetails, roots: _Models) -> str:
    path, beside, models, description = _follow(problem["loc"], roots)
    field = ".".join(path) or "config"
    match problem["type"]:
        case "string_pattern_mismatch":
            given = _as_json(problem["input"])
            return f"{field}: it cannot be {given}. {description}".rstrip()
        case "extra_forbidden":
            return f"{field}: no such field{_hint(path[-1], problem['input'], beside, models)}"
        case "union_tag_not_found":
            return f"{field}: kind is missing; it is one of {', '.join(_kinds(models))}"
        case "union_tag_invalid":
            tag = problem["ctx"]["tag"]
            return f"{field}.kind: there is no {tag!r}; it is one of {', '.join(_kinds(models))}"
    return f"{field}: {problem['msg'].removeprefix('Value error, ')}"


def _follow(loc: Sequence[int | str], roots: _Models) -> tuple[list[str], _Models, _Models, str]:
    """Follow a place to the field that it names.

    Returns:
        The place as a user writes it, without the kinds that pydantic puts in between; the models
        of which one was expected where the field stands; those of the field, if it is known, or
        else the one that was found there; and what the field is described as.
    """
    path: list[str] = []
    beside, models = roots, roots
    description = ""
    for part in loc:
        if part == "[key]":  # it is the name itself that cannot be
            continue
        of_kind = [model for model in models if part in _kinds([model])]
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        if of_kind and not fields:
            models = of_kind
            continue
        path.append(str(part))
        if fields:
            models = [model for field in fields for model in _models_in(field.annotation)]
            beside = models
            description = fields[0].description or ""
        # Else an index, a key, or a field that is not there, of what was found so far.
    return path, beside, models, description


def _hint(name: str, value: Any, beside: _Models, models: _Models) -> str:
    """Where a field belongs that is not where it stands, or what it may have been meant to be."""
    elsewhere = _elsewhere(name, value, models)
    if elsewhere:
        return elsewhere
    meant = next(iter(get_close_matches(name, sorted(_fields(beside)), n=1)), "")
    if meant and meant not in _fields(models):  # it is one of another kind
        kinds = _kinds([model for model in beside if meant in model.model_fields])
        those = f"kinds with {meant} are {', '.join(kinds)}; say which, as"
        return f" of kind {_either(_kinds(models))}; {those} {_as_json({'kind': kinds[0]})}"
    if meant:
        return f"; did you mean {meant}?"
    there = sorted(_fields(models))
    return f"; there are {', '.join(there)}" if there else ""


def _elsewhere(name: str, value: Any, models: _Models) -> str:
    """How to write a field that has another place, or is taken as another command takes it."""
    fields = sorted(_fields(models))
    name, *inner = name.split(".")
    for part in reversed(inner):
        value = {part: value}
    if inner and name in fields:
        return f"; write it nested: {_as_json({name: value})}"
    if within := [field for field in fields if name in _fields(_held(field, models))]:
        given = {within[0]: {name: value}}
        return f" here; it belongs inside {_either(within)}: {_as_json(given)}"
    if not isinstance(value, Mapping):
        return ""
    if name in ("config", *_sections(models)):
        return f"; give what is inside it without it: {_as_json(value)}"
    if called := [field for field in fields if name in _sections(_held(field, models))]:
        return f"; it is called {_either(called)} here: {_as_json({called[0]: value})}"
    return ""


def _fields(models: _Models) -> set[str]:
    return {field for model in models for field in model.model_fields}


def _sections(models: _Models) -> set[str]:
    """What `reproduce`, and a profile, call the configs that models are."""
    return {model.section for model in models if issubclass(model, FlowConfig)}


def _either(names: Sequence[str]) -> str:
    quoted = [json.dumps(name) for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _held(field: str, models: _Models) -> _Models:
    """The models of which a field holds one; those of a list or table stand further in."""
    found = [
        model.model_fields[field].annotation for model in models if field in model.model_fields
    ]
    return [
        model
        for annotation in found
        if get_origin(annotation) not in (list, tuple, dict)
        for model in _models_in(annotation)
    ]


def _models_in(annotation: Any) -> _Models:
    """The models that a type is made of: of a union, a list, or the values of a table."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in _HOLDERS:
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return []


def _kinds(models: _Models) -> list[str]:
    """What `kind` may be."""
    fields = [model.model_fields.get("kind") for model in models]
    literals = [field.annotation for field in fields if field is not None]
    return [str(kind) for literal in literals for kind in get_args(literal)]


def _subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for own in model.__subclasses__():
        if own.__module__.startswith(_OURS):
            yield own
        yield from _subclasses(own)
