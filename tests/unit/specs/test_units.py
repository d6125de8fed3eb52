"""Durations, shares and the redaction of addresses."""

from __future__ import annotations

import pytest

from akq_dist.specs.units import duration, percent, redact_url


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90.0),
        ("90", 90.0),
        ("60s", 60.0),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("1d", 86400.0),
    ],
)
def test_a_duration_is_read_in_seconds(written: object, seconds: float) -> None:
    assert duration(written) == seconds


@pytest.mark.parametrize(
    "written", [0, -1, "-5s", "", "h", "2 hours", "nan", "inf", True, None, [], "1h 3", "9" * 70]
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        duration(written)


def test_a_percentage_is_a_share() -> None:
    assert percent("5%") == 0.05
    assert percent("0%") == 0.0
    for written in ("101%", "-1%", "5", 5, None, "%"):
        with pytest.raises(ValueError, match="expected a share"):
            percent(written)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://user:secret@host:5432/db", "postgresql://user:***@host:5432/db"),
        ("postgresql://user:s/e@c:r@et@host/db", "postgresql://user:***@host/db"),
        ("https://token123@host/path", "https://***@host/path"),
        ("https://host/x?api_key=abc&n=1&password=q", "https://host/x?api_key=***&n=1&password=***"),
        ("sqlite:///akq/optuna.db", "sqlite:///akq/optuna.db"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("data/us.parquet", "data/us.parquet"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, shown: str) -> None:
    assert redact_url(address) == shown
    assert "secret" not in redact_url(f"cannot reach {address} now")
