"""A trial as the values of an MLflow run: pure functions, within the limits of its stores."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from akq_dist.record.protocols import SweepInfo, TrialRecord

MAX_PARAM_CHARS = 6_000
MAX_TAG_CHARS = 5_000
MAX_KEY_CHARS = 250
TRIALS_PER_BLOCK = 100
"""Runs carry the number of their block, because MLflow can search a tag for one value but not for a list."""
SOURCE = {"mlflow.source.name": "akq sweep", "mlflow.source.type": "LOCAL"}
"""What MLflow's pages show as the source of a run."""
_STATUS = {"complete": "FINISHED", "fail": "FAILED", "pruned": "KILLED"}
_SHORT_INT = 2**63
_BAD_KEY = re.compile(r"[^A-Za-z0-9_\-. :/]")


@dataclass(frozen=True)
class RunValues:
    """What is written for one run."""

    name: str
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    start_ms: int
    end_ms: int
    files: Mapping[str, str] = field(default_factory=dict)
    """Texts that are too long for a parameter or tag, by file name."""


def trial_name(number: int) -> str:
    """Return the name of a trial's run."""
    return f"trial-{number:06d}"


def trial_values(record: TrialRecord, info: SweepInfo, parent_id: str) -> RunValues:
    """Collect everything of a trial; a value that is not finite becomes a tag, never a number that sorts."""
    texts = TextValues()
    for name, value in record.params.items():
        texts.param(name, value)
    metrics, undefined = split_metrics(record.metrics)
    metrics |= _objective_metrics(record, info)
    if record.state != "pruned":
        for output, _ in info.objectives:
            if (
                output not in record.metrics
                and record.reason is not None
                and record.reason.startswith("undefined")
            ):
                undefined[output] = "nan"
    texts.tags |= {
        "mlflow.parentRunId": parent_id,
        **SOURCE,
        "akq.kind": "trial",
        "akq.study_id": info.study_id,
        "akq.number": str(record.number),
        "akq.block": str(record.number // TRIALS_PER_BLOCK),
        "akq.key": record.key,
        "akq.result_hash": record.hash,
        "akq.data_digest": info.data_digest,
        "akq.seed": str(record.seed),
        "akq.build": info.build,
        "akq.state": record.state,
    }
    if record.cached:
        texts.tags["akq.cached"] = "true"
    if record.reason:
        texts.tag("akq.reason", record.reason)
    if record.state == "complete" and len(record.metrics) < len(info.outputs):
        absent = [name for name in info.outputs if name not in record.metrics]
        texts.tag("undefined", ", ".join(absent))
    for name, value in undefined.items():
        texts.tag(clean_key(f"undefined.{name}"), value)
    end_ms = max(record.ended_ms, record.started_ms)
    return RunValues(
        name=trial_name(record.number),
        status=_STATUS[record.state],
        tags=texts.tags,
        params=texts.params,
        metrics=metrics,
        start_ms=record.started_ms or end_ms,
        end_ms=end_ms,
        files=texts.files,
    )


def sweep_params(settings: Any) -> TextValues:
    """Flatten the settings of a sweep file to `search.sampler = tpe`; lists are written as JSON."""
    texts = TextValues()

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), inner)
        elif prefix and value is not None:
            texts.param(prefix, value)

    walk("", settings)
    return texts


def split_metrics(metrics: Mapping[str, float]) -> tuple[dict[str, float], dict[str, str]]:
    """Separate finite metrics, under safe names, from the others."""
    if math.isfinite(sum(metrics.values())):
        # Nearly always: one that is not finite leaves no finite sum.
        return dict(zip(_clean_keys(tuple(metrics)), map(float, metrics.values()), strict=True)), {}
    finite: dict[str, float] = {}
    undefined: dict[str, str] = {}
    for name, value in metrics.items():
        if math.isfinite(value):
            finite[clean_key(name)] = float(value)
        else:
            undefined[name] = str(value)
    return finite, undefined


@functools.lru_cache(64)
def _clean_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(clean_key, keys))


@functools.lru_cache(4_096)
def clean_key(key: str) -> str:
    """Return a key that every store accepts: a bad one is cleaned and gets a digest that keeps it unique."""
    cleaned = _BAD_KEY.sub("_", key)
    if posixpath.normpath(cleaned) != cleaned or cleaned.startswith(("/", "..")) or cleaned in {"", "."}:
        cleaned = cleaned.replace("/", "_").replace(".", "_")
    if cleaned == key and 0 < len(cleaned) <= MAX_KEY_CHARS:
        return key
    digest = hashlib.sha256(_storable(key).encode()).hexdigest()[:8]
    return f"{cleaned[: MAX_KEY_CHARS - 9]}-{digest}"


@dataclass
class TextValues:
    """Parameters and tags; a text that is too long goes to a file and leaves its digest."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def param(self, name: str, value: Any) -> None:
        """Add a parameter."""
        key = clean_key(name)
        if type(value) is float or (type(value) is int and abs(value) < _SHORT_INT):
            self.params[key] = repr(value)
            return
        self.params[key] = self._fit(key, _text(value), MAX_PARAM_CHARS, "params")

    def tag(self, key: str, value: str) -> None:
        """Add a tag."""
        self.tags[key] = self._fit(key, value, MAX_TAG_CHARS, "tags")

    def _fit(self, key: str, text: str, limit: int, folder: str) -> str:
        text = _storable(text)
        if len(text) <= limit:
            return text
        file = f"{folder}/{re.sub(r'[^A-Za-z0-9_.-]', '_', key)[:100].lstrip('.')}.txt"
        self.files[file] = text
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"{text[:200]}... [{len(text)} characters in {file}, sha256 {digest}]"


def _storable(text: str) -> str:
    """Write what no database stores, half characters and NUL, as escapes."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def _objective_metrics(record: TrialRecord, info: SweepInfo) -> dict[str, float]:
    """Return the values that the search was told; they can differ from the outputs."""
    if record.state != "complete":
        return {}
    if len(record.values) == 1:
        named = {"objective": record.values[0]}
    else:
        named = {
            clean_key(f"objective.{output}"): value
            for (output, _), value in zip(info.objectives, record.values, strict=False)
        }
    return {name: float(value) for name, value in named.items() if math.isfinite(value)}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return str(value).lower() if isinstance(value, bool) else ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)
