"""One way to write a value down, so that equal values have equal hashes."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from akq_dist.specs.base import Scalar
    from akq_dist.specs.space import Space


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no white space; floats in their shortest exact form."""
    return _ENCODER.encode(value)


def params_json(space: Space, points: NDArray[np.float64]) -> list[str]:
    """Return the canonical JSON of the decoded parameters of each point, shape (n, parameters).

    Column by column: most parameters have few different values, and each is written once.
    """
    columns = []
    for ix, param in sorted(enumerate(space.params), key=lambda found: found[1].name):
        column = np.ascontiguousarray(points[:, ix], dtype=np.float64)
        head = f"{canonical_json(param.name)}:"
        # By their bits: a zero and a negative zero are two values.
        bits = column.view(np.int64).tolist()
        texts = {
            bit: head + _scalar_json(param.decode(number))
            for bit, number in dict(zip(bits, column.tolist(), strict=True)).items()
        }
        columns.append([texts[bit] for bit in bits])
    if not columns:
        return ["{}"] * len(points)
    return [f"{{{','.join(cells)}}}" for cells in zip(*columns, strict=True)]


def _scalar_json(value: Scalar) -> str:
    """Return the canonical JSON of a value of a space, whose numbers are finite; JSON writes these as Python does."""
    return repr(value) if type(value) is float or type(value) is int else canonical_json(value)


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
