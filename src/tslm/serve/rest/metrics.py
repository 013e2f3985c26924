"""Figures for Prometheus."""

from collections.abc import Callable
from functools import partial

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

from tslm.serve.jobs.store import STATES

MEDIA_TYPE = CONTENT_TYPE_LATEST
_NIGHT_S = (1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """Figures of one service, in a registry of their own."""

    def __init__(self, count_jobs: Callable[[str], int], measure_worker_bytes: Callable[[], int]) -> None:
        """Set up.

        Args:
            count_jobs: number of jobs in a state.
            measure_worker_bytes: resident memory of all workers.
        """
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.uploads = Counter("tslm_uploads", "Recordings taken", registry=self._registry)
        self.uploaded_bytes = Counter("tslm_uploaded_bytes", "Bytes of recordings taken", registry=self._registry)
        self.refused = Counter("tslm_refused", "Recordings refused", ["status"], registry=self._registry)
        self.nights = Counter("tslm_nights", "Nights ended", ["state"], registry=self._registry)
        self.night_s = Histogram("tslm_night_seconds", "Work on a night", buckets=_NIGHT_S, registry=self._registry)
        jobs = Gauge("tslm_jobs", "Jobs in each state", ["state"], registry=self._registry)
        for state in STATES:
            jobs.labels(state).set_function(partial(count_jobs, state))
        workers = Gauge("tslm_workers_resident_bytes", "Memory of all workers", registry=self._registry)
        workers.set_function(measure_worker_bytes)

    def end_night(self, state: str, wall_s: float) -> None:
        """A night has ended."""
        self.nights.labels(state).inc()
        self.night_s.observe(wall_s)

    def render(self) -> str:
        """All figures as text."""
        return generate_latest(self._registry).decode()
