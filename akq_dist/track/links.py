"""Addresses of pages, for people."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

_VIEW = "workflowType=machine_learning"
"""Pages open for language models otherwise, where the table of runs is hard to find."""


def experiment_url(base: str, experiment_id: str) -> str:
    """Return the page with the runs of an experiment as a table."""
    return f"{_experiment(base, experiment_id)}/runs?{_VIEW}&compareRunsMode=TABLE"


def trials_url(base: str, experiment_id: str, run_id: str, *, ascending: bool | None) -> str:
    """Return the page with the trials of a sweep as a table, by objective where there is one to go by.

    Sorted by time the page shows the sweep's own run alone, with all the others folded below it.
    """
    children = quote(f"tags.`mlflow.parentRunId` = '{run_id}'", safe="")
    url = f"{experiment_url(base, experiment_id)}&searchFilter={children}"
    if ascending is None:
        return url
    return f"{url}&orderByKey={quote('metrics.`objective`', safe='')}&orderByAsc={str(ascending).lower()}"


def view_url(base: str, experiment_id: str, key: str) -> str:
    """Return the page with the runs of an experiment as a view that the experiment keeps shows them."""
    return f"{experiment_url(base, experiment_id)}&viewStateShareKey={quote(key, safe='')}"


def run_url(base: str, experiment_id: str, run_id: str) -> str:
    """Return the page of one run."""
    return f"{_experiment(base, experiment_id)}/runs/{quote(run_id, safe='')}?{_VIEW}"


def without_user(url: str) -> str:
    """Return the address without user name and password; a browser asks for them."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _experiment(base: str, experiment_id: str) -> str:
    return f"{base.rstrip('/')}/#/experiments/{quote(experiment_id, safe='')}"
