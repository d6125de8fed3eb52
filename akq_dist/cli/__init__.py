"""The command line `akq`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import sys


def main() -> None:
    """Run a command and leave the process with its exit code."""
    from akq_dist.cli.edge import run

    sys.exit(run(sys.argv[1:]))
