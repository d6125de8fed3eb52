"""How many trials become runs of their own, and how many keep their tables: pure functions of settings."""

from __future__ import annotations

from dataclasses import dataclass

from akq_dist.errors import AkqUsageError

MAX_RUNS_DATABASE = 100_000
MAX_RUNS_HTTP = 10_000
MAX_ARTIFACTS_AUTO = 200
BEST_RUNS_AUTO = 1_000
BEST_ARTIFACTS_AUTO = 50


@dataclass(frozen=True)
class RunsPlan:
    """Which trials get a run: every one, or the best `limit` of them, known at the end only."""

    limit: int | None
    """None for all."""
    note: str = ""
    """What to tell the user when `auto` has left trials out."""

    @property
    def all_trials(self) -> bool:
        return self.limit is None


@dataclass(frozen=True)
class ArtifactsPlan:
    """Which trials keep equity and trades: every one, or the best `limit`."""

    limit: int | None

    @property
    def all_trials(self) -> bool:
        return self.limit is None


def plan_runs(setting: str, n_trials: int | None, tracking_uri: str) -> RunsPlan:
    """Resolve `track.runs`: `auto`, `all`, `none` or `top:k`; `n_trials` is None without a limit."""
    if setting == "all":
        return RunsPlan(None)
    if setting == "none":
        return RunsPlan(0)
    if setting != "auto":
        return RunsPlan(_count("track.runs", "top", setting))
    limit = MAX_RUNS_HTTP if is_http(tracking_uri) else MAX_RUNS_DATABASE
    if n_trials is None or n_trials <= limit:
        return RunsPlan(None)
    return RunsPlan(
        BEST_RUNS_AUTO,
        f"MLflow gets the best {BEST_RUNS_AUTO:,} of {n_trials:,} trials as runs and all of them in "
        "trials.parquet; track.runs: all forces the rest",
    )


def plan_artifacts(setting: str, n_trials: int | None) -> ArtifactsPlan:
    """Resolve `track.artifacts`: `auto`, `all`, `none` or `best:k`."""
    if setting == "all":
        return ArtifactsPlan(None)
    if setting == "none":
        return ArtifactsPlan(0)
    if setting != "auto":
        return ArtifactsPlan(_count("track.artifacts", "best", setting))
    if n_trials is not None and n_trials <= MAX_ARTIFACTS_AUTO:
        return ArtifactsPlan(None)
    return ArtifactsPlan(BEST_ARTIFACTS_AUTO)


def is_http(tracking_uri: str) -> bool:
    """Tell whether a tracking URI is a server rather than a database."""
    return tracking_uri.lower().startswith(("http://", "https://"))


def _count(key: str, word: str, setting: str) -> int:
    prefix, _, digits = setting.partition(":")
    if prefix != word or not digits.isdigit() or not digits.isascii():
        raise AkqUsageError(f"{key} is {setting!r}; write auto, all, none or {word}:100")
    return int(digits)
