"""optuna-dashboard as `akq ui` serves it: to this machine, and to no page of somebody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from akq_dist.track.dashboard import only_local

if TYPE_CHECKING:
    from collections.abc import Iterable


def answered(method: str = "GET", **headers: str) -> str:
    """Return the status of a request with these headers."""
    status: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b""]

    environ = {"REQUEST_METHOD": method} | {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    list(only_local(app)(environ, lambda line, _: status.append(line)))  # type: ignore[arg-type]
    return status[0][:3]


@pytest.mark.parametrize("host", ["127.0.0.1:5001", "localhost:5001", "LOCALHOST", "127.0.0.1"])
def test_this_machine_is_served(host: str) -> None:
    assert answered(host=host) == "200"
    assert answered("DELETE", host=host, origin=f"http://{host}") == "200"


@pytest.mark.parametrize(
    "host", ["", "evil.example.com", "10.1.2.3:5001", "localhost.evil.com", "127.0.0.1.evil.com"]
)
def test_a_name_that_leads_here_by_a_trick_is_refused(host: str) -> None:
    assert answered(host=host) == "403"


@pytest.mark.parametrize("origin", ["http://evil.example.com", "null", "http://127.0.0.1:9999"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_another_page_changes_nothing(method: str, origin: str) -> None:
    assert answered(method, host="127.0.0.1:5001", origin=origin) == "403"
