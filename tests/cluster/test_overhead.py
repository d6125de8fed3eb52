"""The benchmark of what Ray costs measures what it says."""

from __future__ import annotations

import pytest

from tests.bench.overhead import measure


@pytest.mark.usefixtures("local_ray")
def test_both_executors_run_the_same_trials_in_turn() -> None:
    found = measure(call_s=0.02, n_calls=4, repeats=2, threads=1)
    assert len(found.serial_s) == len(found.ray_s) == 2
    assert found.trials == 4 * found.batch
    assert found.ratio == pytest.approx(sum(found.ray_s) / sum(found.serial_s))
    for walls, outside in ((found.serial_s, found.serial_outside_s), (found.ray_s, found.ray_outside_s)):
        # The clock of the ledger has milliseconds.
        assert all(-0.005 <= part < wall for wall, part in zip(walls, outside, strict=True))
