"""One way to write a value down, so that equal values have equal hashes."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no white space; floats in their shortest exact form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def derive_seed(seed: int, params: Mapping[str, Any] | str) -> int:
    """Return the seed that a strategy sees: 63 bits from the seed of the sweep and the parameters alone.

    Neither the number of the trial nor the worker enters, so a replay, a repeat and a resumed sweep see the
    same one.
    """
    text = params if isinstance(params, str) else canonical_json(dict(params))
    raw = hashlib.sha256(f"{seed}\n{text}".encode()).digest()
    return int.from_bytes(raw[:8], "big") >> 1
