"""What trials in one process share through Python itself: the global generators and the current folder.

A trial that seeds, draws or changes folder leaves nothing to the next one, and the process has its own back after
the batch.
"""

from __future__ import annotations

import os
import random
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEEDS_OF_NUMPY = 2**32


@contextmanager
def kept_globals() -> Iterator[None]:
    """Give the process its generators and its folder back at the end."""
    generator, legacy, folder = random.getstate(), np.random.get_state(), Path.cwd()
    try:
        yield
    finally:
        os.chdir(folder)
        np.random.set_state(legacy)
        random.setstate(generator)


def fresh_globals(seed: int, folder: Path) -> None:
    """Begin a trial: the generators that are global to Python and NumPy start from its seed, in the sweep's folder.

    `Strategy.rng` is the generator meant for strategies; this makes a result depend on nothing else where one
    draws from the global ones.
    """
    random.seed(seed)
    np.random.seed(seed % _SEEDS_OF_NUMPY)
    os.chdir(folder)
