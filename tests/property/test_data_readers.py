"""Damaged files: an error of ours or a panel, never anything else."""

from __future__ import annotations

import random
import tempfile
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akq_dist.data import load_panel
from akq_dist.errors import AkqDataError
from akq_dist.specs import DataSpec


def _bars() -> pl.DataFrame:
    n = 40
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 1) + pl.duration(days=n - 1), eager=True)
    close = pl.Series([20.0 + i * 0.25 for i in range(n)])
    return pl.DataFrame(
        {
            "date": days,
            "symbol": ["AAA"] * n,
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": close,
        }
    )


def _file_bytes(kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"bars.{kind}"
        if kind == "csv":
            _bars().write_csv(file)
        else:
            _bars().write_parquet(file)
        return file.read_bytes()


def _damaged(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(changed))
        kind = rng.random()
        if kind < 0.6:
            changed[at] = rng.randrange(256)
        elif kind < 0.8:
            del changed[at : at + rng.randrange(1, 20)]
        else:
            changed[at:at] = rng.randbytes(rng.randrange(1, 9))
        if not changed:
            break
    return bytes(changed)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_damaged_file_is_an_error_of_ours_or_a_panel(kind: str, tmp_path: Path) -> None:
    good = _file_bytes(kind)
    file = tmp_path / f"bars.{kind}"

    @settings(max_examples=300, deadline=5000)
    @given(st.integers(0, 2**32))
    def check(seed: int) -> None:
        file.write_bytes(_damaged(good, random.Random(seed)))
        for on_bad in ("refuse", "drop_rows"):
            with suppress(AkqDataError):
                load_panel(DataSpec.parse({"path": str(file), "on_bad": on_bad}), tmp_path)

    check()


@settings(max_examples=200, deadline=5000)
@given(st.text(alphabet="date,symbolpenhighclv\n\r;\t\"'0123456789-.: AZéT", max_size=120))
def test_any_text_is_an_error_of_ours_or_a_panel(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.csv").write_text(text, encoding="utf-8", newline="")
        with suppress(AkqDataError):
            load_panel(DataSpec.parse({"path": "x.csv"}), Path(folder))
