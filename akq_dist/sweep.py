"""Sweeps: the public entry that joins search, record, tracking and an executor.

import akq_dist as akq

study = akq.sweep("sweeps/quickstart.yaml").run()
study.best.params
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from akq_dist.errors import AkqStudyError, AkqUsageError
from akq_dist.record.ledger import Ledger
from akq_dist.record.trials import TrialStore
from akq_dist.request import read_request
from akq_dist.search.ranking import best_of, best_trials
from akq_dist.search.session import Session, SessionOptions
from akq_dist.specs.units import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import polars as pl

    from akq_dist.record.agreement import Agreement
    from akq_dist.record.protocols import TrialRecord
    from akq_dist.request import Request
    from akq_dist.search.choose import Estimate
    from akq_dist.search.prepare import Prepared
    from akq_dist.search.progress import OnProgress, Progress
    from akq_dist.search.replay import ReplayReport
    from akq_dist.search.session import SessionResult
    from akq_dist.search.storage import OptunaStudy
    from akq_dist.search.study_page import Report
    from akq_dist.search.validation import HoldoutResult, Validation
    from akq_dist.specs import SweepFile, SweepSpec


def sweep(
    spec: SweepSpec | SweepFile | str | Path | Mapping[str, Any] | None = None,
    *,
    strategy: Any = None,
    data: Any = None,
    overrides: Sequence[str] = (),
    new: bool = False,
    accept_build: bool = False,
    on_progress: OnProgress | None = None,
    on_note: Callable[[str], None] | None = None,
    **settings: Any,
) -> Sweep:
    """Return a sweep that is ready to run; nothing has been read but its file.

    `spec` is a sweep file, its content as a mapping, or nothing; every other argument replaces a part of it:

    - `strategy`: a Strategy class, `Rules(...)`, or the mapping of a sweep file;
    - `data`: the mapping of a sweep file, or a Polars, pandas or Arrow table of bars;
    - `name`, `space`, `search`, `objective`, ...: sections of a sweep file by name;
    - `overrides`: texts such as `search.trials=100`.

    A study of the same name is resumed; `new` starts another beside it. `accept_build` goes on with a study
    of another engine build. Raises AkqUsageError for a request that makes no sense.
    """
    request = read_request(spec, strategy=strategy, data=data, overrides=overrides, settings=settings)
    options = SessionOptions(new=new, accept_build=accept_build)
    return Sweep(request, options, on_progress=on_progress, on_note=on_note)


def resume_study(
    target: str | Path,
    *,
    overrides: Sequence[str] = (),
    ledger: str | Path = "akq/ledger.db",
    accept_build: bool = False,
    on_progress: OnProgress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Sweep:
    """Return a sweep that goes on with a study, named by its sweep file or by its name in a ledger.

    Raises AkqStudyError when there is no such study.
    """
    if _is_file(target):
        request, study = read_request(target, overrides=overrides), None
    else:
        request, study = _recorded_request(str(target), Path(ledger), overrides)
    options = SessionOptions(accept_build=accept_build, must_exist=True, study=study)
    return Sweep(request, options, on_progress=on_progress, on_note=on_note)


class Sweep:
    """A sweep as a handle: run it here or in the background, look at what it found.

    Its results are those of the ledger, so a handle on a study that has run before has them without running.
    """

    def __init__(
        self,
        request: Request,
        options: SessionOptions | None = None,
        *,
        on_progress: OnProgress | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        self._request = request
        self._options = options or SessionOptions()
        self._session = Session(request, self._options, on_progress=on_progress, on_note=on_note)
        self._result: SessionResult | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._ran = False
        self._ledger: Ledger | None = None

    @property
    def spec(self) -> SweepSpec:
        """The sweep file as resolved."""
        return self._request.spec

    def run(self) -> Self:
        """Run or resume the study and wait for it; Ctrl-C once leaves it resumable.

        Raises AkqError for what a person can mend. A study with failed trials is no error: see `exit_code`.
        """
        self._claim()
        self._result = self._session.run()
        return self

    def start(self) -> Self:
        """Run the study in the background and return at once; `wait` waits and raises what went wrong."""
        self._claim()
        self._thread = threading.Thread(target=self._run_quietly, name="akq-sweep", daemon=True)
        self._thread.start()
        return self

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for a started study; False when the time is up first. Raises what the run raised."""
        if self._thread is None:
            return self._result is not None
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    @property
    def running(self) -> bool:
        """True while a started study runs."""
        return self._thread is not None and self._thread.is_alive()

    def cancel(self) -> None:
        """Stop soon and leave a resumable study; a second call also stops waiting for the views.

        Safe from any thread and from a signal handler.
        """
        self._session.cancel()

    def status(self) -> Progress | None:
        """Return how far the study has come, None before its first moment."""
        return self._session.last

    @property
    def state(self) -> str:
        """`ready`, `running`, `finished`, `timeout`, `cancelled` or `failed`."""
        if self._result is not None:
            return self._result.outcome.status
        return "running" if self.running else "failed" if self._error is not None else "ready"

    @property
    def exit_code(self) -> int:
        """Exit code of a command: 0, 4 for too many failed trials, 130 when interrupted."""
        return {"failed": 4, "cancelled": 130}.get(self.state, 0)

    @property
    def reason(self) -> str | None:
        """Why the study stopped before its end."""
        return None if self._result is None else self._result.outcome.reason

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong beside the trials, such as a tracking store that was away."""
        return () if self._result is None else self._result.warnings

    @property
    def name(self) -> str:
        """Name of the study: that of the sweep, numbered when it was started anew."""
        return self._store().study.name

    def results(self) -> pl.DataFrame:
        """Return one row a trial: number, state, values, `params_x`, metrics, reason, hash, timings."""
        import polars as pl

        frame = pl.from_arrow(self._store().results())
        assert isinstance(frame, pl.DataFrame)
        return frame

    @property
    def best(self) -> TrialRecord | None:
        """The best trial that meets the constraints, None while there is none.

        With several objectives see `pareto`.
        """
        records = self.pareto
        if len(self._store().study.objectives) > 1:
            raise AkqUsageError(
                "the sweep has several objectives, so there is no single best trial; use pareto."
            )
        return records[0] if records else None

    @property
    def pareto(self) -> list[TrialRecord]:
        """Every feasible trial that no other dominates, in number order.

        With one objective the best one alone.
        """
        if self._result is not None:
            return best_trials(self._result.prepared.judge, self._result.store)
        return best_of(self._store())

    @property
    def optuna_study(self) -> OptunaStudy:
        """The Optuna study in its storage."""
        url = self.spec.storage.optuna
        if url is None:
            raise AkqStudyError("storage.optuna is off, so there is no Optuna study.")
        from akq_dist.search.storage import load_optuna_study

        return load_optuna_study(url, self.name)

    @property
    def mlflow_run_id(self) -> str | None:
        """Id of the sweep's run in MLflow, None when tracking is off or away."""
        links = None if self._result is None else self._result.links
        return None if links is None else links.run_id

    def returns(self, numbers: Sequence[int] | None = None) -> pl.DataFrame:
        """Return what trials earned on every trading date: `date`, then a column a trial with its number as name.

        Without `numbers` these are all complete trials. They run again in this process, which takes as long as it
        took one process to run them; each has to give the recorded result. Values are returns of all accounts
        together as fractions, from the second date on, NaN where undefined. Raises AkqStudyError when the sweep has
        changed, AkqUsageError for more than 2^27 values.
        """
        from akq_dist.search.returns import returns_of

        return returns_of(self._prepare(), self._store(), numbers)

    def report(self) -> Report:
        """Return the study as one page that needs no network: `.save(path)`, or the last value of a notebook cell.

        It is made of the ledger; the winner runs again for its equity, and where that is impossible the page says
        why.
        """
        from akq_dist.search.study_page import make_report

        return make_report(self._store(), self._prepare)

    def validation(self, objective: str | None = None) -> Validation:
        """Judge the train-best trial of each fold on time that it has not seen; see `validate`.

        `objective` names the one that chooses where there are several. Trials run again over their test windows. Raises
        AkqStudyError for a sweep without `validate`.
        """
        from akq_dist.search.validation import validation

        return validation(self._prepare(), self._store(), objective)

    def open_holdout(self, objective: str | None = None, number: int | None = None) -> HoldoutResult:
        """Run the winner on the sealed time. Every call is counted, and only the first is an honest test.

        With several objectives name the value to report and the number of one of `pareto`.
        """
        from akq_dist.search.validation import open_holdout

        return open_holdout(self._prepare(), self._store(), objective, number)

    def estimate(self) -> Estimate:
        """Measure this machine for a moment and say what the sweep will cost; nothing is recorded."""
        from akq_dist.search.choose import estimate as measure
        from akq_dist.search.prepare import prepare

        return measure(prepare(self._request))

    def summary(self) -> dict[str, Any]:
        """Return what the run did as plain data: the object that `--json` prints."""
        if self._result is None:
            raise AkqStudyError("the sweep has not run yet; call run() or start() first.")
        result, store = self._result, self._result.store
        counts = store.counts()
        outcome = result.outcome
        best = [
            {"number": record.number, "values": list(record.values), "params": dict(record.params)}
            for record in best_trials(result.prepared.judge, store)
        ]
        rate = 1.0 / outcome.wall_s if outcome.wall_s > 0.0 else 0.0
        url = self.spec.storage.optuna
        links = result.links
        return {
            "study": store.study.name,
            "optuna": None if url is None else {"storage": redact_url(url), "study": store.study.name},
            "mlflow": None
            if links is None
            else {
                "tracking_uri": redact_url(links.tracking_uri),
                "experiment_id": links.experiment_id,
                "run_id": links.run_id,
            },
            "trials": {
                "complete": counts["complete"],
                "failed": counts["fail"],
                "pruned": counts["pruned"],
                "cached": counts["cached"],
                "total": counts["total"] if result.total is None else result.total,
            },
            "best": best if len(store.study.objectives) > 1 else best[0] if best else None,
            "executor": result.executor,
            "workers": result.n_workers,
            "wall_s": outcome.wall_s,
            "trials_per_s": outcome.n_finished * rate,
            "bars_per_s": outcome.n_bars * rate,
            "data_digest": result.prepared.data.digest,
            "result_hash": store.result_hash(),
        }

    def close(self) -> None:
        """Close the ledger. The handle opens it again when results are asked for."""
        if self._result is not None:
            self._result.store.ledger.close()
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _claim(self) -> None:
        if self._ran:
            raise AkqUsageError(
                "this handle has been run; make another with sweep(...), which resumes the study."
            )
        self._ran = True

    def _run_quietly(self) -> None:
        try:
            self._result = self._session.run()
        # The edge of a thread: `wait` raises it where the caller is.
        except BaseException as error:
            self._error = error

    def _prepare(self) -> Prepared:
        """Return the sweep with its data loaded."""
        from akq_dist.search.prepare import prepare

        return prepare(self._request) if self._result is None else self._result.prepared

    def _store(self) -> TrialStore:
        if self._result is not None:
            return self._result.store
        if self._ledger is None:
            self._ledger = Ledger(Path(self.spec.storage.ledger), must_exist=True)
        study = self._ledger.latest(self.spec.name)
        if study is None:
            raise AkqStudyError(
                f"the ledger {self._ledger.path} has no study '{self.spec.name}' yet; run the sweep."
            )
        return TrialStore(self._ledger, study)


