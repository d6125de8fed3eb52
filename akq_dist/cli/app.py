"""The commands of `akq`, their options and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from akq_dist.errors import AkqUsageError

app = typer.Typer(
    name="akq",
    help="Parameter sweeps and multi-asset backtests.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=(
        "Every command takes --debug. "
        "Exit codes: 0 ok, 2 usage, 3 data, 4 too many failed trials, "
        "5 a check failed (look-ahead found, views differ), 130 interrupted."
    ),
)
sweep_app = typer.Typer(help="Run parameter sweeps.", no_args_is_help=True, rich_markup_mode=None)
study_app = typer.Typer(help="Look at recorded studies.", no_args_is_help=True, rich_markup_mode=None)
data_app = typer.Typer(help="Check market data.", no_args_is_help=True, rich_markup_mode=None)
cluster_app = typer.Typer(help="Ray nodes for sweeps.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(sweep_app, name="sweep")
app.add_typer(study_app, name="study")
app.add_typer(data_app, name="data")
app.add_typer(cluster_app, name="cluster")

File = Annotated[Path, typer.Argument(metavar="FILE", help="Sweep file, YAML or TOML.")]
Target = Annotated[str, typer.Argument(metavar="FILE-or-STUDY", help="A sweep file or the name of a study.")]
Study = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study, or its sweep file.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="A.B=C", help="Replace a value of the file, such as search.trials=100. Repeatable."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
LedgerPath = Annotated[
    Path, typer.Option("--ledger", metavar="PATH", help="The ledger that holds the studies.")
]
AcceptBuild = Annotated[
    bool, typer.Option("--accept-build", help="Resume although the engine has been rebuilt since.")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="ADDRESS", help="Join this Ray cluster; the same as --set run.address=..."
    ),
]
DEFAULT_LEDGER = Path("akq/ledger.db")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        from akq_dist import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def _settings(set_: list[str] | None, address: str | None) -> list[str]:
    """Return the overrides of a command, a Ray address among them."""
    import json

    return [*(set_ or []), *([] if address is None else [f"run.address={json.dumps(address)}"])]


@sweep_app.command("run")
def sweep_run(
    file: File,
    set_: Set = None,
    address: Address = None,
    new: Annotated[
        bool, typer.Option("--new", help="Start another study although one of this name exists.")
    ] = False,
    accept_build: AcceptBuild = False,
    json_: Json = False,
) -> int:
    """Run a sweep; a study that exists is resumed."""
    from akq_dist.cli.sweep_commands import run

    return run(file, _settings(set_, address), new=new, accept_build=accept_build, as_json=json_)


@sweep_app.command("resume")
def sweep_resume(
    target: Target,
    set_: Set = None,
    address: Address = None,
    ledger: LedgerPath = DEFAULT_LEDGER,
    accept_build: AcceptBuild = False,
    json_: Json = False,
) -> int:
    """Go on with a study that was interrupted or asked for more trials."""
    from akq_dist.cli.sweep_commands import resume

    return resume(target, _settings(set_, address), ledger, accept_build=accept_build, as_json=json_)


@sweep_app.command("status")
def sweep_status(target: Target, ledger: LedgerPath = DEFAULT_LEDGER, json_: Json = False) -> int:
    """Show how far a study has come."""
    from akq_dist.cli.study_commands import status

    return status(target, ledger, as_json=json_)


@sweep_app.command("estimate")
def sweep_estimate(file: File, set_: Set = None, json_: Json = False) -> int:
    """Tell how long a sweep would take here, without running it."""
    from akq_dist.cli.sweep_commands import estimate

    return estimate(file, set_ or [], as_json=json_)


@sweep_app.command("sync")
def sweep_sync(target: Target, ledger: LedgerPath = DEFAULT_LEDGER) -> int:
    """Bring the Optuna study and the MLflow runs up to what the ledger holds."""
    from akq_dist.cli.sweep_commands import sync

    return sync(target, ledger)


@sweep_app.command("verify")
def sweep_verify(
    target: Target,
    set_: Set = None,
    ledger: LedgerPath = DEFAULT_LEDGER,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Make Optuna and MLflow what the ledger says, then compare again."),
    ] = False,
    json_: Json = False,
) -> int:
    """Prove that ledger, Optuna and MLflow hold the same trials; exit code 5 where they do not."""
    from akq_dist.cli.sweep_commands import verify

    return verify(target, set_ or [], ledger, repair=repair, as_json=json_)


@sweep_app.command("validate")
def sweep_validate(
    target: Target,
    set_: Set = None,
    ledger: LedgerPath = DEFAULT_LEDGER,
    holdout: Annotated[
        bool, typer.Option("--holdout", help="Run the winner on the sealed time; every look is counted.")
    ] = False,
    objective: Annotated[
        str | None, typer.Option("--objective", metavar="NAME", help="What chooses, when there are several.")
    ] = None,
    trial: Annotated[
        int | None,
        typer.Option("--trial", metavar="N", help="Trial for the holdout, when no single one is the winner."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the joined out-of-sample equity as Parquet."),
    ] = None,
    json_: Json = False,
) -> int:
    """Judge a study with a section `validate` out of sample: folds, joined equity, efficiency."""
    from akq_dist.cli.sweep_commands import Chosen, validate

    chosen = Chosen(objective, holdout=holdout, number=trial)
    return validate(target, set_ or [], ledger, out, chosen, as_json=json_)


@sweep_app.command("export")
def sweep_export(
    target: Target,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .parquet, .csv or .arrow.")],
    ledger: LedgerPath = DEFAULT_LEDGER,
) -> int:
    """Write all trials of a study to a file, one row a trial."""
    from akq_dist.cli.study_commands import export

    return export(target, out, ledger)


@sweep_app.command("report")
def sweep_report(
    target: Target,
    set_: Set = None,
    ledger: LedgerPath = DEFAULT_LEDGER,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="File to write; STUDY-report.html when absent."),
    ] = None,
) -> int:
    """Write a study as one HTML page that needs no network: winner, doubts, charts, where it came from."""
    from akq_dist.cli.sweep_commands import report

    return report(target, set_ or [], ledger, out)


@sweep_app.command("schema")
def sweep_schema() -> None:
    """Print the JSON schema of sweep files."""
    from akq_dist.specs.schema import sweep_schema as text

    typer.echo(text(), nl=False)


@app.command("backtest")
def backtest(
    file: File,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="Value of a parameter. Repeatable."),
    ] = None,
    set_: Set = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write metrics and tables to a folder.")
    ] = None,
    json_: Json = False,
) -> int:
    """Run one parameter set of a sweep file."""
    from akq_dist.cli.backtest_command import run

    return run(file, param or [], set_ or [], out, as_json=json_)


@app.command("lookahead")
def lookahead(
    file: File,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="Value of a parameter. Repeatable."),
    ] = None,
    set_: Set = None,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Number of times after which bars are changed and cut.")
    ] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Chooses the times and the changes.")] = 0,
    json_: Json = False,
) -> int:
    """Check that a strategy uses no bar that it cannot know yet."""
    from akq_dist.cli.lookahead_command import run

    return run(file, param or [], set_ or [], samples, seed, as_json=json_)


@app.command("replay")
def replay(
    study: Annotated[str | None, typer.Argument(metavar="STUDY", help="Name of a study.")] = None,
    trial: Annotated[int | None, typer.Argument(metavar="TRIAL", help="Number of the trial.")] = None,
    ledger: LedgerPath = DEFAULT_LEDGER,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="ID", help="MLflow run of a trial, or of a sweep: its winner."),
    ] = None,
    mlflow: Annotated[
        str, typer.Option("--mlflow", metavar="URI", help="Tracking URI of the run.")
    ] = "sqlite:///akq/mlflow.db",
    json_: Json = False,
) -> int:
    """Run a recorded trial again and compare it bit for bit: from its ledger, or from MLflow alone."""
    from akq_dist.cli.sweep_commands import replay_run, replay_trial

    if run is not None and study is None:
        return replay_run(run, mlflow, as_json=json_)
    if run is not None or study is None or trial is None:
        raise AkqUsageError("name a study and the number of a trial, or a run with --run")
    return replay_trial(study, trial, ledger, as_json=json_)


@study_app.command("list")
def study_list(ledger: LedgerPath = DEFAULT_LEDGER, json_: Json = False) -> int:
    """List the studies of a ledger."""
    from akq_dist.cli.study_commands import list_studies

    return list_studies(ledger, as_json=json_)


@study_app.command("show")
def study_show(study: Study, ledger: LedgerPath = DEFAULT_LEDGER, json_: Json = False) -> int:
    """Show a study: what was searched, how far it came, its best trial."""
    from akq_dist.cli.study_commands import show

    return show(study, ledger, as_json=json_)


@study_app.command("best")
def study_best(
    study: Study,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of trials.")] = 10,
    ledger: LedgerPath = DEFAULT_LEDGER,
    json_: Json = False,
) -> int:
    """Show the best trials of a study."""
    from akq_dist.cli.study_commands import best

    return best(study, n, ledger, as_json=json_)


@study_app.command("pareto")
def study_pareto(study: Study, ledger: LedgerPath = DEFAULT_LEDGER, json_: Json = False) -> int:
    """Show every trial that no other dominates; with one objective the best alone."""
    from akq_dist.cli.study_commands import pareto

    return pareto(study, ledger, as_json=json_)


@study_app.command("importance")
def study_importance(
    study: Study,
    objective: Annotated[
        str | None, typer.Option("--objective", metavar="NAME", help="Which, when there are several.")
    ] = None,
    ledger: LedgerPath = DEFAULT_LEDGER,
    json_: Json = False,
) -> int:
    """Show how much each parameter matters for the objective (PED-ANOVA over the complete trials)."""
    from akq_dist.cli.study_commands import importance

    return importance(study, objective, ledger, as_json=json_)


@data_app.command("check")
def data_check(file: File, set_: Set = None, json_: Json = False) -> int:
    """Load the data of a sweep file, or a Parquet or CSV file, and report what is wrong with it."""
    from akq_dist.cli.data_commands import check

    return check(file, set_ or [], as_json=json_)


@data_app.command("digest")
def data_digest(file: File, set_: Set = None, json_: Json = False) -> int:
    """Print the content digest of the data of a sweep file, or of a Parquet or CSV file."""
    from akq_dist.cli.data_commands import digest

    return digest(file, set_ or [], as_json=json_)


ClusterName = Annotated[str, typer.Argument(metavar="[NAME]", help="Name of the cluster on this machine.")]


@cluster_app.command("up")
def cluster_up(
    name: ClusterName = "local",
    nodes: Annotated[
        str, typer.Option("--nodes", metavar="N", help="Number of nodes, or the CPUs of each such as 1,2,4.")
    ] = "2",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of the head; 0 takes a free one.")
    ] = 0,
    dashboard: Annotated[
        int | None,
        typer.Option("--dashboard", metavar="PORT", help="Serve Ray's dashboard and job API on loopback."),
    ] = None,
    json_: Json = False,
) -> int:
    """Start several Ray nodes on this machine."""
    from akq_dist.cli.cluster_commands import up

    return up(name, nodes, port, dashboard, as_json=json_)


@cluster_app.command("status")
def cluster_status(json_: Json = False) -> int:
    """Show the clusters that are up on this machine."""
    from akq_dist.cli.cluster_commands import status

    return status(as_json=json_)


@cluster_app.command("down")
def cluster_down(name: ClusterName = "local") -> int:
    """End a cluster of this machine; no other Ray is touched."""
    from akq_dist.cli.cluster_commands import down

    return down(name)


@cluster_app.command("render")
def cluster_render(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="ssh, aws or kubernetes.")],
    name: Annotated[str, typer.Option("--name", help="Name of the cluster.")] = "akq",
    head: Annotated[
        str | None, typer.Option("--head", metavar="HOST", help="Head node of an ssh cluster.")
    ] = None,
    worker: Annotated[
        list[str] | None, typer.Option("--worker", metavar="HOST", help="Other node. Repeatable.")
    ] = None,
    n: Annotated[int, typer.Option("--workers", min=1, help="Number of worker nodes.")] = 2,
    image: Annotated[str | None, typer.Option("--image", help="Container image for kubernetes.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write to a file.")] = None,
) -> int:
    """Print the file that starts a cluster elsewhere, with the versions of this installation."""
    from akq_dist.cli.cluster_commands import render

    return render(kind, name, head, worker or [], n, image, out)


@app.command("ui")
def ui(
    target: Annotated[
        str | None, typer.Argument(metavar="[FILE-or-STUDY]", help="Open at this study.")
    ] = None,
    ledger: LedgerPath = DEFAULT_LEDGER,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="First port to try.")] = 5000,
) -> int:
    """Show the recorded runs in a browser: MLflow, and optuna-dashboard where it is installed."""
    from akq_dist.cli.ui_command import serve

    return serve(target, ledger, port)


@app.command("doctor")
def doctor(json_: Json = False) -> int:
    """Check this installation and machine."""
    from akq_dist.cli.doctor_command import run

    return run(as_json=json_)
