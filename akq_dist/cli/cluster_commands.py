"""`akq cluster ...`: Ray nodes on this machine, and files that start them elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from akq_dist.cli.console import print_json, print_table, say
from akq_dist.errors import AkqUsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from akq_dist.cluster.local_nodes import LocalCluster


def up(name: str, nodes: str, port: int, dashboard: int | None, *, as_json: bool) -> int:
    """Start nodes on this machine and say how to use them."""
    from akq_dist.cluster import local_nodes

    cluster = local_nodes.up(name, node_cpus=node_cpus(nodes), port=port, dashboard_port=dashboard)
    if as_json:
        print_json(_facts(cluster))
        return 0
    say(f"{len(cluster.node_cpus)} nodes with {sum(cluster.node_cpus)} CPUs at {cluster.address}")
    say(f"akq sweep run FILE --address {cluster.address}   |   akq cluster down {name}")
    if cluster.dashboard is not None:
        settings = " ".join(f"{key}={value}" for key, value in cluster.environment.items())
        say(f"{settings} ray job submit --address {cluster.dashboard} --working-dir . -- \\")
        say("  akq sweep run FILE --address auto --set storage.ledger=/a/folder/that/stays/ledger.db")
    return 0


def status(*, as_json: bool) -> int:
    """Say which clusters of this user are up."""
    from akq_dist.cluster import local_nodes

    found = [_facts(cluster) for cluster in local_nodes.clusters()]
    if as_json:
        print_json({"clusters": found})
        return 0
    if not found:
        say("no cluster is up on this machine; akq cluster up starts one")
        return 0
    columns = ["name", "address", "nodes", "cpus", "processes"]
    print_table(
        columns, ([row[key] for key in ("name", "address", "alive", "cpus", "processes")] for row in found)
    )
    return 0


def down(name: str) -> int:
    """End a cluster of this machine; other Ray processes are left alone."""
    from akq_dist.cluster import local_nodes

    n = local_nodes.down(name)
    say(f"{n} processes of '{name}' ended" if n else f"no cluster '{name}' is up")
    return 0


def render(
    kind: str,
    name: str,
    head: str | None,
    workers: Sequence[str],
    n_workers: int,
    image: str | None,
    out: Path | None,
) -> int:
    """Print a launcher file, or write it."""
    from akq_dist.cluster.launcher import render as text_of

    text = text_of(kind, name=name, head=head, workers=tuple(workers), n_workers=n_workers, image=image)
    if out is None:
        print(text, end="")
    else:
        from akq_dist.record.files import whole_file

        with whole_file(out, "the launcher file") as partial:
            partial.write_text(text, encoding="utf-8")
        say(f"written to {out}")
    return 0


def node_cpus(text: str) -> tuple[int, ...]:
    """Return the CPUs of each node for `3` (one each) or `1,2,4`. Raises AkqUsageError."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise AkqUsageError(
            f"--nodes: found {text!r}, expected a number of nodes or their CPUs such as 1,2,4"
        )
    counts = tuple(int(part) for part in parts)
    if len(counts) == 1:
        return (1,) * counts[0]
    return counts


def _facts(cluster: LocalCluster) -> dict[str, Any]:
    from akq_dist.cluster import local_nodes

    return {
        "name": cluster.name,
        "address": cluster.address,
        "alive": len(local_nodes.nodes(cluster.name)),
        "nodes": len(cluster.node_cpus),
        "cpus": sum(cluster.node_cpus),
        "processes": len(local_nodes.processes(cluster.name)),
        "dashboard": cluster.dashboard,
        "environment": cluster.environment,
    }
