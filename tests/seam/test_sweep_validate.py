"""A validated sweep: every window is a backtest of its own, folds choose by train windows, the holdout is sealed."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import yaml

import akq_dist as akq
from akq_dist.errors import AkqStudyError, AkqUsageError
from akq_dist.sweep import Sweep, replay, sweep

from .test_sweep_end_to_end import SPEC, STRATEGY, write_bars

if TYPE_CHECKING:
    from pathlib import Path

WALK: dict[str, Any] = {
    "scheme": "walk_forward",
    "train": "3m",
    "test": "1m",
    "embargo": "3d",
    "holdout": {"from": "2020-08-15"},
}
FOLDS: dict[str, Any] = {"scheme": "combinatorial", "groups": 5, "test_groups": 2, "embargo": "4d"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=300)
    (tmp_path / "hold.py").write_text(STRATEGY)
    return tmp_path


def run(folder: Path, validate: dict[str, Any], *overrides: str, **sections: Any) -> Sweep:
    spec = {**SPEC, "search": {**SPEC["search"], "trials": 12}, "validate": validate, **sections}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(spec))
    return sweep("sweep.yaml", overrides=overrides).run()


def single(params: dict[str, Any], window: list[str]) -> dict[str, float]:
    """The metrics of a plain backtest over a window."""
    start, end = window
    # Bars after the window are gone, bars before it warm the indicators: what a backtest does.
    found = akq.backtest(
        "sweep.yaml", params=params, overrides=[f"data.start={start}", f"data.end={end}", "validate=null"]
    )
    return dict(found.metrics)


@pytest.mark.parametrize("validate", [WALK, FOLDS], ids=["walk", "combinatorial"])
def test_each_window_is_the_backtest_over_its_dates(folder: Path, validate: dict[str, Any]) -> None:
    handle = run(folder, validate)
    windows = handle._result.prepared.windows  # type: ignore[union-attr]
    assert windows is not None
    for row in handle.results().head(3).to_dicts():
        params = {"fast": row["params_fast"], "slow": row["params_slow"]}
        for label, window in zip(windows.labels, windows.windows, strict=True):
            expected = single(params, [window.start.isoformat(), window.end.isoformat()])
            np.testing.assert_equal(row[f"{label}.sharpe.median"] or np.nan, expected["sharpe.median"])
        found = row["sharpe.median"]
        means = []
        for fold in windows.folds:
            days = [(w.end - w.start).days + 1 for w in fold.train]
            values = [row[f"{windows.labels[windows.windows.index(w)]}.sharpe.median"] for w in fold.train]
            known = None not in values
            means.append(np.average(values, weights=days) if known else np.nan)
        if found is None:
            assert 2 * np.isfinite(means).sum() < len(means)
        else:
            np.testing.assert_allclose(found, np.nanmean(means), rtol=1e-12)
    handle.close()


def test_a_walk_forward_follows_the_train_best(folder: Path) -> None:
    handle = run(folder, WALK)
    found = handle.validation()
    rows = {row["number"]: row for row in handle.results().to_dicts()}
    windows = handle._result.prepared.windows  # type: ignore[union-attr]
    assert windows is not None
    dates: list[dt.date] = []
    level = 1.0
    for result in found.folds:
        train, test = (windows.labels[windows.windows.index(side[0])] for side in (result.train, result.test))
        values = {number: row[f"{train}.sharpe.median"] for number, row in rows.items()}
        best = max((value, -number) for number, value in values.items() if value is not None)
        assert (result.train_value, result.number) == (best[0], -best[1])
        assert result.number is not None
        assert result.test_value == rows[result.number][f"{test}.sharpe.median"]
        params = {name: rows[result.number][f"params_{name}"] for name in ("fast", "slow")}
        window = [result.test[0].start.isoformat(), result.test[0].end.isoformat()]
        equity = akq.backtest(
            "sweep.yaml",
            params=params,
            overrides=[f"data.start={window[0]}", f"data.end={window[1]}", "validate=null"],
        ).equity
        last = equity.group_by("symbol").agg(pl.col("equity").sort_by("ts").last())["equity"].sum()
        level *= float(last) / (3 * handle.spec.market.cash)
        part = found.curves[0].filter(pl.col("fold") == result.fold)
        assert part["equity"][-1] == pytest.approx(level, rel=1e-12)
        dates += part["date"].to_list()
    assert dates == sorted(set(dates))
    assert max(dates) < dt.date(2020, 8, 15)
    assert found.efficiency is None or np.isfinite(found.efficiency)
    handle.close()


def test_combinatorial_paths_cover_all_dates(folder: Path) -> None:
    handle = run(folder, FOLDS, "objective.metric=total_return")
    found = handle.validation()
    assert len(found.folds) == 10
    assert all(result.number is not None for result in found.folds)
    assert len(found.curves) == 4
    for curve in found.curves:
        assert curve["date"].n_unique() == curve.height == 300
    handle.close()


def test_the_holdout_reaches_no_trial_and_its_openings_are_counted(folder: Path) -> None:
    metric = "objective.metric=total_return"
    first = run(folder, WALK, metric)
    expected = first.summary()["result_hash"]
    holdout = first.open_holdout()
    assert (holdout.openings, holdout.start) == (1, dt.date(2020, 8, 15))
    best = first.best
    assert best is not None
    window = ["2020-08-15", holdout.end.isoformat()]
    assert holdout.value == single(dict(best.params), window)["total_return.median"]
    assert first.open_holdout().openings == 2
    first.close()
    bars = pl.read_parquet("bars.parquet")
    sealed = pl.col("date") >= dt.date(2020, 8, 15)
    changed = [
        pl.when(sealed).then(pl.col(name) * 3.0).otherwise(pl.col(name)).alias(name)
        for name in ("open", "high", "low", "close")
    ]
    bars.with_columns(changed).write_parquet("bars.parquet")
    again = run(folder, WALK, metric, "name=again")
    rows = ["number", "value", "params_fast", "params_slow"]
    assert again.results().select(rows).equals(sweep_results(folder, expected, rows))
    again.close()


def sweep_results(folder: Path, expected: str, columns: list[str]) -> pl.DataFrame:
    """The trials of the first study, from its ledger."""
    from akq_dist.record.ledger import Ledger
    from akq_dist.record.trials import TrialStore

    ledger = Ledger(folder / "akq" / "ledger.db")
    study = ledger.latest("cross")
    assert study is not None
    store = TrialStore(ledger, study)
    assert store.result_hash() == expected
    frame = pl.from_arrow(store.results())
    ledger.close()
    assert isinstance(frame, pl.DataFrame)
    return frame.select(columns)


def test_a_python_strategy_is_validated_and_replayed(folder: Path) -> None:
    sections: dict[str, Any] = {
        "strategy": {"python": "hold.py:Hold"},
        "space": {"days": {"int": [1, 6]}},
        "where": [],
    }
    handle = run(folder, WALK, **sections)
    rows = handle.results()
    assert rows["state"].to_list() == ["complete"] * 6
    handle.close()
    report = replay("cross", 3)
    assert report.same, report.differences


def test_a_study_that_is_validated_in_another_way_is_another_study(folder: Path) -> None:
    run(folder, WALK).close()
    with pytest.raises(AkqStudyError, match=r"validate\.embargo: 3d -> 5d"):
        run(folder, {**WALK, "embargo": "5d"})
    with pytest.raises(AkqUsageError, match="nothing is sealed"):
        run(folder, {**WALK, "holdout": {"from": "2031-01-01"}})
    plain = run(folder, WALK, "name=plain", "validate=null")
    with pytest.raises(AkqStudyError, match="has no section validate"):
        plain.validation()
    plain.close()


def test_the_command_prints_folds_and_counts_looks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from akq_dist.cli.edge import run as run_command

    run(folder, WALK).close()
    assert run_command(["sweep", "validate", "cross"]) == 0
    assert f"from {WALK['holdout']['from']} on is sealed" in capsys.readouterr().err
    assert run_command(["sweep", "validate", "cross", "--json", "--out", "curve.parquet"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["sealed_from"] == str(WALK["holdout"]["from"])
    assert len(facts["folds"]) == 4
    curve = pl.read_parquet("curve.parquet")
    assert curve["equity"][-1] == facts["final_equity"][0]
    for look in (1, 2):
        assert run_command(["sweep", "validate", "sweep.yaml", "--holdout"]) == 0
        shown = capsys.readouterr()
        assert f"look {look}" in shown.err
        assert ("no test any more" in shown.err) == (look == 2)


def test_with_several_objectives_the_one_that_chooses_is_named(folder: Path) -> None:
    two = [{"metric": "sharpe", "aggregate": "median"}, {"metric": "max_drawdown", "aggregate": "median"}]
    handle = run(folder, WALK, objective=two)
    with pytest.raises(AkqUsageError, match=r"--objective: sharpe\.median, max_drawdown\.median"):
        handle.validation()
    with pytest.raises(AkqUsageError, match=r"did you mean 'sharpe\.median'"):
        handle.validation("sharpe.medan")
    by_name = {name: handle.validation(name) for name in ("sharpe.median", "max_drawdown.median")}
    for ix, (name, found) in enumerate(by_name.items()):
        assert found.objective == name
        # One objective alone, over the same points, chooses the same trials.
        alone = run(folder, WALK, objective=two[ix], name=f"alone-{ix}")
        assert [fold.number for fold in found.folds] == [fold.number for fold in alone.validation().folds]
        alone.close()
    winners = [record.number for record in handle.pareto]
    others = sorted(set(range(12)) - set(winners))
    with pytest.raises(AkqUsageError, match=f"--trial: {winners[0]}"):
        handle.open_holdout("sharpe.median")
    with pytest.raises(AkqUsageError, match=f"{others[0]} is no winner"):
        handle.open_holdout("sharpe.median", others[0])
    opened = handle.open_holdout("max_drawdown.median", winners[-1])
    assert (opened.number, opened.openings) == (winners[-1], 1), "what was refused was no look"
    handle.close()
