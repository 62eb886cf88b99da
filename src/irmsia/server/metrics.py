"""What is counted for Prometheus, in a registry of its own. No label holds what a caller wrote.

`Metrics` also is an observer of the engine: it hears what was admitted, refused and answered, whatever the door.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from irmsia import __version__
from irmsia.findings.service import ServiceHealth
from irmsia.inference.protocol import Priority
from irmsia.wire import Diagnosis

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_STAGES = ("queue", "decode", "preprocess", "infer", "explain", "total")
_RISK = (10.0, 30.0, 50.0, 75.0, 100.0)
"""The cuts of risk.level in contract section 2."""


class Metrics:
    """Counters and histograms; may be told from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        to = self.registry
        self._requests = Counter("irmsia_requests", "Requests that ended", ["door", "call", "code"], registry=to)
        self._seconds = Histogram(
            "irmsia_request_seconds", "Time of a request", ["door", "call"], buckets=_SECONDS, registry=to
        )
        self._stages = Histogram("irmsia_stage_seconds", "Time of a stage", ["stage"], buckets=_SECONDS, registry=to)
        self._batch = Histogram(
            "irmsia_batch_images", "Images in one inference", buckets=(1, 2, 4, 8, 16, 32, 64), registry=to
        )
        self._admitted = Counter("irmsia_images_admitted", "Images let in", ["priority"], registry=to)
        self._refused = Counter("irmsia_images_turned_away", "Images not let in", ["priority", "code"], registry=to)
        self._dropped = Counter("irmsia_images_dropped", "Images given up by the caller", ["priority"], registry=to)
        self._answers = Counter("irmsia_answers", "Images answered", ["decision", "reason"], registry=to)
        self._failures = Counter("irmsia_failures", "Images that failed", ["code"], registry=to)
        self._risk = Histogram("irmsia_risk_score", "Risk of answered images", buckets=_RISK, registry=to)

    def requested(self, door: str, call: str, code: str, seconds: float) -> None:
        """A request of ``door`` ended. ``call`` and ``code`` are of a fixed list, never what a caller wrote."""
        self._requests.labels(door, call, code).inc()
        self._seconds.labels(door, call).observe(seconds)

    def admitted(self, priority: Priority) -> None:
        """The engine let an image in."""
        self._admitted.labels(priority.name).inc()

    def refused(self, priority: Priority, code: str) -> None:
        """The engine turned an image away."""
        self._refused.labels(priority.name, code).inc()

    def dropped(self, priority: Priority) -> None:
        """A caller gave an image up before the work began."""
        self._dropped.labels(priority.name).inc()

    def answered(self, diagnosis: Diagnosis, *, priority: Priority, batch: int) -> None:
        """The engine answered an image; ``batch`` images were in its inference, 0 without one."""
        if diagnosis.error is not None:
            self._failures.labels(diagnosis.error.code).inc()
        elif diagnosis.decision is not None:
            self._answers.labels(diagnosis.decision.value, diagnosis.reason.value if diagnosis.reason else "").inc()
        if diagnosis.risk is not None:
            self._risk.observe(diagnosis.risk.score)
        if batch:
            self._batch.observe(batch)
        for stage in _STAGES if diagnosis.timings_ms is not None else ():
            self._stages.labels(stage).observe(getattr(diagnosis.timings_ms, stage) / 1000.0)

    def watch(self, state: Callable[[], ServiceHealth], doors: Callable[[], dict[str, float]]) -> None:
        """Show how the service is and what the doors hold, as it is when somebody asks."""
        self.registry.register(_Now(state, doors))

    def render(self) -> tuple[bytes, str]:
        """The text format of Prometheus and its media type."""
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4


class _Now(Collector):
    """Gauges that are read when asked for."""

    def __init__(self, state: Callable[[], ServiceHealth], doors: Callable[[], dict[str, float]]) -> None:
        self._state = state
        self._doors = doors

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        health = self._state()
        yield _gauge("irmsia_ready", "Requests are taken", float(health.ready))
        yield _gauge("irmsia_images_waiting", "Images in the queue", health.waiting)
        yield _gauge("irmsia_images_running", "Images being worked on", health.running)
        yield _gauge("irmsia_queue_capacity", "Images that may wait", health.capacity)
        yield _gauge("irmsia_uptime_seconds", "Time since the start", health.uptime_s)
        for name, value in self._doors().items():
            yield _gauge(f"irmsia_{name}", name.replace("_", " ").capitalize(), value)
        info = GaugeMetricFamily("irmsia_model_info", "The model that answers", labels=["id", "name", "version"])
        if health.model is not None:
            info.add_metric([health.model.id, health.model.name, health.model.version], 1)
        yield info
        build = GaugeMetricFamily("irmsia_build_info", "The software that runs", labels=["version"])
        build.add_metric([__version__], 1)
        yield build


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, value=value)
