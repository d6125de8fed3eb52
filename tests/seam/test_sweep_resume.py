"""A driver that dies at any moment: the resumed study is the uninterrupted one, each trial once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from akq_dist.search.memory import Entry, Memory

from .sweep_fakes import Crash, FakeExecutor, Study

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS: dict[str, Any] = {
    "trials": 90,
    "constraints": ("median(max_drawdown) >= -0.1",),
    "where": ("fast * 3 < slow",),
}


def uninterrupted(path: Path, **settings: Any) -> str:
    study = Study(path, **settings)
    assert study.run(FakeExecutor(), batch=5).status == "finished"
    found = study.store.result_hash()
    study.close()
    return found


@pytest.mark.parametrize(
    ("sampler", "window", "moments"),
    [
        ("random", 1000, [0, 1, 5]),
        ("tpe", 40, [0, 1, 2, 7, 18]),
        pytest.param("tpe", 1000, range(23), marks=pytest.mark.slow),
        pytest.param("tpe", 40, range(23), marks=pytest.mark.slow),
    ],
)
def test_a_crash_after_any_batch_loses_and_repeats_nothing(
    tmp_path: Path, sampler: str, window: int, moments: list[int]
) -> None:
    settings = {**SETTINGS, "sampler": sampler, "window": window}
    expected = uninterrupted(tmp_path / "whole.db", **settings)
    for crash_after in moments:
        path = tmp_path / f"{crash_after}.db"
        study = Study(path, **settings)
        died = FakeExecutor(seed=crash_after, crash_after=crash_after)
        with pytest.raises(Crash):
            study.run(died, batch=5)
        study.close()
        resumed = Study(path, **settings)
        executor = FakeExecutor(seed=crash_after + 100, n_workers=2)
        assert resumed.run(executor, batch=3).status == "finished"
        assert resumed.store.result_hash() == expected, crash_after
        assert sorted(died.ran + executor.ran) == list(range(90)), f"after {crash_after} batches"
        resumed.close()


def test_a_study_that_dies_again_and_again_gets_there(tmp_path: Path) -> None:
    settings = {**SETTINGS, "sampler": "tpe", "window": 40}
    expected = uninterrupted(tmp_path / "whole.db", **settings)
    path = tmp_path / "l.db"
    for session in range(200):
        study = Study(path, **settings)
        try:
            if study.run(FakeExecutor(seed=session, crash_after=2), batch=4).status == "finished":
                break
        except Crash:
            continue
        finally:
            found = study.store.result_hash()
            study.close()
    assert session > 3
    assert found == expected


@pytest.mark.parametrize("cut", [1, 13, 64])
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_study_that_is_extended_equals_the_longer_one(tmp_path: Path, sampler: str, cut: int) -> None:
    settings = {**SETTINGS, "sampler": sampler, "window": 40}
    expected = uninterrupted(tmp_path / "whole.db", **settings)
    path = tmp_path / "l.db"
    short = Study(path, **{**settings, "trials": cut})
    assert short.run(FakeExecutor(seed=1), batch=4).n_finished == cut
    short.close()
    longer = Study(path, **settings)
    assert longer.run(FakeExecutor(seed=2), batch=4).n_finished == 90 - cut
    assert longer.store.result_hash() == expected
    longer.close()


def test_points_to_try_first_survive_a_crash(tmp_path: Path) -> None:
    first = tuple({"fast": 5 + i, "slow": 100, "stop": 0.05} for i in range(11))
    settings = {**SETTINGS, "sampler": "tpe", "first": first}
    expected = uninterrupted(tmp_path / "whole.db", **settings)
    for crash_after in (0, 2):
        path = tmp_path / f"{crash_after}.db"
        study = Study(path, **settings)
        with pytest.raises(Crash):
            study.run(FakeExecutor(crash_after=crash_after), batch=5)
        study.close()
        resumed = Study(path, **settings)
        resumed.run(FakeExecutor())
        assert resumed.store.result_hash() == expected
        resumed.close()


def test_the_window_acts_and_keeps_the_best() -> None:

    memory = Memory([-1.0], 40)

    for number in range(50):
        memory.add(Entry(number, np.array([float(number)])))
        if number < 48:
            memory.tell(number, "complete", (float(-number),), ())
    assert memory.compact()
    kept = [entry.number for entry in memory.entries]
    assert kept == sorted(kept)
    assert set(range(20)) <= set(kept), "the best half"
    assert {48, 49} <= set(kept), "what is running"
    assert len(kept) == 42
    assert not memory.compact()
