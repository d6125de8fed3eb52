"""`akq sweep ...` and `akq replay`: what is run, and what is said about it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from akq_dist.cli.console import count_text, duration_text, params_text, print_json, print_table, say
from akq_dist.cli.edge import CHECK_FAILED, INTERRUPTED, OK
from akq_dist.cli.progress import ProgressView

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    from akq_dist.search.replay import ReplayReport
    from akq_dist.sweep import Sweep

N_SHOWN = 10


def run(file: Path, overrides: Sequence[str], *, new: bool, accept_build: bool, as_json: bool) -> int:
    """Run the sweep of a file."""
    from akq_dist.sweep import sweep

    view = ProgressView()
    handle = sweep(
        file, overrides=overrides, new=new, accept_build=accept_build, on_progress=view, on_note=view.note
    )
    return _run(handle, view, again=_command("run", str(file), overrides), as_json=as_json)


def resume(target: str, overrides: Sequence[str], ledger: Path, *, accept_build: bool, as_json: bool) -> int:
    """Go on with a study, by its name or its sweep file."""
    from akq_dist.sweep import resume_study

    view = ProgressView()
    handle = resume_study(
        target,
        overrides=overrides,
        ledger=ledger,
        accept_build=accept_build,
        on_progress=view,
        on_note=view.note,
    )
    return _run(handle, view, again=_command("resume", target, overrides), as_json=as_json)


def estimate(file: Path, overrides: Sequence[str], *, as_json: bool) -> int:
    """Tell what a sweep would cost."""
    from akq_dist.sweep import sweep

    found = sweep(file, overrides=overrides).estimate()
    if as_json:
        print_json(found.to_dict())
        return 0
    trials = "an unknown number of" if found.trials is None else f"{found.trials:,}"
    points = "" if found.n_points is None else f" of {found.n_points:,} points"
    rows = [
        ("trials", f"{trials}{points}, from {found.points}"),
        ("bars a trial", count_text(found.bars_per_trial)),
        ("speed here", f"{count_text(found.trials_per_s)} trials/s, {count_text(found.bars_per_s)} bars/s"),
        ("time here", duration_text(found.wall_s)),
        ("executor", f"{found.executor}: {found.why}"),
        *(("note", note) for note in found.notes),
    ]
    print_table(["", ""], rows)
    return 0


def sync(target: str, ledger: Path) -> int:
    """Bring the views of a study up to the ledger."""
    from akq_dist.sweep import sync as bring_up

    problems = bring_up(target, ledger=ledger)
    for problem in problems:
        say(f"warning: {problem}")
    if not problems:
        say("every view that the sweep asks for has all that the ledger has")
    return 1 if problems else 0


def verify(target: str, overrides: Sequence[str], ledger: Path, *, repair: bool, as_json: bool) -> int:
    """Compare the views of a study with the ledger, and say what differs."""
    from akq_dist.sweep import verify as compare

    found = compare(target, ledger=ledger, overrides=overrides, repair=repair)
    if as_json:
        print_json(found.to_dict())
        return OK if found.ok else CHECK_FAILED
    for check in found.checks:
        state = "agrees" if check.ok else f"{check.n_differences:,} differences"
        print(f"{check.view}: {check.n_found:,} of {check.n_expected:,} trials, {state} ({check.place})")
        for line in check.lines:
            print(f"  {line}")
        if check.n_differences > len(check.lines):
            print(f"  ... and {check.n_differences - len(check.lines):,} more")
    if found.trials["asked"]:
        say(f"{found.trials['asked']:,} trials are open: the study runs or was interrupted")
    if not found.ok and not repair:
        say(f"akq sweep verify {target} --repair rebuilds Optuna and MLflow from the ledger")
    return OK if found.ok else CHECK_FAILED


@dataclass(frozen=True)
class Chosen:
    """What is to be judged out of sample."""

    objective: str | None = None
    """What chooses, where there are several objectives."""
    holdout: bool = False
    number: int | None = None
    """Trial for the holdout."""


def validate(
    target: str, overrides: Sequence[str], ledger: Path, out: Path | None, chosen: Chosen, *, as_json: bool
) -> int:
    """Print what a validated study is worth out of sample."""
    from akq_dist.sweep import validate_study

    found, opened = validate_study(
        target,
        ledger=ledger,
        overrides=overrides,
        objective=chosen.objective,
        holdout=chosen.holdout,
        number=chosen.number,
    )
    if out is not None:
        import polars as pl

        from akq_dist.record.files import whole_file

        curves = [curve.with_columns(pl.lit(ix).alias("path")) for ix, curve in enumerate(found.curves)]
        with whole_file(out, "the out-of-sample equity") as partial:
            pl.concat(curves).write_parquet(partial)
    if as_json:
        facts = found.to_dict()
        if opened is not None:
            facts["holdout"] = {**opened.__dict__, "start": str(opened.start), "end": str(opened.end)}
        print_json(facts)
        return OK
    rows = [
        [fold.fold, fold.test[0].start, fold.test[-1].end, fold.number, fold.train_value, fold.test_value]
        for fold in found.folds
    ]
    print_table(["fold", "test from", "to", "trial", f"train {found.objective}", "test"], rows)
    ends = [f"{float(curve['equity'][-1]):.4f}" for curve in found.curves if curve.height]
    say(f"out-of-sample equity ends at {', '.join(ends)} times the cash")
    if found.efficiency is not None:
        say(f"walk-forward efficiency {found.efficiency:.2f} (mean test value over mean train value)")
    if opened is not None:
        say(
            f"holdout {opened.start} to {opened.end}: trial {opened.number} has {opened.value}, look {opened.openings}"
        )
        if opened.openings > 1:
            say("this holdout has been looked at before: it is no test any more")
    elif found.sealed_from is not None:
        say(
            f"the time from {found.sealed_from} on is sealed; --holdout runs the winner on it, and counts the look"
        )
    return OK


def report(target: str, overrides: Sequence[str], ledger: Path, out: Path | None) -> int:
    """Write the page of a study."""
    from pathlib import Path

    from akq_dist.sweep import report_study

    made = report_study(target, ledger=ledger, overrides=overrides)
    say(f"written to {made.save(out or Path(f'{made.study}-report.html'))}")
    return OK


def replay_trial(study: str, trial: int, ledger: Path, *, as_json: bool) -> int:
    """Run a recorded trial again; the exit code is 1 when anything differs."""
    from akq_dist.sweep import replay

    return _report_replay(replay(study, trial, ledger=ledger), as_json=as_json)


def replay_run(run_id: str, tracking_uri: str, *, as_json: bool) -> int:
    """Run a trial again from its MLflow run alone; the exit code is 1 when anything differs."""
    from akq_dist.sweep import replay_run

    return _report_replay(replay_run(run_id, tracking_uri=tracking_uri), as_json=as_json)


def _report_replay(report: ReplayReport, *, as_json: bool) -> int:
    if as_json:
        print_json(report.to_dict())
    else:
        print(f"{report.study} trial {report.number}: {params_text(report.params)}")
        print("identical, bit for bit" if report.same else "NOT identical")
        for line in report.differences:
            print(f"  {line}")
        if report.build != report.recorded_build:
            print(f"recorded by build {report.recorded_build}, run by {report.build}")
    return 0 if report.same else 1


def _command(name: str, target: str, overrides: Sequence[str]) -> str:
    """Return the command that goes on with what this one has begun."""
    return shlex.join(
        ["akq", "sweep", name, target, *(part for text in overrides for part in ("--set", text))]
    )


def _run(handle: Sweep, view: ProgressView, *, again: str, as_json: bool) -> int:
    try:
        with view, _interruptible(handle, view):
            handle.run()
        if as_json:
            print_json(handle.summary())
            _say_state(handle, again)
        else:
            _report(handle, again)
        return handle.exit_code
    finally:
        handle.close()


@contextmanager
def _interruptible(handle: Sweep, view: ProgressView) -> Iterator[None]:
    """Ctrl-C once lets what runs come to an end, for a few seconds; twice leaves at once."""
    asked = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if asked.is_set():
            sys.stderr.write("\nstopped at once; the study can be resumed\n")
            sys.stderr.flush()
            # Not an exception: cleaning up could take as long as what is being left.
            os._exit(INTERRUPTED)
        asked.set()
        view.note("stopping: what runs has 5 seconds to end; Ctrl-C again stops at once")
        handle.cancel()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)


def _report(handle: Sweep, again: str) -> None:
    """Say what came out, where it is recorded and what to do next."""
    from akq_dist.cli.study_commands import best_records, print_best

    facts = handle.summary()
    trials = facts["trials"]
    n_workers = facts["workers"]
    took = "nothing was left to run"
    if facts["executor"] is not None:
        took = (
            f"searched in {duration_text(facts['wall_s'])} on {facts['executor']} "
            f"with {n_workers} worker{'s' * (n_workers != 1)} "
            f"({count_text(facts['trials_per_s'])} trials/s, {count_text(facts['bars_per_s'])} bars/s)"
        )
    pruned = f"{trials['pruned']:,} pruned, " if trials["pruned"] else ""
    say(
        f"{facts['study']}: {trials['complete']:,} complete, {trials['failed']:,} failed, {pruned}"
        f"{trials['cached']:,} from the cache, of {trials['total']:,} trials; {took}"
    )
    _say_failures(handle, trials["failed"])
    store = handle._store()
    records = best_records(store, N_SHOWN)
    if records:
        print_best(store.study, records)
    else:
        say("no trial is complete and meets the constraints")
    _say_state(handle, again)
    say(f"data {facts['data_digest'][:16]}  results {facts['result_hash'][:16]}")
    judged = f"   |   akq sweep validate {facts['study']}" if handle.spec.validate_ is not None else ""
    say(f"next: akq ui {facts['study']}   |   akq study best {facts['study']}{judged}{_replay_hint(facts)}")


def _say_state(handle: Sweep, again: str) -> None:
    if handle.state == "cancelled":
        say(f"interrupted; go on with: {again}")
    elif handle.state == "timeout":
        say(f"the time limit is reached; go on with: {again}")
    elif handle.state == "failed":
        say(f"stopped: {handle.reason}")


def _say_failures(handle: Sweep, n_failed: int) -> None:
    """Show one failed trial; the others are in the ledger."""
    if not n_failed:
        return
    import polars as pl

    failed = handle.results().filter(pl.col("state") == "fail").select("number", "reason").rows()
    undefined = sum(reason == "undefined" for _, reason in failed)
    errors = [(number, reason) for number, reason in failed if reason != "undefined"]
    if undefined:
        say(f"{undefined:,} trials have an undefined objective (no trade, or too few assets with a value)")
    if errors:
        number, reason = errors[0]
        last = str(reason).strip().splitlines()[-1]
        say(f"{len(errors):,} trials failed with an error; trial {number}: {last}")


def _replay_hint(facts: dict[str, Any]) -> str:
    best = facts["best"]
    first = best[0] if isinstance(best, list) and best else best
    return "" if not first else f"   |   akq replay {facts['study']} {first['number']}"
