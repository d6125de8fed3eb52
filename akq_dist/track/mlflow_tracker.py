"""Tracker on MLflow: one parent run for the sweep, one child run a trial.

Everything goes through MLflow's public client, except child runs in a database whose layout is known: those are
inserted in bulk. A study keeps the writer it began with, in the tag `akq.writer` of its parent.
"""

from __future__ import annotations

import getpass
import json
import logging
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from akq_dist.errors import TrackerError
from akq_dist.record.protocols import SweepInfo, TrackerLinks
from akq_dist.track import bulk, mlflow_env, notes, registry, store
from akq_dist.track.policy import is_http
from akq_dist.track.run_values import (
    MAX_TAG_CHARS,
    SOURCE,
    TRIALS_PER_BLOCK,
    TextValues,
    clean_key,
    split_metrics,
    sweep_params,
    trial_name,
    trial_values,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from akq_dist.record.protocols import TrialDetail, TrialRecord
    from akq_dist.track.run_values import RunValues

log = logging.getLogger(__name__)

_ENDED = {"FINISHED", "FAILED", "KILLED"}
_SWEEP_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_MAX_PARAMS, _MAX_METRICS, _MAX_TAGS, _MAX_ENTITIES = 100, 1_000, 100, 1_000
_MAX_DIGEST_CHARS = 36
_SAMPLE_ROWS = 1_000
_WRITER_TAG, _BULK, _PUBLIC = "akq.writer", "bulk", "public"
_NOTE = "mlflow.note.content"
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Without it the UI takes runs for those of a language model."""


@dataclass(frozen=True)
class MlflowOptions:
    """Settings of the tracker; the defaults suit everybody."""

    connections: int = 6
    """Requests in parallel to a server; a database is written by one thread, which is faster there."""
    tables: tuple[str, ...] = ("equity", "trades", "metrics")
    """Tables of a trial that are kept as artifacts."""
    analyze_after: int = 1_000
    """New runs after which a SQLite store counts its tables, without which its run list becomes slow; and again
    whenever there are twice as many.
    """
    bulk: bool = True
    """Insert child runs in bulk where the store allows it; otherwise every run goes through the client."""


class MlflowTracker:
    """Writes a sweep and its trials to an MLflow store; one process writes a sweep, `open` imports MLflow."""

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifact_root: str | None = None,
        options: MlflowOptions | None = None,
    ) -> None:
        """`artifact_root` is a folder or URI for the files of an experiment that is made now."""
        self._uri = store.absolute_uri(uri)
        self._experiment = experiment
        self._artifact_root = artifact_root
        self._options = options or MlflowOptions()
        self._client: Any = None
        self._info: SweepInfo | None = None
        self._experiment_id = ""
        self._parent_id = ""
        self._must_look = False
        """True where runs can be in the store that this tracker does not know to be finished."""
        self._n_seen = 0
        """Trials below this number may have a run."""
        self._n_new = self._n_analyzed = 0
        """New runs, and how many there were when the tables were sampled."""
        self._n_unrefined = 0
        """New runs since every row was counted."""
        self._pool: ThreadPoolExecutor | None = None
        self._dataset: Any = None
        """The data of the sweep, an input of every run."""
        self._interrupted = threading.Event()
        self._bulk: bulk.BulkWriter | None = None
        """None where the client writes the child runs."""

    def open(self, info: SweepInfo) -> TrackerLinks:
        """Find the parent of the sweep, also one that a dead driver left running, or make it."""
        mlflow_env.prepare_environment()
        mlflow_env.knock(self._uri)
        is_new = store.make_file(self._uri)
        client_class = mlflow_env.import_client()
        with self._requests():
            self._client = client_class(tracking_uri=self._uri)
            self._experiment_id = self._find_or_make_experiment()
            if is_new:
                store.keep_tables(self._uri)
            found = self._find_parent(info)
            self._info = info
            self._must_look = found is not None
            self._choose_writer(found)
            self._parent_id = self._make_parent(info) if found is None else found.info.run_id
            self._describe_parent(info, found)
        return TrackerLinks(self._uri, self._experiment_id, self._parent_id)

    @property
    def block(self) -> int:
        """Trials for one call of `record`: one transaction in bulk, some seconds through the client."""
        return TRIALS_PER_BLOCK if self._bulk is None else bulk.RUNS_PER_TRANSACTION

    def record(self, trials: Sequence[TrialRecord]) -> None:
        """Make and finish the runs of some trials; existing ones are left alone, half-made ones completed."""
        info = self._opened()
        if self._bulk is not None:
            trials = self._record_in_bulk(self._bulk, trials, info)
        for first in range(0, len(trials), TRIALS_PER_BLOCK):
            block = trials[first : first + TRIALS_PER_BLOCK]
            with self._requests():
                numbers = [trial.number for trial in block]
                must_look = self._must_look or self._bulk is not None or min(numbers) < self._n_seen
                existing = self._children(numbers) if must_look else {}
                self._n_seen = max(self._n_seen, max(numbers) + 1)
                todo = [trial for trial in block if not _has_ended(existing.get(trial.number))]
                self._each(
                    [
                        (trial_values(trial, info, self._parent_id), existing.get(trial.number))
                        for trial in todo
                    ]
                )
            self._count_new(len(todo))

    def progress(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of the parent at a step; values that are not finite are left out."""
        self._opened()
        finite, _ = split_metrics(metrics)
        with self._requests():
            self._log(self._parent_id, {}, finite, {}, _now_ms(), step)

    def detail(self, details: Sequence[TrialDetail]) -> None:
        """Keep tables of trials as Parquet files of their runs, or of the parent where a trial has no run."""
        self._opened()
        for first in range(0, len(details), TRIALS_PER_BLOCK):
            block = details[first : first + TRIALS_PER_BLOCK]
            with self._requests():
                run_ids = self._run_ids([detail.number for detail in block])
                for detail in block:
                    self._keep_tables(detail, run_ids.get(detail.number))

    def finish(
        self,
        status: Literal["finished", "failed", "interrupted"],
        trials: pa.Table,
        summary: Mapping[str, float],
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Close the parent with the table of all trials, further files and the figures that sum the sweep up."""
        self._opened()
        finite, undefined = split_metrics(summary)
        tags = {"akq.status": status, "akq.n_trials": str(trials.num_rows)}
        tags |= {clean_key(f"undefined.{name}"): value for name, value in undefined.items()}
        with self._requests():
            with tempfile.TemporaryDirectory(prefix="akq-") as folder:
                path = Path(folder) / "trials.parquet"
                _write_parquet(trials, path)
                self._client.log_artifact(self._parent_id, str(path))
            for name, text in (files or {}).items():
                self._client.log_text(self._parent_id, text, name)
            self._log(self._parent_id, {}, finite, tags, _now_ms(), trials.num_rows)
            self._client.set_terminated(self._parent_id, _SWEEP_STATUS[status])
        if self._n_unrefined:
            self._refresh_statistics()
            self._n_unrefined = 0

    def promote(self, trial: TrialRecord) -> None:
        """Enter a recorded trial into the model registry, as the version that the alias `candidate` names.

        The version is a folder of texts that running the trial again takes; doing it twice changes nothing.
        """
        info = self._opened()
        with self._requests():
            run_id = self._run_ids([trial.number]).get(trial.number)
            self._client.set_tag(self._parent_id, "akq.winner", run_id or "")
            note = f"{notes.description(info)}\n\n{notes.winner(info, trial, self._parent_id)}"
            self._client.set_tag(self._parent_id, _NOTE, note[:MAX_TAG_CHARS])
            registry.promote(
                self._client, store.safe_name(self._experiment), self._parent_id, run_id, trial, info
            )

    def interrupt(self) -> None:
        """End `record` after the runs that are under way; from any thread, and for good."""
        self._interrupted.set()

    def close(self) -> None:
        """Let go of the store; the parent keeps its state. Safe to call twice."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None
        self._close_bulk()
        self._client = None

    # The experiment and the parent

    def _find_or_make_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(self._experiment)
        if experiment is None:
            location = store.artifact_location(self._uri, self._experiment, self._artifact_root)
            try:
                return str(self._client.create_experiment(self._experiment, location, dict(_EXPERIMENT_TAGS)))
            except MlflowException:
                # Another sweep may have made it a moment ago; any other fault comes back below.
                experiment = self._client.get_experiment_by_name(self._experiment)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage != "active":
            raise TrackerError(
                f"the MLflow experiment {self._experiment!r} has been deleted; restore it with "
                f"`mlflow experiments restore -x {experiment.experiment_id}` or rename track.experiment"
            )
        return str(experiment.experiment_id)

    def _find_parent(self, info: SweepInfo) -> Any:
        runs = self._client.search_runs(
            [self._experiment_id],
            f"tags.`akq.study_id` = '{_quoted(info.study_id)}' and tags.`akq.kind` = 'sweep'",
            max_results=1,
            order_by=["attributes.start_time ASC"],
        )
        return runs[0] if runs else None

    def _make_parent(self, info: SweepInfo) -> str:
        # The writer is part of the first request: no run of the sweep is ever without it.
        tags = {"akq.kind": "sweep", "akq.study_id": info.study_id, _WRITER_TAG: self._writer}
        run = self._client.create_run(
            self._experiment_id, tags=tags, run_name=info.study, start_time=_now_ms()
        )
        return str(run.info.run_id)

    def _describe_parent(self, info: SweepInfo, found: Any) -> None:
        """Write whatever of the description is not there yet; parameters cannot be written twice."""
        texts = _sweep_texts(info)
        texts.tags[_WRITER_TAG] = self._writer
        known = {} if found is None else found.data.params
        params = {key: value for key, value in texts.params.items() if key not in known}
        self._log(self._parent_id, params, {}, texts.tags, 0, 0)
        self._dataset = _dataset_input(info)
        if found is None or not found.inputs.dataset_inputs:
            self._client.log_inputs(self._parent_id, [self._dataset])
        self._client.set_experiment_tag(
            self._experiment_id, notes.view_tag(self._parent_id), notes.trials_view(info, self._parent_id)
        )
        if self._bulk is not None:
            self._bulk.use_dataset(self._dataset)
        files = {"sweep.yaml": info.spec_yaml, **texts.files, **info.files}
        files["environment.json"] = json.dumps(dict(info.environment), indent=2, sort_keys=True)
        self._keep_texts(self._parent_id, files)
        if found is not None and found.info.status != "RUNNING":
            self._client.update_run(self._parent_id, status="RUNNING")

    # Who writes the trials

    @property
    def _writer(self) -> str:
        return _PUBLIC if self._bulk is None else _BULK

    def _choose_writer(self, found: Any) -> None:
        """Use bulk for a study that began with it, or begins now, where the store has a known layout.

        The client finds runs written in bulk by their tags, so a study can change to it, but never back: the
        ids of its runs are its own.
        """
        self._close_bulk()
        began_in_bulk = found is None or found.data.tags.get(_WRITER_TAG) == _BULK
        if self._options.bulk and began_in_bulk:
            location = self._client.get_experiment(self._experiment_id).artifact_location
            self._bulk = bulk.open_writer(self._uri, self._experiment_id, location)

    def _record_in_bulk(
        self, writer: bulk.BulkWriter, trials: Sequence[TrialRecord], info: SweepInfo
    ) -> Sequence[TrialRecord]:
        """Insert trials, complete those that have files, and return those that the client has to write."""
        with self._requests():
            try:
                written = writer.write(
                    self._parent_id, trials, lambda trial: trial_values(trial, info, self._parent_id)
                )
            except bulk.UnknownSchemaError as error:
                log.warning("%s; the client writes the trials from here on", error)
                self._client.set_tag(self._parent_id, _WRITER_TAG, _PUBLIC)
                self._close_bulk()
                self._must_look = True
                return trials
            for run_id, values in written.unfinished:
                self._check_interrupted()
                self._keep_texts(run_id, values.files)
                self._client.set_terminated(run_id, values.status, end_time=values.end_ms)
        self._count_new(written.n_new)
        return [trial for trial in trials if trial.number in written.refused]

    def _close_bulk(self) -> None:
        if self._bulk is not None:
            self._bulk.close()
            self._bulk = None

    # Trials

    def _run_ids(self, numbers: Sequence[int]) -> dict[int, str]:
        """Find the ids of the runs of trials by number."""
        found = {} if self._bulk is None else self._bulk.present(self._parent_id, numbers)
        others = [number for number in numbers if number not in found]
        if others:
            found |= {number: str(run.info.run_id) for number, run in self._children(others).items()}
        return found

    def _children(self, numbers: Sequence[int]) -> dict[int, Any]:
        """Find runs of trials by number; a double one, which no writer of ours makes, is deleted."""
        info = self._opened()
        wanted = set(numbers)
        found: dict[int, Any] = {}
        for block in sorted({number // TRIALS_PER_BLOCK for number in wanted}):
            runs = self._client.search_runs(
                [self._experiment_id],
                f"tags.`akq.study_id` = '{_quoted(info.study_id)}' and tags.`akq.block` = '{block}'",
                max_results=10 * TRIALS_PER_BLOCK,
            )
            # Of two runs of a trial the one that has ended stays.
            for run in sorted(runs, key=lambda run: (not _has_ended(run), run.info.run_id)):
                number = int(run.data.tags["akq.number"])
                if number in found:
                    self._client.delete_run(run.info.run_id)
                elif number in wanted:
                    found[number] = run
        return found

    def _each(self, work: list[tuple[RunValues, Any]]) -> None:
        if not is_http(self._uri) or len(work) < 2:
            for values, existing in work:
                self._write_run(values, existing)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._options.connections, thread_name_prefix="akq-mlflow")
        futures = [self._pool.submit(self._write_run, values, existing) for values, existing in work]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]

    def _write_run(self, values: RunValues, existing: Any) -> None:
        """Make, fill and end a run; it counts as recorded only once it has ended."""
        self._check_interrupted()
        known: Mapping[str, str] = {}
        if existing is None:
            run = self._client.create_run(
                self._experiment_id, start_time=values.start_ms, tags=dict(values.tags), run_name=values.name
            )
            run_id = run.info.run_id
        else:
            run_id, known = existing.info.run_id, existing.data.params
        params = {key: value for key, value in values.params.items() if key not in known}
        try:
            self._log(run_id, params, values.metrics, {}, values.end_ms, 0)
        except mlflow_env.store_errors() as error:
            if not mlflow_env.is_refusal(error):
                raise
            # Trying again cannot help, and one odd value must not hold up every later trial.
            reason = str(mlflow_env.explain(error, self._uri))
            log.warning("%s: some values were refused by the tracking store: %s", values.name, reason)
            self._client.set_tag(run_id, "akq.refused", reason[:1_000])
        if existing is None or not existing.inputs.dataset_inputs:
            self._client.log_inputs(run_id, [self._dataset])
        self._keep_texts(run_id, values.files)
        self._client.set_terminated(run_id, values.status, end_time=values.end_ms)

    def _log(
        self,
        run_id: str,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        time_ms: int,
        step: int,
    ) -> None:
        """Write values in as few requests as the limits of a server allow."""
        from mlflow.entities import Metric, Param, RunTag

        all_params = [Param(key, value) for key, value in params.items()]
        all_tags = [RunTag(key, value) for key, value in tags.items()]
        all_metrics = [Metric(key, value, time_ms, step) for key, value in metrics.items()]
        while all_params or all_tags or all_metrics:
            some_params, all_params = all_params[:_MAX_PARAMS], all_params[_MAX_PARAMS:]
            some_tags, all_tags = all_tags[:_MAX_TAGS], all_tags[_MAX_TAGS:]
            room = min(_MAX_METRICS, _MAX_ENTITIES - len(some_params) - len(some_tags))
            some_metrics, all_metrics = all_metrics[:room], all_metrics[room:]
            self._client.log_batch(
                run_id, metrics=some_metrics, params=some_params, tags=some_tags, synchronous=True
            )

    def _keep_texts(self, run_id: str, files: Mapping[str, str]) -> None:
        if not files:
            return
        with tempfile.TemporaryDirectory(prefix="akq-") as folder:
            for name, text in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            self._client.log_artifacts(run_id, folder)

    def _keep_tables(self, detail: TrialDetail, run_id: str | None) -> None:
        names = [name for name in self._options.tables if name in detail.tables]
        with tempfile.TemporaryDirectory(prefix="akq-") as folder:
            for name in names:
                _write_parquet(detail.tables[name], Path(folder) / f"{name}.parquet")
            if run_id is None:
                self._client.log_artifacts(self._parent_id, folder, f"trials/{trial_name(detail.number)}")
            else:
                self._client.log_artifacts(run_id, folder)
                self._client.set_tag(run_id, "akq.artifacts", ",".join(names))

    # The store

    def _opened(self) -> SweepInfo:
        if self._info is None or self._client is None:
            raise TrackerError("internal: the tracker is used before it has been opened")
        return self._info

    def _check_interrupted(self) -> None:
        if self._interrupted.is_set():
            raise TrackerError("the tracker was told to stop")

    def _count_new(self, n_new: int) -> None:
        self._n_new += n_new
        self._n_unrefined += n_new
        # What statistics say about shares, not about counts, stays true while a store grows.
        if self._n_new >= max(self._options.analyze_after, 2 * self._n_analyzed):
            self._refresh_statistics(rows_per_index=_SAMPLE_ROWS)

    def _refresh_statistics(self, rows_per_index: int = 0) -> None:
        store.refresh_statistics(self._uri, rows_per_index=rows_per_index)
        self._n_analyzed = self._n_new

    @contextmanager
    def _requests(self) -> Iterator[None]:
        """Turn whatever the client raises into TrackerError, without secrets."""
        try:
            yield
        except TrackerError:
            raise
        except mlflow_env.store_errors() as error:
            raise mlflow_env.explain(error, self._uri) from None


def _sweep_texts(info: SweepInfo) -> TextValues:
    """Parameters and tags of the parent."""
    import yaml

    try:
        settings = yaml.safe_load(info.spec_yaml)
    except yaml.YAMLError:
        settings = None
    texts = sweep_params(settings if isinstance(settings, dict) else {})
    texts.tags |= {
        "akq.build": info.build,
        "akq.data_digest": info.data_digest,
        "akq.seed": str(info.seed),
        "akq.study": info.study,
        **SOURCE,
        "mlflow.user": _user(),
    }
    texts.tag(_NOTE, notes.description(info))
    if info.git_commit:
        texts.tags["mlflow.source.git.commit"] = info.git_commit
    for key, value in info.tags.items():
        texts.tag(clean_key(key), value)
    return texts


def _dataset_input(info: SweepInfo) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = {"source": info.data_source, "digest": info.data_digest}
    profile = {"num_rows": info.n_rows, "num_symbols": len(info.symbols)}
    dataset = Dataset(
        name=f"{info.study}-bars"[:500],
        digest=info.data_digest.rpartition(":")[2][:_MAX_DIGEST_CHARS],
        source_type="akq",
        source=json.dumps(source),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "backtest")])


def _write_parquet(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd")


def _has_ended(run: Any) -> bool:
    return run is not None and run.info.status in _ENDED


def _quoted(text: str) -> str:
    if "'" in text or "\\" in text:
        raise TrackerError(f"internal: {text!r} cannot be searched for")
    return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no name for this user, as in some containers
        return "unknown"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
