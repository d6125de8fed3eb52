"""Pruners: a stopped trial costs a part, a trial that is not stopped is what it would have been, runs repeat."""

from __future__ import annotations

import datetime as dt
import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import yaml
from scipy.stats import rankdata, wilcoxon

from akq_dist.errors import AkqStudyError, AkqUsageError
from akq_dist.record.pruning import PruneRule, Rungs, signed_rank_p
from akq_dist.sweep import Sweep, replay, sweep
from akq_dist.validate import rolling
from akq_dist.validate.span import parse_span

from .test_sweep_end_to_end import SPEC, STRATEGY, cancel_after

if TYPE_CHECKING:
    from pathlib import Path

N_ASSETS = 10
PRUNERS: dict[str, Any] = {
    "median": {"median": {"min_trials": 6, "rungs": [0.2, 0.5]}},
    "percentile": {"percentile": {"percentile": 60, "min_trials": 6}},
    "successive_halving": {"successive_halving": {"eta": 2, "min_trials": 6, "rungs": [0.2, 0.5]}},
    "hyperband": {"hyperband": {"eta": 2, "min_trials": 4, "rungs": [0.2, 0.5]}},
    "wilcoxon": {"wilcoxon": {"min_trials": 6, "p_threshold": 0.3, "rungs": [0.5, 0.8]}},
    "patience": {"patience": {"rungs": [0.2, 0.5, 0.8]}},
    "threshold": {"threshold": {"lower": 0.0}},
    "median over folds": {"median": {"over": "folds", "min_trials": 6, "rungs": [0.3, 0.6]}},
    "wilcoxon over folds": {"wilcoxon": {"over": "folds", "min_trials": 6, "p_threshold": 0.3}},
}
VALIDATED: dict[str, Any] = {
    "median": {"median": {"over": "folds", "min_trials": 6, "rungs": [0.2, 0.5]}},
    "wilcoxon": {"wilcoxon": {"over": "folds", "min_trials": 6, "p_threshold": 0.3, "rungs": [0.6, 0.8]}},
    "median over assets": {"median": {"min_trials": 6, "rungs": [0.2, 0.5]}},
}
SCHEMES: dict[str, Any] = {
    "walk_forward": {"scheme": "walk_forward", "train": "30d", "test": "20d"},
    "anchored": {"scheme": "walk_forward", "anchored": True, "train": "30d", "test": "20d", "embargo": "2d"},
    "combinatorial": {"scheme": "combinatorial", "groups": 5, "test_groups": 2, "embargo": "3d"},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(12)
    frames = []
    for ix in range(N_ASSETS):
        close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0005, 0.02, 160))), 2)
        days = [dt.date(2020, 1, 1) + dt.timedelta(days=k) for k in range(160)]
        prices = {"open": close, "high": close + 1.0, "low": close - 1.0, "close": close}
        frames.append(pl.DataFrame({"symbol": f"S{ix}", "date": days, **prices, "volume": 1000.0}))
    pl.concat(frames).write_parquet(tmp_path / "bars.parquet")
    (tmp_path / "hold.py").write_text(STRATEGY)
    return tmp_path


def prepare(folder: Path, pruner: Any, name: str, *overrides: str, **sections: Any) -> Sweep:
    search = {"sampler": "random", "trials": 48, "seed": 3, "group": 6, "pruner": pruner}
    objective = {"metric": "total_return", "aggregate": "median"}
    spec = {**SPEC, "name": name, "search": search, "objective": objective, **sections}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    # One ledger a sweep: nothing is answered from another's.
    return sweep(f"{name}.yaml", overrides=[f"storage.ledger={name}.db", *overrides])


