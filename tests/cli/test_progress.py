"""The progress of a sweep as text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from akq_dist.cli.console import count_text, duration_text
from akq_dist.cli.progress import PLAIN_EVERY_S, ProgressView, line
from akq_dist.search.progress import Progress

START = Progress(
    phase="search", done=40, total=200, trials_per_s=123.4, bars_per_s=4.5e7, eta_s=75.0, best_number=7,
    best_values=(1.25,), best_params={"fast": 10, "kind": "ema"},
    complete=30, failed=6, undefined=4, cached=3,
)  # fmt: skip


def test_one_line_says_everything() -> None:
    assert line(START) == (
        "40/200 · 123 trials/s · 45M bars/s · ETA 1m 15s · best 1.25 (trial 7: fast=10 kind=ema) · "
        "2 failed · 4 undefined · 3 cached"
    )


def test_nothing_is_said_about_what_is_not_known() -> None:
    bare = Progress("search", 0, None, 0.0, 0.0, None, None, ())
    assert line(bare) == "0/?"
    assert line(replace(bare, phase="tracking", done=3, total=3)) == "tracking 3/3"


def test_off_a_terminal_a_plain_line_comes_every_ten_seconds_and_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 100.0
    with ProgressView(live=False, clock=lambda: now) as view:
        for done in range(25):
            now = 100.0 + done
            view(replace(START, done=done))
    shown = [text.split(" ")[0] for text in capsys.readouterr().err.splitlines()]
    assert shown == ["0/200", f"{int(PLAIN_EVERY_S)}/200", f"{int(2 * PLAIN_EVERY_S)}/200", "24/200"]


def test_a_new_phase_is_shown_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressView(live=False, clock=lambda: 0.0) as view:
        view(START)
        view(replace(START, done=41))
        view(replace(START, phase="optuna", done=200))
    assert [text[:12] for text in capsys.readouterr().err.splitlines()] == ["40/200 · 123", "optuna 200/2"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.53, "0.5s"), (12.4, "12s"), (59.6, "60s"), (184, "3m 04s"), (3720, "1h 02m"), (None, "-")],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration_text(seconds) == shown


def test_counts() -> None:
    assert [count_text(n) for n in (3.14159, 12345, 4.56e6, 7e9)] == ["3.14", "12.3k", "4.56M", "7G"]
