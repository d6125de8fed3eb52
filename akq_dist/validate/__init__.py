"""Windows of time for honest validation: pure functions of dates."""

from akq_dist.validate.score import WindowSet
from akq_dist.validate.splits import Fold, Window, anchored, combinatorial, paths, purged_kfold, rolling

__all__ = [
    "Fold",
    "Window",
    "WindowSet",
    "anchored",
    "combinatorial",
    "paths",
    "purged_kfold",
    "rolling",
]
