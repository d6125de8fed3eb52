"""What identifies a study and a trial: content hashes, the cache key, and the differences of a resume."""

from __future__ import annotations

import hashlib
import json
import platform
from typing import TYPE_CHECKING, Any, Final

from akq_dist.errors import AkqStudyError
from akq_dist.record.canonical import canonical_json, digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEY_VERSION: Final = 1
"""Raised when the meaning of a key or of a stored metrics row changes, so that old results no longer answer.
"""

_SEARCH_LIMITS: Final = ("trials", "timeout")
"""Settings of a search that may change on a resume: they say how much, not what."""


def study_identity(
    spec: Mapping[str, Any],
    *,
    data_digest: str,
    symbols: Sequence[str],
    strategy_digest: str,
    outputs: Sequence[str],
    source: str,
    build: str,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """Return everything that the results of a study depend on, as data that a person can compare.

    `spec` is the sweep file as resolved. Where a trial runs, what is tracked and how many trials there are is
    no part.
    """
    search = {
        name: value for name, value in dict(spec.get("search") or {}).items() if name not in _SEARCH_LIMITS
    }
    sections = ("params", "market", "mode", "metrics", "space", "where", "objective", "constraints")
    identity: dict[str, Any] = {name: spec.get(name) for name in sections}
    if spec.get("risk"):
        identity["risk"] = spec["risk"]
    data = dict(spec.get("data") or {})
    identity["strategy"] = {**dict(spec.get("strategy") or {}), "digest": strategy_digest}
    identity["data"] = {
        "digest": data_digest,
        "n_symbols": len(symbols),
        "symbols": digest(list(symbols)),
        "start": data.get("start"),
        "end": data.get("end"),
        "align": data.get("align"),
        # Coarse bars and timers go by them; a study without them stays what it was.
        **({} if data.get("sessions") is None else {"sessions": data["sessions"], "tz": data.get("tz")}),
    }
    identity["search"] = {**search, "points": source}
    if spec.get("validate") is not None:
        identity["validate"] = spec["validate"]
    identity["outputs"] = list(outputs)
    identity["build"] = build
    identity["versions"] = dict(versions)
    # A round trip makes what is compared later equal to what the ledger gives back.
    plain: dict[str, Any] = json.loads(canonical_json(identity))
    return plain


def check_resume(name: str, held: Mapping[str, Any], now: Mapping[str, Any], *, accept_build: bool) -> None:
    """Raise AkqStudyError that names every difference, unless the study is the same.

    A new build of the engine, or of Python under a Python strategy, is accepted only on demand.
    """
    strategy = "strategy"
    if held.get(strategy, {}).get("digest") == now.get(strategy, {}).get("digest") != "":
        # The same content written in another way is the same strategy.
        now = {**now, strategy: held[strategy]}
    lines = diff(held, now)
    builds = [line for line in lines if line.startswith(("build", "versions"))]
    others = [line for line in lines if line not in builds]
    if others:
        raise AkqStudyError(
            f"study '{name}' cannot be resumed, the sweep has changed:\n  "
            + "\n  ".join(others)
            + "\nUndo the change, or start another study with --new."
        )
    if builds and not accept_build:
        raise AkqStudyError(
            f"study '{name}' cannot be resumed, it was run by another build:\n  "
            + "\n  ".join(builds)
            + "\nPass --accept-build to go on with this one, or start another study with --new."
        )


def diff(held: Any, now: Any, place: str = "") -> list[str]:
    """Return one line a difference: `space.fast.high: 60 -> 80`."""
    if isinstance(held, dict) and isinstance(now, dict):
        lines: list[str] = []
        for name in sorted({*held, *now}):
            inner = f"{place}.{name}" if place else name
            if name not in held:
                lines.append(f"{inner}: not set -> {_short(now[name])}")
            elif name not in now:
                lines.append(f"{inner}: {_short(held[name])} -> not set")
            else:
                lines.extend(diff(held[name], now[name], inner))
        return lines
    if isinstance(held, list) and isinstance(now, list) and len(held) == len(now):
        return [
            line
            for ix, (a, b) in enumerate(zip(held, now, strict=True))
            for line in diff(a, b, f"{place}[{ix}]")
        ]
    return [] if held == now else [f"{place}: {_short(held)} -> {_short(now)}"]


class KeyMaker:
    """Makes the keys of a study's trials: equal keys, equal results.

    The key covers the strategy's content, all parameter values whether searched or fixed, the data digest,
    market, costs, window and outputs (all in the plan), the engine build, and for Python strategies the seed
    and the versions of what they may call. It leaves out the name of the study and the space, so another
    sweep over the same points is answered from the ledger.
    """

    def __init__(
        self,
        plan: str,
        *,
        data_digest: str,
        strategy_digest: str,
        fixed: Mapping[str, Any],
        build: str,
        versions: Mapping[str, str],
        seed: int | None,
        canonical_rules: str | None = None,
    ) -> None:
        settings = json.loads(plan)
        settings.pop("params", None)
        self._fixed = {**settings.pop("constants", {}), **fixed}
        if canonical_rules is not None:
            settings["strategy"] = canonical_rules
        content = {
            "version": KEY_VERSION,
            "plan": settings,
            "data": data_digest,
            "strategy": strategy_digest,
            "build": build,
            "versions": dict(versions),
            "seed": seed,
        }
        self._base = digest(content)

    def key(self, params: Mapping[str, Any]) -> str:
        """Return the key of a parameter set, 128 bits in hex."""
        return self._hashed(canonical_json({**self._fixed, **params}))

    def key_of_json(self, params: str) -> str:
        """Return the key of a parameter set that is canonical JSON."""
        return self.key(json.loads(params)) if self._fixed else self._hashed(params)

    def _hashed(self, params: str) -> str:
        return hashlib.sha256(f"{self._base}\n{params}".encode()).hexdigest()[:32]


def library_versions(*, python_strategy: bool) -> dict[str, str]:
    """Return the versions that results depend on beside the engine; none for rules, which it runs alone."""
    if not python_strategy:
        return {}
    from importlib.metadata import version

    return {"python": platform.python_version(), "numpy": version("numpy"), "polars": version("polars")}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= 80 else text[:77] + "..."