@pytest.mark.parametrize("name", list(PRUNERS))
def test_a_pruned_study_repeats_and_its_whole_trials_are_those_of_a_plain_one(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akq_dist.search.loop._PROGRESS_EVERY_S", 0.0)
    plain = prepare(folder, None, "plain").run()
    pruned = prepare(folder, PRUNERS[name], "pruned").run()
    rows = pruned.results()
    states = rows["state"].to_list()
    assert 0 < states.count("pruned") < 48
    assert pruned.summary()["trials"]["pruned"] == states.count("pruned")
    whole = rows.filter(pl.col("state") == "complete")["number"].to_list()
    columns = ["number", "value", "params_fast", "params_slow", "hash"]
    kept = pl.col("number").is_in(whole)
    assert rows.filter(kept).select(columns).equals(plain.results().filter(kept).select(columns))
    full_bars = plain.results()["n_bars"].max()
    assert rows.filter(pl.col("state") == "pruned")["n_bars"].max() < full_bars  # type: ignore[operator]
    assert rows.filter(kept)["n_bars"].to_list() == [full_bars] * len(whole)
    expected = pruned.summary()["result_hash"]
    pruned.close()
    plain.close()
    for sessions in range(1, 20):
        parts = cancel_after(prepare(folder, PRUNERS[name], "parts", "run.batch=2"), 13 * sessions).run()
        state, found = parts.state, parts.summary()["result_hash"]
        parts.close()
        if state == "finished":
            break
    assert sessions > 1
    assert found == expected


@pytest.mark.parametrize(
    ("name", "scheme", "mode"),
    [
        ("median", "walk_forward", "per_asset"),
        ("median", "combinatorial", "portfolio"),
        ("wilcoxon", "anchored", "portfolio"),
        ("wilcoxon", "combinatorial", "per_asset"),
        ("median over assets", "walk_forward", "per_asset"),
    ],
)
def test_a_validated_study_is_pruned_window_by_window(
    folder: Path, name: str, scheme: str, mode: str
) -> None:
    objective = {"metric": "total_return"} | ({"aggregate": "median"} if mode == "per_asset" else {})
    sections = {"validate": SCHEMES[scheme], "mode": mode, "objective": objective}
    plain = prepare(folder, None, "plain", **sections).run()
    pruned = prepare(folder, VALIDATED[name], "pruned", **sections).run()
    other = prepare(folder, VALIDATED[name], "other", "run.batch=2", **sections).run()
    rows, expected = pruned.results(), plain.results()
    stopped = rows["state"] == "pruned"
    assert 0 < stopped.sum() < 48
    columns = ["number", "hash", "value", *(column for column in expected.columns if "." in column)]
    assert any(column.startswith("w01.") for column in columns)
    assert rows.filter(~stopped).select(columns).equals(expected.filter(~stopped).select(columns))
    if "over assets" not in name:
        assert (rows["n_bars"] == expected["n_bars"]).filter(~stopped).all(), "nothing is run twice"
        assert (rows["n_bars"] < expected["n_bars"]).filter(stopped).all()
    assert other.summary()["result_hash"] == pruned.summary()["result_hash"]
    for handle in (plain, pruned, other):
        handle.close()


def test_a_look_at_windows_shows_the_mean_over_them(folder: Path) -> None:
    sections = {"validate": SCHEMES["walk_forward"]}
    handle = prepare(folder, VALIDATED["median"], "shown", **sections).run()
    rows = handle.results()
    handle.close()
    dates = [dt.date(2020, 1, 1) + dt.timedelta(days=k) for k in range(160)]
    folds = rolling(dates, train=parse_span("30d"), test=parse_span("20d"))
    windows = sorted({window for fold in folds for window in (*fold.train, *fold.test)})
    trained = [f"w{windows.index(fold.train[0]):02d}.total_return.median" for fold in folds]
    for look, n_seen in enumerate((2, 3)):
        assert n_seen == math.ceil((0.2, 0.5)[look] * len(folds))
        shown = rows.filter(pl.col("state") == "complete")
        expected = shown.select(pl.mean_horizontal(trained[:n_seen])).to_series().to_numpy()
        found = shown[f"rung{look}.total_return.median"].to_numpy()
        assert len(found) > 5
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_model_learns_beside_a_pruner_and_a_whole_trial_replays(folder: Path) -> None:
    hashes = set()
    for name, batch in (("one", 1), ("two", 5)):
        handle = prepare(folder, "median", name, "search.sampler=tpe", f"run.batch={batch}").run()
        hashes.add(handle.summary()["result_hash"])
        states = handle.results()["state"].to_list()
        handle.close()
    assert len(hashes) == 1
    assert "pruned" in states
    report = replay("one", states.index("complete"), ledger="one.db")
    assert report.same, report.differences
    with pytest.raises(AkqStudyError, match="stopped by the pruner"):
        replay("one", states.index("pruned"), ledger="one.db")


def test_optuna_sees_the_value_at_each_look(folder: Path) -> None:
    from optuna.trial import TrialState

    storage = f"storage.optuna=sqlite:///{folder}/optuna.db"
    handle = prepare(folder, PRUNERS["median"], "seen", storage).run()
    rows = handle.results().sort("number")
    trials = handle.optuna_study.trials
    handle.close()
    for look in (0, 1):
        shown = [trial.intermediate_values.get(look) for trial in trials]
        assert shown == rows[f"rung{look}.total_return.median"].to_list()
    stopped = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert stopped
    assert {len(trial.intermediate_values) for trial in stopped} <= {1, 2}


def test_one_account_is_pruned_over_folds(folder: Path) -> None:
    pruner = {"median": {"over": "folds", "min_trials": 6}}
    handle = prepare(folder, pruner, "shared", "mode=portfolio", objective="total_return").run()
    plain = prepare(folder, None, "plain", "mode=portfolio", objective="total_return").run()
    rows, expected = handle.results(), plain.results()
    handle.close()
    plain.close()
    stopped = rows["state"] == "pruned"
    assert 0 < stopped.sum() < 48
    assert rows["hash"].filter(~stopped).equals(expected["hash"].filter(~stopped))
    # Stopped at three tenths of the time at the latest.
    assert (rows["n_bars"].filter(stopped) <= 0.3 * N_ASSETS * 160).all()


def test_a_python_strategy_is_pruned(folder: Path) -> None:
    sections: dict[str, Any] = {
        "strategy": {"python": "hold.py:Hold"},
        "space": {"days": {"int": [1, 12]}, "kind": {"choice": ["a", "b", "c"]}},
        "where": [],
    }
    handle = prepare(
        folder, {"median": {"min_trials": 4}}, "python", "run.max_failures=100%", **sections
    ).run()
    rows = handle.results()
    handle.close()
    assert "pruned" in rows["state"].to_list()
    assert rows.filter(pl.col("params_days") == 7)["state"].unique().to_list() == ["fail"]


def test_a_python_strategy_is_pruned_over_time_and_over_windows(folder: Path) -> None:
    sections: dict[str, Any] = {
        "strategy": {"python": "hold.py:Hold"},
        "space": {"days": {"int": [1, 6]}, "kind": {"choice": ["a", "b", "c"]}},
        "where": [],
    }
    pruner = {"median": {"over": "folds", "min_trials": 4, "rungs": [0.2, 0.5]}}
    for more in ({}, {"validate": SCHEMES["walk_forward"]}):
        plain = prepare(folder, None, "plain", "run.max_failures=100%", **sections, **more).run()
        handle = prepare(folder, pruner, "timed", "run.max_failures=100%", **sections, **more).run()
        rows, expected = handle.results(), plain.results()
        for study in (plain, handle):
            study.close()
            (folder / f"{study.spec.name}.db").unlink()
        stopped = rows["state"] == "pruned"
        assert 0 < stopped.sum() < rows.height
        assert rows["hash"].filter(~stopped).equals(expected["hash"].filter(~stopped))


def test_what_cannot_be_pruned_is_refused(folder: Path) -> None:
    with pytest.raises(AkqUsageError, match="2 assets are too few to look 2 times"):
        prepare(folder, "median", "few", 'data.symbols=["S1", "S2"]').run()
    with pytest.raises(AkqUsageError, match="mode: portfolio trades together"):
        prepare(folder, "median", "shared", "mode=portfolio", objective="total_return")
    with pytest.raises(AkqUsageError, match="wilcoxon compares asset by asset"):
        prepare(folder, {"wilcoxon": {"over": "folds"}}, "one", "mode=portfolio", objective="total_return")
    validated = {"validate": SCHEMES["walk_forward"]}
    with pytest.raises(AkqUsageError, match="over: folds compares window by window"):
        prepare(folder, "wilcoxon", "each", **validated)
    short = {"validate": {"scheme": "walk_forward", "train": "100d", "test": "20d"}}
    with pytest.raises(AkqUsageError, match="3 train windows are too few to look 2 times"):
        prepare(folder, {"median": {"over": "folds"}}, "short", **short).run()
    with pytest.raises(AkqUsageError, match="eta: is not used by median"):
        prepare(folder, {"median": {"eta": 4}}, "wrong")
    with pytest.raises(AkqUsageError, match="threshold needs lower or upper"):
        prepare(folder, "threshold", "bare")


def test_rules_by_hand() -> None:
    median = PruneRule("median", -1.0, limits=((-0.5, -0.8),))
    assert not median.stops(3, [0.5])
    assert median.stops(3, [0.4])
    assert median.stops(3, [0.9, 0.7])
    assert not median.stops(3, [0.4, float("nan")])
    brackets = PruneRule("hyperband", 1.0, limits=((1.0,), (float("inf"),)))
    assert [brackets.stops(number, [2.0]) for number in (0, 1, 2)] == [True, False, True]
    patient = PruneRule("patience", -1.0, patience=1, min_delta=0.1)
    assert not patient.stops(0, [1.0])
    assert not patient.stops(0, [1.0, 1.2])
    assert patient.stops(0, [1.0, 1.05])
    assert PruneRule("threshold", -1.0, lower=0.2, upper=0.9).stops(0, [0.1])
    assert not PruneRule("threshold", -1.0, lower=0.2, upper=0.9).stops(0, [0.3])


def test_the_signed_rank_probability_is_that_of_scipy() -> None:
    rng = np.random.default_rng(4)
    for n in (51, 60, 300):
        for _ in range(5):
            differences = np.round(rng.normal(0.2, 1.0, n), 1)
            expected = wilcoxon(
                differences, zero_method="pratt", alternative="greater", method="approx", correction=False
            )
            assert (differences == 0.0).any()
            assert signed_rank_p(differences) == pytest.approx(expected.pvalue, rel=1e-9)
    for n in (1, 2, 7, 20, 50):
        differences = rng.normal(0.3, 1.0, n)
        expected = wilcoxon(differences, alternative="greater", method="exact")
        assert signed_rank_p(differences) == pytest.approx(expected.pvalue, rel=1e-9)


def test_the_signed_rank_probability_counts_signs_where_values_are_tied_or_zero() -> None:
    rng = np.random.default_rng(5)
    for n in (1, 3, 6, 9):
        for _ in range(10):
            differences = np.round(rng.normal(0.3, 1.0, n))
            ranks = rankdata(np.abs(differences))
            observed = ranks[differences > 0.0].sum()
            used = ranks[differences != 0.0]
            sums = [float(np.dot(used, signs)) for signs in product((0, 1), repeat=len(used))]
            expected = np.mean([total >= observed - 1e-9 for total in sums])
            assert signed_rank_p(differences) == pytest.approx(expected, rel=1e-12)
    assert signed_rank_p(np.zeros(5)) == 1.0


def test_rungs_are_nested_and_do_not_follow_names() -> None:
    symbols = [f"S{ix:03d}" for ix in range(100)]
    rungs = Rungs.of(symbols, [0.1, 0.3, 0.301], "sharpe.median", "sharpe")
    assert [len(part) for part in rungs.assets] == [10, 30, 31]
    assert set(rungs.assets[0]) < set(rungs.assets[1])
    assert rungs.assets[0] != tuple(range(10))