def estimate(spec: SweepSpec | SweepFile | str | Path | Mapping[str, Any], **arguments: Any) -> Estimate:
    """Say what a sweep will cost on this machine; takes what `sweep` takes."""
    return sweep(spec, **arguments).estimate()


def replay(
    study: str | Path,
    number: int,
    *,
    ledger: str | Path = "akq/ledger.db",
    overrides: Sequence[str] = (),
    artifacts: str | Path | None = None,
) -> ReplayReport:
    """Run a recorded trial again and compare it bit for bit; `artifacts` is a folder for its tables.

    Raises AkqStudyError when there is no such trial, or when data or strategy are no longer those of the
    study.
    """
    from akq_dist.search.replay import replay_trial

    request, path, name = _study_request(study, Path(ledger), overrides)
    return replay_trial(request, path, name, number, artifacts=None if artifacts is None else Path(artifacts))


def replay_run(run_id: str, *, tracking_uri: str = "sqlite:///akq/mlflow.db") -> ReplayReport:
    """Run a trial again from its MLflow run alone, or the winner from the sweep's run, and compare.

    Needed beside MLflow are the data, which are read from where they were. Raises AkqStudyError when the run is
    no trial of a sweep or the data have changed, TrackerError when MLflow cannot be reached.
    """
    import tempfile

    from akq_dist.search.replay import replay_point
    from akq_dist.specs import parse_sweep
    from akq_dist.track.recorded import read_trial

    trial = read_trial(tracking_uri, run_id)
    settings = dict(trial.settings)
    folder = Path(trial.replay["folder"])
    with tempfile.TemporaryDirectory(prefix="akq-") as temporary:
        if trial.modules:
            # The strategy as it was, and not as a file of today says.
            settings["strategy"] = {"python": trial.replay["python"]}
            settings["params"] = trial.replay["fixed"]
            settings["data"] = _absolute(settings["data"], folder)
            folder = Path(temporary)
            for name, text in trial.modules.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text, encoding="utf-8")
        request = read_request(parse_sweep(settings, base_dir=folder))
        return replay_point(
            request,
            trial.study,
            trial.number,
            trial.params,
            data_digest=trial.data_digest,
            state=trial.state,
            recorded_hash=trial.hash,
            recorded_build=trial.build,
            recorded=trial.metric,
        )


