"""The texts that MLflow's pages show of a sweep."""

from __future__ import annotations

import json

from akq_dist.track import notes

from .tracked import sweep_info, trial

MAX_EXPERIMENT_TAG_CHARS = 5_000


def test_the_winner_is_named_with_its_numbers_its_doubts_and_both_ways_to_run_it_again() -> None:
    found = notes.winner(sweep_info(study="my sweep"), trial(3, values=(0.123456789,)), "run-1")
    assert "trial-000003 with sharpe.median = 0.123457 at fast = 8, slow = 53, stop = 0.05." in found
    assert "report.html" in found
    assert "`akq replay 'my sweep' 3`" in found
    assert "`akq replay --run run-1`" in found


def test_the_table_of_trials_has_its_metrics_and_parameters_as_columns_best_first() -> None:
    info = sweep_info(params=("fast", "slow"), shown_metrics=["sharpe.median", "n_trades.sum"])
    view = json.loads(notes.trials_view(info, "run-1"))
    assert view == {
        "searchFilter": "tags.`mlflow.parentRunId` = 'run-1'",
        "orderByKey": "metrics.`objective`",
        "orderByAsc": False,
        "selectedColumns": [
            "metrics.`objective`",
            "metrics.`sharpe.median`",
            "metrics.`n_trades.sum`",
            "params.`fast`",
            "params.`slow`",
        ],
    }
    assert (
        json.loads(notes.trials_view(sweep_info(objectives=[("fees.sum", "minimize")]), "r"))["orderByAsc"]
        is True
    )


def test_several_objectives_are_columns_of_their_own() -> None:
    goals = [("sharpe.median", "maximize"), ("max_drawdown.q05", "maximize")]
    view = json.loads(notes.trials_view(sweep_info(objectives=goals), "r"))
    assert view["selectedColumns"] == [
        "metrics.`objective.sharpe.median`",
        "metrics.`objective.max_drawdown.q05`",
    ]
    assert view["orderByKey"] == view["selectedColumns"][0]


def test_a_hundred_parameters_with_long_names_fit_in_a_tag() -> None:
    info = sweep_info(
        params=[f"{'ü' * 200}{number}" for number in range(100)], shown_metrics=["a" * 250] * 30
    )
    text = notes.trials_view(info, "run-1")
    assert len(text) < MAX_EXPERIMENT_TAG_CHARS
    assert json.loads(text)["selectedColumns"][0] == "metrics.`objective`"
