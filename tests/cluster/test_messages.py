"""What a lost worker's error says in one line."""

from __future__ import annotations

import pytest

from akq_dist.cluster.ray_executor import _line


class ActorDiedError(Exception):
    """Stands for Ray's own."""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "The actor died because of an error raised in its creation task, \x1b[36mray::X()\x1b[39m\n"
            "  File x, line 1\nModuleNotFoundError: No module named 'akq_dist'",
            "a node cannot import akq_dist: install the same akq_dist on every node",
        ),
        (
            "The actor died because of an error raised in its creation task\nValueError: no such thing",
            "ActorDiedError: ValueError: no such thing",
        ),
        (
            "The actor died unexpectedly.\n\tclass_name: X\nWorker exit type: SYSTEM_ERROR.",
            "ActorDiedError: The actor died unexpectedly.",
        ),
        ("", "ActorDiedError"),
    ],
)
def test_one_line_says_what_happened(text: str, said: str) -> None:
    assert _line(ActorDiedError(text)) == said
