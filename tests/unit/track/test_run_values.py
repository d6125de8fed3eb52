"""A trial as the values of a run: limits, names, states."""

from __future__ import annotations

import hashlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akq_dist.track.run_values import (
    MAX_KEY_CHARS,
    clean_key,
    split_metrics,
    sweep_params,
    trial_name,
    trial_values,
)

from .tracked import sweep_info, trial


def test_complete_trial() -> None:
    record = trial(123)
    values = trial_values(record, sweep_info(), "parent-1")
    assert values.name == "trial-000123"
    assert values.status == "FINISHED"
    assert values.params == {"fast": "8", "slow": "173", "stop": "0.05"}
    assert values.metrics == {**record.metrics, "objective": record.values[0]}
    assert values.tags == {
        "mlflow.parentRunId": "parent-1",
        "mlflow.source.name": "akq sweep",
        "mlflow.source.type": "LOCAL",
        "akq.kind": "trial",
        "akq.study_id": "6b8c0f1e-demo",
        "akq.number": "123",
        "akq.block": "1",
        "akq.key": "key-123",
        "akq.result_hash": "hash-123",
        "akq.data_digest": "sha256:" + "ab12" * 16,
        "akq.seed": "223",
        "akq.build": "0.1.0-release-abc",
        "akq.state": "complete",
    }
    assert (values.start_ms, values.end_ms) == (record.started_ms, record.ended_ms)


@pytest.mark.parametrize(
    ("state", "status"), [("complete", "FINISHED"), ("fail", "FAILED"), ("pruned", "KILLED")]
)
def test_states(state: str, status: str) -> None:
    values = trial_values(
        trial(0, state=state, reason=None if state == "complete" else "why"), sweep_info(), "p"
    )
    assert values.status == status
    assert values.tags["akq.state"] == state
    assert values.tags.get("akq.reason") == (None if state == "complete" else "why")


def test_values_that_are_not_finite_are_tags() -> None:
    record = trial(0, metrics={"sharpe.median": math.inf, "calmar": math.nan, "n": 3.0, "low": -math.inf})
    values = trial_values(record, sweep_info(), "p")
    assert set(values.metrics) == {"n", "objective"}
    assert values.tags["undefined.sharpe.median"] == "inf"
    assert values.tags["undefined.calmar"] == "nan"
    assert values.tags["undefined.low"] == "-inf"


def test_every_key_fits_where_the_name_of_a_metric_is_as_long_as_a_key_may_be() -> None:
    long = "x" * MAX_KEY_CHARS
    info = sweep_info(objectives=[(long, "maximize"), (long + "y", "minimize")])
    values = trial_values(
        trial(0, metrics={long: math.inf, long + "y": math.nan}, values=(1.0, 2.0)), info, "p"
    )
    undefined = [key for key in values.tags if key.startswith("undefined.")]
    assert len(undefined) == 2
    assert len(values.metrics) == 2
    assert all(len(key) <= MAX_KEY_CHARS for key in (*undefined, *values.metrics))


def test_metrics_without_a_value_are_named() -> None:
    outputs = ("sharpe.median", "total_return.median", "n_trades.sum", "sortino.median", "win_rate.mean")
    info = sweep_info(outputs=outputs)
    assert trial_values(trial(1), info, "p").tags["undefined"] == "sortino.median, win_rate.mean"
    assert "undefined" not in trial_values(trial(1), sweep_info(outputs=outputs[:3]), "p").tags
    stopped = trial(1, state="pruned", values=(), metrics={})
    assert "undefined" not in trial_values(stopped, info, "p").tags


def test_undefined_objective_is_named() -> None:
    record = trial(
        0, state="fail", values=(), metrics={"n_trades.sum": 0.0}, reason="undefined: sharpe.median"
    )
    values = trial_values(record, sweep_info(), "p")
    assert values.tags["undefined.sharpe.median"] == "nan"
    assert values.metrics == {"n_trades.sum": 0.0}


def test_each_of_several_objectives_has_a_name() -> None:
    info = sweep_info(objectives=[("sharpe.median", "maximize"), ("max_drawdown.median", "minimize")])
    values = trial_values(trial(0, values=(1.5, -0.2)), info, "p")
    assert values.metrics["objective.sharpe.median"] == 1.5
    assert values.metrics["objective.max_drawdown.median"] == -0.2


def test_long_values_are_kept_whole_beside_their_digest() -> None:
    text, reason = "x" * 6_001, "Traceback\n" + "y" * 9_000
    record = trial(0, params={"rule": text, "short": "z" * 6_000}, state="fail", reason=reason)
    values = trial_values(record, sweep_info(), "p")
    assert values.files == {"params/rule.txt": text, "tags/akq.reason.txt": reason}
    assert hashlib.sha256(text.encode()).hexdigest() in values.params["rule"]
    assert len(values.params["rule"]) < 500
    assert values.params["short"] == "z" * 6_000
    assert len(values.tags["akq.reason"]) < 500


def test_settings_are_flattened() -> None:
    texts = sweep_params(
        {"name": "a", "search": {"sampler": "tpe", "seed": 7, "deterministic": True, "timeout": None}}
    )
    assert texts.params == {
        "name": "a",
        "search.sampler": "tpe",
        "search.seed": "7",
        "search.deterministic": "true",
    }
    assert sweep_params({"enqueue": [{"fast": 1}]}).params == {"enqueue": '[{"fast": 1}]'}


@pytest.mark.parametrize("key", ["sharpe.median", "a b/c", "x" * 250, "p:1", "a-b_c"])
def test_good_keys_stay(key: str) -> None:
    assert clean_key(key) == key


@settings(deadline=None)  # the first example imports MLflow
@given(st.text(max_size=400), st.text(max_size=400))
def test_keys_are_valid_and_stay_apart(first: str, second: str) -> None:
    from mlflow.utils.validation import path_not_unique, validate_param_and_metric_name

    for key in (first, second):
        cleaned = clean_key(key)
        assert validate_param_and_metric_name(cleaned)
        assert not path_not_unique(cleaned)
        assert len(cleaned) <= MAX_KEY_CHARS
        assert clean_key(cleaned) == cleaned
    assert (clean_key(first) == clean_key(second)) == (first == second)


def test_split_and_names() -> None:
    assert split_metrics({"a": 1, "b": math.nan}) == ({"a": 1.0}, {"b": "nan"})
    assert trial_name(1_234_567) == "trial-1234567"


def test_characters_that_no_database_stores_are_escaped() -> None:
    record = trial(0, params={"text": "a\0b\ud800c", "k\ud800": 1}, state="fail", values=(), reason="\udfff")
    values = trial_values(record, sweep_info(), "parent")
    assert values.params["text"] == "a\\x00b\\ud800c"
    assert values.tags["akq.reason"] == "\\udfff"
    for text in (*values.params, *values.params.values(), *values.tags.values()):
        assert "\0" not in text.encode("utf-8").decode("utf-8")
