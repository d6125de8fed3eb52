"""Shared by the strategies of this folder; it travels to the workers with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def strongest(scores: Mapping[str, float], n: int) -> frozenset[str]:
    """Return the n names with the highest scores; among equals the first ones."""
    return frozenset(sorted(scores, key=lambda name: -scores[name])[:n])
