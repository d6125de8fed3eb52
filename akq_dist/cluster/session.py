"""One connection to Ray: a local cluster of our own, one that runs already, or one joined by address."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from akq_dist.cluster import auth
from akq_dist.cluster.handshake import MIN_RAY, ray_is_supported
from akq_dist.cluster.layout import Node
from akq_dist.cluster.machine import usable_cpus
from akq_dist.errors import ExecutorError, MissingDependencyError

log = logging.getLogger(__name__)

_QUIET = {
    # A driver under `uv run` would build its environment again in every worker.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray prints news of dead workers to standard output, which belongs to data; the executor tells of them.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "(?s).*",
}


class RaySession:
    """Starts Ray in a thread of its own and keeps that thread for as long as Ray is up.

    The kernel ends Ray's processes together with the thread that started them, so it may not return early.
    """

    def __init__(self, address: str | None, n_cpus: int | None = None) -> None:
        if address is not None and address.startswith("ray://"):
            raise ExecutorError(
                f"run.address {address}: Ray client addresses are not supported; give host:port of the head "
                "node and start the sweep on a machine of the cluster"
            )
        self.address = address
        self._n_cpus = n_cpus
        self._begun = False
        self._up = threading.Event()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._ray: Any = None
        self._error: Exception | None = None
        self.owned = False

    def begin(self) -> None:
        """Start connecting in the background; a second call does nothing."""
        if self._begun:
            return
        self._begun = True
        self._thread = threading.Thread(target=self._body, name="akq-ray", daemon=True)
        self._thread.start()

    def ray(self, timeout_s: float = 120.0) -> Any:
        """Return the connected Ray module; raises ExecutorError when there is none."""
        self.begin()
        if not self._up.wait(timeout_s):
            raise ExecutorError(f"Ray {_target(self.address)} is not up after {timeout_s:.0f} s")
        if self._error is not None:
            raise _explain(self._error, self.address) from self._error
        return self._ray

    def nodes(self) -> list[Node]:
        """List the nodes of the cluster that are alive."""
        rows = self.ray().nodes()
        return [
            Node(
                id=row["NodeID"],
                host=row["NodeManagerHostname"],
                n_cpus=float(row["Resources"].get("CPU", 0.0)),
                resources={name: float(amount) for name, amount in row["Resources"].items()},
            )
            for row in rows
            if row["Alive"]
        ]

    def close(self) -> None:
        """Shut down what this session started; leave anything else as it was found. Safe to call twice."""
        if self._thread is None:
            return
        self._up.wait(120.0)
        if self.owned and self._ray is not None and self._ray.is_initialized():
            self._ray.shutdown()
        self.owned = False
        self._end.set()
        self._thread.join(10.0)
        self._thread = None
        self._begun = False
        self._up, self._end = threading.Event(), threading.Event()

    def _body(self) -> None:
        try:
            _prepare_environment(self.address)
            self._ray = _import_ray()
            if not self._ray.is_initialized():
                self._connect()
        except Exception as error:  # the edge of a thread: the caller's thread raises it
            self._error = error
        finally:
            self._up.set()
        self._end.wait()

    def _connect(self) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.address is None:
            n_cpus = self._n_cpus or usable_cpus()
            options |= {"address": "local", "num_cpus": n_cpus, "include_dashboard": False}
        else:
            options["address"] = self.address
        self._ray.init(**options)
        self.owned = True


def _prepare_environment(address: str | None) -> None:
    """Set what Ray reads when it is imported; what the user has set stays."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if address is None:
        auth.prepare_local()
    else:
        auth.prepare_join(address)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "the Ray executor needs the package ray: pip install 'ray[default]>=2.59'"
        ) from error
    if not ray_is_supported(ray.__version__):
        wanted = ".".join(str(number) for number in MIN_RAY)
        raise ExecutorError(f"Ray {ray.__version__} is too old for safe use, {wanted} or newer is needed")
    return ray


def _explain(error: Exception, address: str | None) -> Exception:
    """Turn whatever Ray raised into one sentence and a hint."""
    if isinstance(error, ExecutorError | MissingDependencyError):
        return error
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    hint = ""
    kind = type(error).__name__
    if kind == "AuthenticationError":
        hint = (
            " Give the token of the cluster in RAY_AUTH_TOKEN or ~/.ray/auth_token, with RAY_AUTH_MODE=token."
        )
    elif "ersion mismatch" in str(error):
        hint = " Every node and the driver need the same versions of Ray and Python."
        text = " ".join(str(error).split())
    elif address is not None:
        hint = " Is the head node up, and is this its GCS address (port 6379 unless set)?"
    return ExecutorError(f"Ray {_target(address)}: {kind}: {text[:500]}{hint}")


def _target(address: str | None) -> str:
    return "on this machine" if address is None else f"at {address}"
