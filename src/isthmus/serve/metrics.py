"""What Prometheus is told, in a registry of the service's own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "isthmus_requests",
            "Answers by path and status.",
            ["path", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "isthmus_request_seconds",
            "From the headers to the answer.",
            ["path"],
            registry=self.registry,
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
        )
        self.in_flight = Gauge(
            "isthmus_requests_in_flight", "Requests without an answer yet.", registry=self.registry
        )
        self.batch_rows = Histogram(
            "isthmus_batch_rows",
            "Instances that were run together.",
            registry=self.registry,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 10_000),
        )
        self.verdicts = Counter(
            "isthmus_verdicts",
            "Instances by bundle, output and verdict.",
            ["bundle", "output", "verdict"],
            registry=self.registry,
        )
        self.instances = Counter(
            "isthmus_instances", "Instances decided.", ["bundle"], registry=self.registry
        )
        self.reloads = Counter(
            "isthmus_reloads",
            "New versions of a bundle found on disk.",
            ["bundle", "result"],
            registry=self.registry,
        )
        self.serving = Gauge(
            "isthmus_bundle", "1 for the version served.", ["bundle", "digest"],
            registry=self.registry,
        )  # fmt: skip

    def render(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)
