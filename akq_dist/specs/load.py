"""Reading sweep files: YAML or TOML, overrides, environment variables, errors with the line."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akq_dist.errors import AkqUsageError
from akq_dist.specs.base import EnvText, Place, dotted, shown
from akq_dist.specs.market import read_profile
from akq_dist.specs.suggest import did_you_mean
from akq_dist.specs.sweep import SweepSpec
from akq_dist.specs.units import redact_url
from akq_dist.specs.yamltext import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MAX_BYTES = 4 * 1024 * 1024
_VARIABLE = re.compile(r"\$(\$)?\{([^{}]*)\}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class SweepFile:
    """A sweep and where it was read from."""

    spec: SweepSpec
    base_dir: Path
    """Folder that the input paths of the sweep are relative to."""
    path: Path | None = None
    """The file; None when the sweep was given as plain data."""
    variables: tuple[str, ...] = field(default=())
    """Environment variables that the file takes."""


def load_sweep(
    path: str | Path, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> SweepFile:
    """Read and validate a sweep file.

    `overrides` are texts such as `search.trials=100`; `environment` stands for the variables of the process.
    Raises AkqUsageError with one line a problem, each with its line in the file where it has one.
    """
    file = Path(path)
    data, lines = _read(file)
    return _finish(data, overrides, environment, file.absolute().parent, file, lines)


def parse_sweep(
    data: Mapping[str, Any],
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    base_dir: str | Path | None = None,
) -> SweepFile:
    """Validate a sweep given as plain data; input paths start at `base_dir` (default: the current folder)."""
    folder = Path.cwd() if base_dir is None else Path(base_dir).absolute()
    return _finish(_copied(dict(data)), overrides, environment, folder, None, {})


def apply_override(data: dict[str, Any], text: str) -> None:
    """Set one value by its dotted name, `a.b=c`; the value is read as YAML."""
    name, equals, value = text.partition("=")
    parts = [part.strip() for part in name.split(".")]
    if not equals or not all(parts):
        raise AkqUsageError(f"--set {shown(text)}: expected name=value such as search.trials=100")
    target = data
    for depth, part in enumerate(parts[:-1]):
        inner = target.get(part)
        if inner is None:
            inner = target[part] = {}
        if not isinstance(inner, dict):
            raise AkqUsageError(
                f"--set {name}: {'.'.join(parts[: depth + 1])} is {shown(inner)}, not a mapping"
            )
        target = inner
    target[parts[-1]], _ = read_yaml(value, f"--set {name}")


def _finish(
    data: Any,
    overrides: Sequence[str],
    environment: Mapping[str, str] | None,
    base_dir: Path,
    file: Path | None,
    lines: Mapping[Place, int],
) -> SweepFile:
    if not isinstance(data, dict):
        where = f"{file.name}: " if file else ""
        raise AkqUsageError(f"{where}found {shown(data)}, expected a mapping with name, strategy, data, ...")
    for text in overrides:
        apply_override(data, text)
    given = _overridden(overrides)

    def describe(place: Place) -> str:
        if any(place[: len(g)] == g for g in given):
            return f"--set {dotted(place)}"
        line = _line_of(place, lines)
        if file is None:
            return dotted(place)
        return f"{file.name}:{line}: {dotted(place)}" if line is not None else f"{file.name}: {dotted(place)}"

    used: list[str] = []
    data = _substitute(data, os.environ if environment is None else environment, (), describe, used)
    if "market" in data:
        data = {**data, "market": read_profile(data["market"], base_dir)}
    return SweepFile(SweepSpec.parse(data, describe), base_dir, file, tuple(dict.fromkeys(used)))


def _read(file: Path) -> tuple[Any, dict[Place, int]]:
    try:
        if file.is_dir():
            raise AkqUsageError(f"{file}: is a folder, expected a sweep file")
        with file.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise AkqUsageError(f"{file}: no such file{_sibling_hint(file)}") from None
    except (OSError, ValueError) as error:
        raise AkqUsageError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > _MAX_BYTES:
        raise AkqUsageError(f"{file.name}: larger than {_MAX_BYTES // 2**20} MiB, which no sweep file is")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AkqUsageError(
            f"{file.name}: byte {error.start} is not UTF-8; save the file with that encoding"
        ) from None
    if file.suffix.lower() == ".toml":
        try:
            return tomllib.loads(text), {}
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise AkqUsageError(f"{file.name}: {error}") from None
    return read_yaml(text, file.name)


def _substitute(
    value: Any, environment: Mapping[str, str], place: Place, describe: Any, used: list[str]
) -> Any:
    if isinstance(value, dict):
        return {
            key: _substitute(inner, environment, (*place, key), describe, used)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_substitute(inner, environment, (*place, i), describe, used) for i, inner in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value

    def replace(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped:
            return match.group(0)[1:]
        if not _VARIABLE_NAME.fullmatch(name):
            raise AkqUsageError(f"{describe(place)}: {match.group(0)} does not name an environment variable")
        if name not in environment:
            hint = did_you_mean(name, [known for known in environment if known.startswith("AKQ")])
            guess = hint if "did you mean" in hint else ""
            raise AkqUsageError(f"{describe(place)}: the environment variable {name} is not set{guess}")
        used.append(name)
        return environment[name]

    replaced = _VARIABLE.sub(replace, value)
    return EnvText(replaced, value) if replaced != value else value


def _line_of(place: Place, lines: Mapping[Place, int]) -> int | None:
    for length in range(len(place), 0, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return None


def _overridden(overrides: Sequence[str]) -> list[Place]:
    return [tuple(part.strip() for part in text.partition("=")[0].split(".")) for text in overrides]


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list | tuple) else value


def _sibling_hint(file: Path) -> str:
    try:
        names = [entry.name for entry in file.parent.iterdir() if entry.suffix in (".yaml", ".yml", ".toml")]
    except OSError:
        return ""
    hint = did_you_mean(file.name, names)
    return hint if "did you mean" in hint else ""


def to_yaml(spec: SweepSpec) -> str:
    """Return a sweep as YAML for records and display: resolved, without passwords, without what is absent."""
    import yaml

    data = _redacted(spec.model_dump(mode="json", by_alias=True, exclude_none=True))
    # Null switches these off, so it has to be said.
    data["track"].setdefault("mlflow", None)
    data["storage"].setdefault("optuna", None)
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120))


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner) for inner in value]
    return redact_url(str(value)) if isinstance(value, str) else value
