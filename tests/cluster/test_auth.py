"""Joining a cluster with and without tokens, against a head node that answers as Ray's does."""

from __future__ import annotations

import logging
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from akq_dist.cluster import auth
from akq_dist.errors import ExecutorError

grpc = pytest.importorskip("grpc")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD, WRONG = "a" * 40, "b" * 40


class HeadNode:
    """Answers the question about the cluster's identity; with a token it wants to see it."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._server = grpc.server(ThreadPoolExecutor(1))
        handler = grpc.unary_unary_rpc_method_handler(
            self._answer, request_deserializer=bytes, response_serializer=bytes
        )
        service, method = auth._QUESTION.strip("/").split("/")
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service, {method: handler})]
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def _answer(self, request: bytes, context: Any) -> bytes:
        sent = dict(context.invocation_metadata()).get("authorization")
        if self._token is not None and sent != f"Bearer {self._token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return b"identity"

    def stop(self) -> None:
        self._server.stop(0).wait()


@pytest.fixture(params=["open", "closed"])
def head(request: pytest.FixtureRequest) -> Iterator[HeadNode]:
    made = HeadNode(GOOD if request.param == "closed" else None)
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        # Set and removed, so that what the code sets is undone as well.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


OPEN_WARNING = "asks for no token"


@pytest.mark.parametrize("head", ["open"], indirect=True)
@pytest.mark.parametrize("token", [None, GOOD])
def test_open_cluster_is_joined_as_it_is_with_a_warning(
    head: HeadNode, token: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when a token lies about from a local cluster: with it, every worker would die."""
    if token:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    with caplog.at_level(logging.WARNING):
        auth.prepare_join(head.address)
    assert OPEN_WARNING in caplog.text
    assert "RAY_AUTH_MODE" not in os.environ


@pytest.mark.parametrize("head", ["open"], indirect=True)
def test_open_cluster_is_refused_where_a_token_is_demanded(
    head: HeadNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(ExecutorError, match=OPEN_WARNING):
        auth.prepare_join(head.address)


@pytest.mark.parametrize("head", ["closed"], indirect=True)
def test_right_token_turns_tokens_on(
    head: HeadNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(GOOD + "\n", encoding="ascii")
    auth.prepare_join(head.address)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert caplog.text == ""


@pytest.mark.parametrize("head", ["closed"], indirect=True)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "asks for a token and none is set"),
        ({"RAY_AUTH_TOKEN": WRONG}, "does not accept the token"),
        ({"RAY_AUTH_TOKEN": GOOD, "RAY_AUTH_MODE": "disabled"}, "but RAY_AUTH_MODE is disabled"),
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere/token"}, "none is set"),
    ],
)
def test_closed_cluster_says_what_is_missing(
    head: HeadNode, settings: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ExecutorError, match=message) as caught:
        auth.prepare_join(head.address)
    assert WRONG not in str(caught.value)
    assert GOOD not in str(caught.value)


def test_local_cluster_wants_a_token(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth.prepare_local()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert caplog.text == ""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    auth.prepare_local()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert "any user who reaches" in caplog.text


def test_something_else_that_listens_is_no_head_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert auth.knock(address, None) is auth.Door.UNKNOWN
