"""Every bad file of the oracle gives the answer that its manifest asks for."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from akq_dist.data import load_panel
from akq_dist.errors import AkqDataError
from akq_dist.specs import DataSpec

if TYPE_CHECKING:
    from pathlib import Path


def _entries(oracle: Path) -> list[dict[str, Any]]:
    listed = json.loads((oracle / "bad_inputs" / "manifest.json").read_text(encoding="utf-8"))["files"]
    assert isinstance(listed, list)
    return listed


def _spec(name: str) -> DataSpec:
    asked = {"symbols": ["AAA"]} if name.startswith("symbol_mismatch") else {}
    return DataSpec.parse({"path": name, **asked})


def test_bad_files_are_refused_with_what_the_manifest_names(oracle: Path) -> None:
    folder = oracle / "bad_inputs"
    refused = [entry for entry in _entries(oracle) if entry["expect"] == "error"]
    assert refused
    for entry in refused:
        name = entry["file"]
        started = time.perf_counter()
        with pytest.raises(AkqDataError) as caught:
            load_panel(_spec(name), folder)
        assert time.perf_counter() - started < 2.0, name
        message = str(caught.value)
        assert name in message
        # The name of the file says what is wrong with it, so it must not count.
        rest = message.replace(name, "") if len(entry["message_must_name"]) > 1 else message
        for wanted in entry["message_must_name"]:
            choices = "|".join(re.escape(choice) for choice in wanted.split("|"))
            assert re.search(choices, rest if wanted != name else message, re.IGNORECASE), (
                name,
                wanted,
                message,
            )
        assert "panicked" not in message
        assert str(folder) not in message


def test_files_that_may_be_refused_are_never_read_in_silence(oracle: Path) -> None:
    for entry in _entries(oracle):
        if entry["expect"] == "either":
            with pytest.raises(AkqDataError, match=entry["message_must_name"][0]):
                load_panel(_spec(entry["file"]), oracle / "bad_inputs")


def test_odd_but_good_files_give_the_clean_result(oracle: Path) -> None:
    folder = oracle / "bad_inputs"
    clean = load_panel(DataSpec.parse({"path": "clean.parquet"}), folder)
    odd = [entry["file"] for entry in _entries(oracle) if entry["expect"] == "ok"]
    assert odd
    for name in odd:
        panel = load_panel(DataSpec.parse({"path": name}), folder)
        assert panel.report.is_clean
        assert panel.table.column_names == clean.table.column_names
        assert panel.table["ts"].equals(clean.table["ts"])
        for column in ("open", "high", "low", "close", "volume"):
            np.testing.assert_allclose(
                panel.table[column].to_numpy(), clean.table[column].to_numpy(), rtol=1e-6
            )


def test_text_and_parquet_of_the_same_bars_are_the_same_panel(oracle: Path) -> None:
    folder = oracle / "bad_inputs"
    text = load_panel(DataSpec.parse({"path": "clean.csv"}), folder)
    binary = load_panel(DataSpec.parse({"path": "clean.parquet"}), folder)
    assert text.table.equals(binary.table)
    assert text.digest == binary.digest
