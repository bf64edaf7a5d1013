"""Profiles: complete values of the flows' configs, as TOML files that a person can read."""

import tomllib
from collections.abc import Collection, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

_SUFFIX = ".toml"
_MOST_NAMED = 3


def profile_names() -> list[str]:
    """Names of the profiles that come with the project."""
    files = resources.files(__name__).iterdir()
    return sorted(f.name.removesuffix(_SUFFIX) for f in files if f.name.endswith(_SUFFIX))


def load_profile(profile: str, section: str, needed: Collection[str] = ()) -> dict[str, Any]:
    """Read one flow's values.

    A file may say `base = "paper"` and hold nothing but what differs from that profile.

    Args:
        profile: Name of a profile that comes with the project, or a path to a TOML file.
        section: The flow: `curate`, `finetune`, `evaluate`, `reproduce` or `train_pocket`.
        needed: Fields of the flow that have to come from the profile.

    Raises:
        ValueError: If there is no such profile, it says nothing of that flow, it is no TOML, its
            base is none of those that come with the project, or lacks a section that it has; or if
            it has no base, and lacks what is needed.
    """
    values = _read(profile)
    base = values.pop("base", None)
    if base is not None:
        if base not in profile_names():
            raise ValueError(
                f"profile {profile!r}: base is {base!r}, but not one of"
                f" {', '.join(profile_names())}"
            )
        sections = _read(base)
        if unknown := sorted(values.keys() - sections.keys()):
            raise ValueError(
                f"profile {profile!r} has sections {unknown}, but its base has {sorted(sections)}"
            )
        values = merge_values(sections, values)
    elif profile not in profile_names():
        _check_whole(profile, values.get(section, {}), section, needed)
    if section not in values:
        raise ValueError(f"profile {profile!r} has no section [{section}], but {sorted(values)}")
    return values[section]


def _check_whole(
    profile: str, values: Mapping[str, Any], section: str, needed: Collection[str]
) -> None:
    """Name the base first: who left it out wants to change some fields, and not to fill in all."""
    missing = [name for name in needed if name not in values]
    if missing:
        named = ", ".join(missing[:_MOST_NAMED]) + (" ..." if len(missing) > _MOST_NAMED else "")
        bases = " or ".join(f'base = "{name}"' for name in reversed(profile_names()))
        raise ValueError(
            f"profile {profile!r} has no base; begin it with {bases}, or give all of [{section}],"
            f" which lacks {named}"
        )


def builtin_profile(profile: str) -> str | None:
    """Name of the profile that comes with the project and that one goes back to, itself or by base.

    Args:
        profile: Name of a profile that comes with the project, or a path to a TOML file.

    Returns:
        None for a file that has no base.

    Raises:
        ValueError: If there is no such profile, or it is no TOML.
    """
    return profile if profile in profile_names() else _read(profile).get("base")


def absolute_profile(profile: str) -> str:
    """A profile as a process in another folder finds it: a file by its whole path."""
    return profile if profile in profile_names() else str(Path(profile).absolute())


def _read(profile: str) -> dict[str, Any]:
    if profile in profile_names():
        text = resources.files(__name__).joinpath(profile + _SUFFIX).read_text("utf-8")
    elif profile.endswith(_SUFFIX) and Path(profile).is_file():
        text = Path(profile).read_text("utf-8")
    else:
        raise ValueError(
            f"profile {profile!r} is neither one of {', '.join(profile_names())} nor the path of"
            f" a {_SUFFIX} file"
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"profile {profile!r} is no TOML: {error}") from error


def merge_values(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, table by table."""
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            # Another kind of source or of prompts shares no field with the one it replaces.
            replaced = "kind" in value and value["kind"] != old.get("kind")
            merged[name] = dict(value) if replaced else merge_values(old, value)
        else:
            merged[name] = value
    return merged
