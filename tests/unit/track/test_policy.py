"""Which trials become runs and keep tables; addresses of stores and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from akq_dist.errors import AkqUsageError
from akq_dist.track.links import experiment_url, run_url, trials_url, without_user
from akq_dist.track.policy import plan_artifacts, plan_runs
from akq_dist.track.store import absolute_uri, artifact_location, safe_name

if TYPE_CHECKING:
    from pathlib import Path

DATABASE, SERVER = "sqlite:///akq/mlflow.db", "http://host:5000"


@pytest.mark.parametrize(
    ("setting", "n_trials", "uri", "limit"),
    [
        ("auto", 100_000, DATABASE, None),
        ("auto", 100_001, DATABASE, 1_000),
        ("auto", 10_000, SERVER, None),
        ("auto", 10_001, SERVER, 1_000),
        ("auto", None, SERVER, None),
        ("all", 10**9, SERVER, None),
        ("none", 10, DATABASE, 0),
        ("top:25", 10, DATABASE, 25),
    ],
)
def test_runs(setting: str, n_trials: int | None, uri: str, limit: int | None) -> None:
    plan = plan_runs(setting, n_trials, uri)
    assert plan.limit == limit
    assert bool(plan.note) == (setting == "auto" and limit is not None), "what is left out is said"


@pytest.mark.parametrize(
    ("setting", "n_trials", "limit"),
    [
        ("auto", 200, None),
        ("auto", 201, 50),
        ("auto", None, 50),
        ("all", 10**6, None),
        ("none", 5, 0),
        ("best:7", 5, 7),
    ],
)
def test_artifacts(setting: str, n_trials: int | None, limit: int | None) -> None:
    assert plan_artifacts(setting, n_trials).limit == limit


@pytest.mark.parametrize("setting", ["top:", "top:-1", "best:5", "some", "top:x", "top:٣"])
def test_other_settings_are_refused(setting: str) -> None:
    with pytest.raises(AkqUsageError, match=r"write auto, all, none or top:100"):
        plan_runs(setting, 10, DATABASE)


def test_sqlite_paths_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    uri = absolute_uri("sqlite:///akq/mlflow.db")
    assert uri == f"sqlite:///{tmp_path}/akq/mlflow.db"
    assert absolute_uri(uri) == uri
    assert artifact_location(uri, "demo", None) == (tmp_path / "akq" / "mlflow-artifacts" / "demo").as_uri()
    assert artifact_location(uri, "demo", "kept") == (tmp_path / "kept" / "demo").as_uri()
    assert artifact_location(uri, "demo", "s3://bucket/x/") == "s3://bucket/x/demo"
    assert artifact_location(SERVER, "demo", None) is None


@pytest.mark.parametrize(
    "uri", ["mlruns", "./mlruns", "file:///tmp/x", "databricks", "sqlite:///", "sqlite:///:memory:"]
)
def test_stores_that_are_no_stores_are_refused(uri: str) -> None:
    with pytest.raises(AkqUsageError, match=r"track\.mlflow"):
        absolute_uri(uri)


def test_password_of_a_refused_address_is_hidden() -> None:
    with pytest.raises(AkqUsageError) as caught:
        absolute_uri("ftp://joe:s3cret@host/x")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["..", "../x", "/etc/passwd", "a/b", "a#b", "a\0b", "x" * 300, "", ".", "CON/..", "名前", "a b", "..x"],
)
def test_names_stay_inside_their_folder(name: str, tmp_path: Path) -> None:
    folder = safe_name(name)
    inside = (tmp_path / folder).resolve()
    assert inside.parent == tmp_path.resolve()
    assert inside.name == folder
    assert len(folder) <= 100
    assert folder.isascii()
    assert safe_name(name + "2") != folder


def test_pages() -> None:
    assert without_user("http://joe:pw@host:5000/x") == "http://host:5000/x"
    assert run_url("http://host:5000/", "3", "abc").startswith("http://host:5000/#/experiments/3/runs/abc")
    assert "a%2Fb" in experiment_url("http://h", "a/b")
    trials = trials_url("http://h", "1", "ab", ascending=False)
    assert trials.endswith("&orderByKey=metrics.%60objective%60&orderByAsc=false")
    assert "searchFilter=tags.%60mlflow.parentRunId%60%20%3D%20%27ab%27" in trials
    assert "orderBy" not in trials_url("http://h", "1", "ab", ascending=None)