def _absolute(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    path = data.get("path")
    return dict(data) if path is None else {**data, "path": str(folder / Path(path).expanduser())}


def sync(
    study: str | Path,
    *,
    ledger: str | Path = "akq/ledger.db",
    overrides: Sequence[str] = (),
    on_progress: Callable[[str, int], None] | None = None,
) -> list[str]:
    """Copy a study from the ledger to Optuna's storage and to MLflow; return what went wrong.

    Harmless to repeat.
    """
    from akq_dist.record.lock import StudyLock
    from akq_dist.search.prepare import prepare
    from akq_dist.search.views import sync_views

    request, path, name = _study_request(study, Path(ledger), overrides)
    book = Ledger(path, must_exist=True)
    try:
        with StudyLock(path, request.spec.name) as lock:
            return sync_views(prepare(request), book, lock, name, on_progress)
    finally:
        book.close()


def validate_study(
    study: str | Path,
    *,
    ledger: str | Path = "akq/ledger.db",
    overrides: Sequence[str] = (),
    objective: str | None = None,
    holdout: bool = False,
    number: int | None = None,
) -> tuple[Validation, HoldoutResult | None]:
    """Judge a recorded study on time that its trials have not seen; `holdout` opens the sealed time as well.

    With several objectives `objective` names the one that chooses, `number` the trial for the holdout.
    Raises AkqStudyError when there is no such study, it has no section `validate`, or the sweep has changed.
    """
    from akq_dist.search.prepare import prepare
    from akq_dist.search.validation import open_holdout, validation

    request, path, name = _study_request(study, Path(ledger), overrides)
    book = Ledger(path, must_exist=True)
    try:
        record = book.find(name)
        assert record is not None
        store, prepared = TrialStore(book, record), prepare(request)
        found = validation(prepared, store, objective)
        return found, open_holdout(prepared, store, objective, number) if holdout else None
    finally:
        book.close()


def report_study(
    study: str | Path, *, ledger: str | Path = "akq/ledger.db", overrides: Sequence[str] = ()
) -> Report:
    """Return a recorded study as one page; see `Sweep.report`. Raises AkqStudyError when there is no such study."""
    from akq_dist.search.prepare import prepare
    from akq_dist.search.study_page import make_report

    request, path, name = _study_request(study, Path(ledger), overrides)
    book = Ledger(path, must_exist=True)
    try:
        record = book.find(name)
        assert record is not None
        return make_report(TrialStore(book, record), lambda: prepare(request))
    finally:
        book.close()


def verify(
    study: str | Path,
    *,
    ledger: str | Path = "akq/ledger.db",
    overrides: Sequence[str] = (),
    repair: bool = False,
    on_progress: Callable[[str, int], None] | None = None,
) -> Agreement:
    """Compare ledger, Optuna and MLflow trial by trial; with `repair` make the views what the ledger says.

    Comparing needs neither data nor strategy. Raises AkqStudyError when there is no such study.
    """
    from akq_dist.search.agree import repair_study, verify_study

    request, path, name = _study_request(study, Path(ledger), overrides)
    if repair:
        return repair_study(request, path, name, on_progress)
    return verify_study(request.spec, path, name)


def _study_request(study: str | Path, ledger: Path, overrides: Sequence[str]) -> tuple[Request, Path, str]:
    """Return a request, its ledger and the name of its study, from a sweep file or a name."""
    if _is_file(study):
        request = read_request(study, overrides=overrides)
        path = Path(request.spec.storage.ledger)
        book = Ledger(path, must_exist=True)
        try:
            record = book.latest(request.spec.name)
        finally:
            book.close()
        if record is None:
            raise AkqStudyError(f"the ledger {path} has no study '{request.spec.name}'.")
        return request, path, record.name
    request, name = _recorded_request(str(study), ledger, overrides)
    return request, ledger, name


def _recorded_request(name: str, path: Path, overrides: Sequence[str]) -> tuple[Request, str]:
    """Return a study of the ledger as it was asked for, and its exact name."""
    from akq_dist.search.kept_source import kept_source
    from akq_dist.specs import parse_sweep
    from akq_dist.specs.suggest import did_you_mean

    book = Ledger(path, must_exist=True)
    try:
        record = book.find(name) or book.latest(name)
        known = [study.name for study in book.studies()]
        if record is None:
            raise AkqStudyError(f"the ledger {path} has no study {name!r}{did_you_mean(name, known)}")
        kept = kept_source(TrialStore(book, record))
    finally:
        book.close()
    spec = {**record.spec, "storage": {**record.spec.get("storage", {}), "ledger": str(path)}}
    for section, key in (("storage", "optuna"), ("track", "mlflow")):
        url = spec.get(section, {}).get(key)
        given = any(text.replace(" ", "").startswith(f"{section}.{key}=") for text in overrides)
        if isinstance(url, str) and "***" in url and not given:
            raise AkqStudyError(
                f"study '{name}' has a password in {section}.{key}, which the ledger does not keep; "
                f"name the sweep file instead, or pass --set {section}.{key}=..."
            )
    if spec.get("data", {}).get("source") == "frame":
        raise AkqStudyError(
            f"the bars of study '{name}' were given as a table; go on from the program that has it."
        )
    request = read_request(parse_sweep(spec, overrides, base_dir=record.base_dir))
    reference = request.spec.strategy.python
    if kept is not None and reference is not None:
        file = request.file.base_dir / reference.rpartition(":")[0]
        if not file.is_file():
            # A notebook, or a file that has gone: the study has its text. A file that is there is compared with it.
            request = replace(request, recorded=kept[0], params=kept[1])
    return request, record.name


def _is_file(target: str | Path) -> bool:
    return (
        isinstance(target, Path) or Path(target).suffix.lower() in (".yaml", ".yml", ".toml") or "/" in target
    )
