"""The Optuna view in a thread of its own, fed from the ledger."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from akq_dist.errors import AkqStudyError, MissingDependencyError, TrackerError, free_space
from akq_dist.record.files import is_full
from akq_dist.record.follower import Follower, StoreFullError
from akq_dist.record.sqlite import file_of
from akq_dist.specs.units import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from akq_dist.record.follower import Hold
    from akq_dist.record.protocols import TrialRecord
    from akq_dist.search.storage import OptunaView


class ViewThread(Follower):
    """Keeps an Optuna view up to date from the ledger without holding up the search."""

    def __init__(
        self,
        view: OptunaView,
        read: Callable[[int, int], Sequence[TrialRecord]],
        watermark: Callable[[int], None],
        *,
        hold: Hold | None = None,
    ) -> None:
        super().__init__(_CheckedView(view, read), read, watermark, name="akq-optuna-view", hold=hold)


class _CheckedView:
    """An Optuna view that is compared with the ledger whenever it is opened, and opened again after an error."""

    def __init__(self, view: OptunaView, read: Callable[[int, int], Sequence[TrialRecord]]) -> None:
        self._view = view
        self._read = read
        self.is_open = False

    @property
    def block(self) -> int:
        return self._view.piece

    def open(self) -> int:
        with self._store():
            n_held = self._view.open()
            if n_held:
                last = self._read(n_held - 1, 1)
                if not last:
                    raise AkqStudyError(
                        f"the Optuna storage {redact_url(self._view.url)} has {n_held} trials of this study, "
                        "more than the ledger. Name another storage in storage.optuna; it is filled from the ledger."
                    )
                self._view.check(last)
        self.is_open = True
        return n_held

    def add(self, trials: Sequence[TrialRecord]) -> None:
        with self._store():
            self._view.add(trials)

    def interrupt(self) -> None:
        """A transaction ends soon by itself."""

    def close(self) -> None:
        self._view.close()

    @contextmanager
    def _store(self) -> Iterator[None]:
        """Tell a storage that is away from a study that is wrong."""
        try:
            yield
        except (AkqStudyError, MissingDependencyError):
            raise
        # A storage raises errors of many drivers, and none may end the sweep.
        except Exception as error:
            self.is_open = False
            lines = redact_url(f"{type(error).__name__}: {error}").splitlines()
            path = file_of(self._view.url)
            if path is not None and is_full(error, path):
                raise StoreFullError(f"{path}: {lines[0]} ({free_space(path)})") from error
            raise TrackerError(lines[0]) from error
