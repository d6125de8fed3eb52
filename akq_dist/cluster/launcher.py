"""Files that start a cluster elsewhere, with the versions of this installation in them."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import yaml

from akq_dist.errors import AkqUsageError
from akq_dist.specs.suggest import did_you_mean

_PORT = 6379


def render(
    kind: str, *, name: str, head: str | None, workers: tuple[str, ...], n_workers: int, image: str | None
) -> str:
    """Return the text of a launcher file: `ssh` and `aws` for `ray up`, `kubernetes` for KubeRay.

    Raises AkqUsageError for another kind, or when hosts or an image are missing.
    """
    kinds = {"ssh": _ssh, "aws": _aws, "kubernetes": _kubernetes}
    if kind not in kinds:
        raise AkqUsageError(f"unknown kind of cluster {kind!r}{did_you_mean(kind, list(kinds))}")
    content = kinds[kind](name, head, workers, n_workers, image)
    return _HEADS[kind] + yaml.dump(content, Dumper=_Plain, sort_keys=False, width=110)


class _Plain(yaml.SafeDumper):
    """Writes a part out each time, where YAML would refer to the first."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


_HEADS = {
    "ssh": "# Start: ray up FILE -y    Address of the head: ray get-head-ip FILE    End: ray down FILE -y\n",
    "aws": "# Start: ray up FILE -y    Address of the head: ray get-head-ip FILE    End: ray down FILE -y\n",
    "kubernetes": (
        "# Start: kubectl apply -f FILE    The head's service is NAME-head-svc:6379    End: kubectl delete -f FILE\n"
        "# The secret holds the token: kubectl create secret generic ray-token --from-literal=token=...\n"
    ),
}


def _setup() -> list[str]:
    """Return the commands that give a node the versions of this installation."""
    from akq_dist import __version__ as akq

    ray = metadata.version("ray")
    python = ".".join(platform.python_version_tuple()[:2])
    return [
        f"python3 --version | grep -q 'Python {python}' || (echo 'Python {python} is needed' >&2; exit 1)",
        f"python3 -m pip install -q 'ray[default]=={ray}'",
        f"python3 -m pip install -q /tmp/wheels/akq_dist-{akq}*.whl",
    ]


def _start(arguments: str) -> str:
    return f"RAY_AUTH_MODE=token ray start {arguments} --disable-usage-stats"


def _common(name: str) -> dict[str, Any]:
    return {
        "cluster_name": name,
        # The wheel that `maturin build --release` or `pip wheel .` made: every node runs the same build.
        "file_mounts": {"/tmp/wheels": "./wheels", "~/.ray/auth_token": "~/.ray/auth_token"},  # noqa: S108
        "setup_commands": _setup(),
        "head_start_ray_commands": [
            "ray stop",
            _start(f"--head --port={_PORT} --autoscaling-config=~/ray_bootstrap_config.yaml"),
        ],
        "worker_start_ray_commands": ["ray stop", _start(f"--address=$RAY_HEAD_IP:{_PORT}")],
    }


def _ssh(
    name: str, head: str | None, workers: tuple[str, ...], _n: int, _image: str | None
) -> dict[str, Any]:
    if head is None:
        raise AkqUsageError(
            "a cluster of given hosts needs --head HOST and --worker HOST for each other node"
        )
    return {
        **_common(name),
        "provider": {"type": "local", "head_ip": head, "worker_ips": list(workers)},
        "auth": {"ssh_user": "ubuntu", "ssh_private_key": "~/.ssh/id_ed25519"},
        "min_workers": len(workers),
        "max_workers": len(workers),
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
    }


def _aws(
    name: str, _head: str | None, _workers: tuple[str, ...], n: int, _image: str | None
) -> dict[str, Any]:
    machine = {"InstanceType": "c7i.4xlarge"}
    return {
        **_common(name),
        "provider": {"type": "aws", "region": "eu-central-1"},
        "auth": {"ssh_user": "ubuntu"},
        "max_workers": n,
        "idle_timeout_minutes": 10,
        "available_node_types": {
            "head": {"node_config": {"InstanceType": "c7i.xlarge"}, "resources": {}},
            "worker": {"node_config": machine, "resources": {}, "min_workers": n, "max_workers": n},
        },
        "head_node_type": "head",
    }


def _kubernetes(
    name: str, _head: str | None, _workers: tuple[str, ...], n: int, image: str | None
) -> dict[str, Any]:
    if image is None:
        raise AkqUsageError(
            "a cluster on Kubernetes needs --image, a container with this akq_dist and this Ray"
        )
    token = {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": {"name": "ray-token", "key": "token"}}}

    def pod(cpus: int, memory: str) -> dict[str, Any]:
        amounts = {"cpu": str(cpus), "memory": memory}
        container = {
            "name": "ray",
            "image": image,
            "env": [{"name": "RAY_AUTH_MODE", "value": "token"}, token],
            "resources": {"requests": amounts, "limits": amounts},
        }
        return {"spec": {"containers": [container]}}

    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name},
        "spec": {
            "rayVersion": metadata.version("ray"),
            "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": pod(2, "8Gi")},
            "workerGroupSpecs": [
                {
                    "groupName": "workers",
                    "replicas": n,
                    "minReplicas": n,
                    "maxReplicas": n,
                    "rayStartParams": {},
                    "template": pod(8, "16Gi"),
                }
            ],
        },
    }
