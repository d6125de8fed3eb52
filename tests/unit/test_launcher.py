"""Launcher files: what Ray's own schema accepts, with the versions of this installation."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest
import yaml

from akq_dist.cli.cluster_commands import node_cpus
from akq_dist.cluster.launcher import render
from akq_dist.errors import AkqUsageError

CLUSTER = Path(__file__).parents[2] / "cluster"


@pytest.mark.parametrize("kind", ["ssh", "aws"])
def test_ray_accepts_the_file(kind: str) -> None:
    text = render(kind, name="akq", head="10.0.0.1", workers=("10.0.0.2",), n_workers=3, image=None)
    content = yaml.safe_load(text)
    util = import_module("ray.autoscaler._private.util")
    util.validate_config(util.prepare_config(yaml.safe_load(text)))
    assert f"ray[default]=={metadata.version('ray')}" in text
    starts = [*content["head_start_ray_commands"], *content["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if "ray start" in line)


def test_kubernetes_gets_the_token_from_a_secret() -> None:
    text = render("kubernetes", name="akq", head=None, workers=(), n_workers=3, image="registry/akq:1")
    content = yaml.safe_load(text)
    assert content["spec"]["rayVersion"] == metadata.version("ray")
    group = content["spec"]["workerGroupSpecs"][0]
    assert group["replicas"] == 3
    environment = {entry["name"]: entry for entry in group["template"]["spec"]["containers"][0]["env"]}
    assert "secretKeyRef" in environment["RAY_AUTH_TOKEN"]["valueFrom"]


def test_what_is_missing_is_named() -> None:
    with pytest.raises(AkqUsageError, match="did you mean 'ssh'"):
        render("shh", name="akq", head=None, workers=(), n_workers=1, image=None)
    with pytest.raises(AkqUsageError, match="--head HOST"):
        render("ssh", name="akq", head=None, workers=(), n_workers=1, image=None)
    with pytest.raises(AkqUsageError, match="--image"):
        render("kubernetes", name="akq", head=None, workers=(), n_workers=1, image=None)


def test_nodes_are_a_number_or_their_cpus() -> None:
    assert node_cpus("3") == (1, 1, 1)
    assert node_cpus("1,2,4") == (1, 2, 4)
    with pytest.raises(AkqUsageError, match="expected a number of nodes"):
        node_cpus("two")


def test_what_compose_publishes_is_on_loopback_and_no_password_is_written_down() -> None:
    services = yaml.safe_load((CLUSTER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    ports = [port for service in services.values() for port in service["ports"]]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    settings = {
        name: value for service in services.values() for name, value in service["environment"].items()
    }
    secret = [value for name, value in settings.items() if "PASSWORD" in name or "URI" in name]
    assert len(secret) == 2
    assert all("${AKQ_DB_PASSWORD:?" in value for value in secret)


@pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")
def test_compose_names_settings_that_the_server_of_mlflow_has() -> None:
    services = yaml.safe_load((CLUSTER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    server = import_module("mlflow.cli").server
    known = {param.envvar for param in server.params} | {"MLFLOW_DISABLE_TELEMETRY"}
    assert set(services["mlflow"]["environment"]) <= known
    assert services["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]


def test_the_image_gets_what_the_wheel_is_built_from() -> None:
    text = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")
    python = re.search(r"FROM python:(\S+?)-", text)
    assert python is not None
    project = tomllib.loads((CLUSTER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f">={python[1]}" == project["requires-python"]
    extras = re.search(r"\[([a-z,]+)\]", text)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    sent = (CLUSTER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert all((CLUSTER.parent / line[1:]).exists() for line in sent if line.startswith("!"))
