"""Durations, shares and addresses as people write them."""

from __future__ import annotations

import math
import re

_DURATION_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_BYTES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(kB|MB|GB|TB|KiB|MiB|GiB|TiB)\s*")
_BYTE_UNITS = {
    **{unit: 1000.0**k for k, unit in enumerate(("kB", "MB", "GB", "TB"), 1)},
    **{unit: 1024.0**k for k, unit in enumerate(("KiB", "MiB", "GiB", "TiB"), 1)},
}
_USER_INFO = re.compile(r"://([^:/@?#\s]*):(\S*)@")
_TOKEN_ONLY = re.compile(r"(https?://)[^:/@?#\s]+@")
_SECRET_QUERY = re.compile(
    r"(?i)([?&;][a-z0-9_.-]*(?:password|passwd|pwd|token|secret|api[_-]?key|access[_-]?key|signature|sig)=)"
    r"[^&;#\s]+"
)


def duration(value: object) -> float:
    """Return seconds for `90`, `"60s"`, `"2h"`, `"1h30m"`, `"500ms"`, `"1d"`.

    Raises ValueError for anything else and for what is not above zero.
    """
    seconds = _seconds(value)
    if seconds is None or not math.isfinite(seconds) or seconds <= 0.0:
        raise ValueError(
            f"found {value!r}, expected a duration above zero such as 90, '60s', '5m', '2h' or '1h30m'"
        )
    return seconds


def percent(value: object) -> float:
    """Return the share between 0 and 1 for `"5%"`. Raises ValueError for anything else."""
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    share = float(match.group(1)) / 100.0 if match else math.nan
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"found {value!r}, expected a share from '0%' to '100%'")
    return share


def byte_count(value: object) -> int:
    """Return bytes for `500_000_000`, `"2GiB"`, `"500MB"`.

    Raises ValueError for anything else and for what is not above zero.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        n_bytes = value
    else:
        match = _BYTES.fullmatch(value) if isinstance(value, str) else None
        n_bytes = round(float(match.group(1)) * _BYTE_UNITS[match.group(2)]) if match else 0
    if n_bytes <= 0:
        raise ValueError(f"found {value!r}, expected an amount of memory such as '500MB' or '2GiB'")
    return n_bytes


def redact_url(text: str) -> str:
    """Return `text` with every password and token of the addresses in it replaced by `***`.

    Errs on the side of hiding too much: a password may hold any character.
    """
    text = _USER_INFO.sub(r"://\1:***@", text)
    text = _TOKEN_ONLY.sub(r"\1***@", text)
    return _SECRET_QUERY.sub(r"\1***", text)


def _seconds(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        return float(value)
    except ValueError:
        pass
    total, position = 0.0, 0
    text = value.strip()
    while position < len(text):
        part = _DURATION_PART.match(text, position)
        if part is None:
            return None
        total += float(part.group(1)) * _SECONDS[part.group(2)]
        position = part.end()
    return total if text else None
