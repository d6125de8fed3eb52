"""Who may speak to a Ray cluster: found out before it is joined, because Ray itself says it late and badly.

A driver with a token in a cluster without one sees its workers die; one without a token in a cluster that
wants it waits for twenty seconds. So the head node is asked first, in the way that Ray's own clients ask it.
"""

from __future__ import annotations

import logging
import os
import socket
from enum import Enum
from importlib import import_module
from pathlib import Path

from akq_dist.cluster import local_nodes
from akq_dist.errors import ExecutorError

log = logging.getLogger(__name__)

MODE = "RAY_AUTH_MODE"
_TIMEOUT_S = 5.0
_QUESTION = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_HINT = "Give the token of the cluster in RAY_AUTH_TOKEN or in ~/.ray/auth_token."


class Door(Enum):
    """How a head node answers."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


def prepare_local() -> None:
    """Make a local cluster want a token, unless the user has decided otherwise; Ray makes the token."""
    os.environ.setdefault(MODE, "token")
    if _mode() == "disabled":
        log.warning("%s=disabled: any user who reaches this machine's ports can run code in Ray", MODE)


def prepare_join(address: str) -> None:
    """Choose the mode in which a cluster can be joined. Raises ExecutorError when it cannot be."""
    if address in {"auto", "local"}:
        return
    check_reachable(address)
    _use_token_of_our_own(address)
    anonymous = knock(address, None)
    if anonymous is Door.OPEN:
        if _mode() == "token":
            raise ExecutorError(
                f"Ray at {address} asks for no token, but {MODE} is token. Start its nodes with {MODE}=token "
                f"or set {MODE}=disabled here to join it as it is"
            )
        log.warning(
            "Ray at %s asks for no token: whoever reaches its ports can run code in it. "
            "Make one with `ray get-auth-token --generate` and start every node with %s=token.",
            address,
            MODE,
        )
        return
    token = find_token()
    if anonymous is Door.CLOSED:
        if token is None:
            raise ExecutorError(f"Ray at {address} asks for a token and none is set. {_HINT}")
        if _mode() == "disabled":
            raise ExecutorError(f"Ray at {address} asks for a token, but {MODE} is disabled; unset it")
        if knock(address, token) is Door.CLOSED:
            raise ExecutorError(f"Ray at {address} does not accept the token that is set here. {_HINT}")
    if token is not None:
        os.environ.setdefault(MODE, "token")


def _use_token_of_our_own(address: str) -> None:
    """Take the token of a cluster that `akq cluster up` has started, unless the user gives one."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    cluster = local_nodes.find(address)
    if cluster is not None:
        os.environ.update(cluster.environment)


def find_token() -> str | None:
    """Read the token where Ray itself looks for it."""
    token = os.environ.get("RAY_AUTH_TOKEN")
    if token:
        return token.strip()
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        found = (
            (Path(path) if path else Path.home() / ".ray" / "auth_token").read_text(encoding="utf-8").strip()
        )
    except (OSError, UnicodeDecodeError, RuntimeError):  # no file, no text, no home
        return None
    return found or None


def check_reachable(address: str) -> None:
    """Fail within seconds when nobody listens: Ray ends the whole process when it finds no head node."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ExecutorError(
            f"run.address {address!r} is not host:port of a Ray head node (port 6379 unless set)"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ExecutorError(
            f"Ray at {address} cannot be reached ({error}). Is the head node up, and is this its GCS address "
            "(port 6379 unless set)?"
        ) from error


def knock(address: str, token: str | None) -> Door:
    """Ask a head node for its cluster's identity; UNKNOWN when it does not speak plainly, as with TLS."""
    try:
        grpc = import_module("grpc")
    except ImportError:
        return Door.UNKNOWN
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(_QUESTION, request_serializer=bytes, response_deserializer=bytes)
        try:
            ask(b"", timeout=_TIMEOUT_S, metadata=metadata)
        except grpc.RpcError as error:
            refused = error.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
            return Door.CLOSED if refused else Door.UNKNOWN
    return Door.OPEN


def _mode() -> str:
    return os.environ.get(MODE, "").lower()
