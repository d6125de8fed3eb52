"""Names that may become file names, tags and columns, checked against an allow-list."""

from __future__ import annotations

import keyword
import re

SERIES = ("open", "high", "low", "close", "volume", "bar_index")
"""Names of the rule language that a parameter may not take."""

SYMBOL_RULE = "1 to 64 letters, digits or any of . _ = ^ $ : & @ + -, without '..'"

_STUDY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SYMBOL = re.compile(r"[A-Za-z0-9^$_][A-Za-z0-9._=^$:&@+-]{0,63}")
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


def check_study_name(name: str) -> str:
    """Return the name of a study, or raise ValueError when it could not be a file name everywhere."""
    if not _STUDY.fullmatch(name) or ".." in name or name.endswith("."):
        raise ValueError(
            f"found {_shown(name)}, expected 1 to 100 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit, without '..'"
        )
    if _DEVICES.fullmatch(name):
        raise ValueError(
            f"found {_shown(name)}, which is the name of a device on some systems; choose another name"
        )
    return name


def check_symbol(symbol: str) -> str:
    """Return the symbol, or raise ValueError when it has characters that symbols do not have."""
    if not is_symbol(symbol):
        raise ValueError(f"symbol {_shown(symbol)} is not allowed: {SYMBOL_RULE}")
    return symbol


def is_symbol(symbol: str) -> bool:
    """Tell whether a symbol is on the allow-list."""
    return _SYMBOL.fullmatch(symbol) is not None and ".." not in symbol


def check_parameter(name: str) -> str:
    """Return the name of a parameter, or raise ValueError when it is no identifier or hides a series."""
    if not (name.isidentifier() and name.isascii()) or keyword.iskeyword(name) or len(name) > 100:
        raise ValueError(
            f"{_shown(name)} is not a name that a parameter may have: "
            "letters, digits and '_', not beginning with a digit, no word of Python"
        )
    if name in SERIES:
        raise ValueError(f"a parameter may not be called {name!r}: that is the name of a series")
    return name


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:57] + "...")
