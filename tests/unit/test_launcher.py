"""Launcher files: what Ray's own schema accepts, with the versions of this installation."""

from __future__ import annotations

from importlib import import_module, metadata

import pytest
import yaml

from akq_dist.cli.cluster_commands import node_cpus
from akq_dist.cluster.launcher import render
from akq_dist.errors import AkqUsageError


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
