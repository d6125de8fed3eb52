"""Names that may become file names and tags."""

from __future__ import annotations

import pytest

from akq_dist.specs.names import check_parameter, check_study_name, check_symbol

_HOSTILE = [
    "", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", "a..b", "a\0b", "a#b", "a b", "x" * 300, "con",
    "NUL.txt", "lpt1", "-x", "a\n", "été", "${HOME}", "a;b", "%2e%2e", "name.",
]  # fmt: skip


@pytest.mark.parametrize("name", _HOSTILE)
def test_a_hostile_study_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="found"):
        check_study_name(name)


@pytest.mark.parametrize("name", ["sma-cross-us", "a", "A1._-b", "x" * 100, "console"])
def test_a_plain_study_name_is_kept(name: str) -> None:
    assert check_study_name(name) == name


@pytest.mark.parametrize(
    "symbol", ["AAPL", "BRK.B", "000651.SZ", "BTC-USD", "EURUSD=X", "^GSPC", "ES_201312", "M&M.NS"]
)
def test_symbols_of_many_markets_are_kept(symbol: str) -> None:
    assert check_symbol(symbol) == symbol


@pytest.mark.parametrize(
    "symbol", ["", "..", "A/B", "A\\B", "A B", "A\0", "A#", "x" * 65, "<script>", "A..B"]
)
def test_a_hostile_symbol_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match="is not allowed"):
        check_symbol(symbol)


@pytest.mark.parametrize("name", ["close", "volume", "bar_index", "1a", "a-b", "", "lambda", "é", "a b"])
def test_a_parameter_may_not_hide_a_series_or_be_no_identifier(name: str) -> None:
    with pytest.raises(ValueError, match="parameter may"):
        check_parameter(name)
