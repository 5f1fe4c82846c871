"""What a server counts, for Prometheus."""

import prometheus_client as prometheus

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server, in a registry of its own.

    Args:
        bank: a `TaskBank`.
        tasks: a `TaskFolder`.
    """

    def __init__(self, bank, tasks):
        registry = self.registry = prometheus.CollectorRegistry()

        def gauge(name, words, read):
            made = prometheus.Gauge(name, words, registry=registry)
            made.set_function(read)
            return made

        self.requests = prometheus.Counter(
            "keras_memvit_requests",
            "Requests by route and status.",
            ("route", "status"),
            registry=registry,
        )
        self.seconds = prometheus.Histogram(
            "keras_memvit_request_seconds",
            "Seconds a request took.",
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_size = prometheus.Histogram(
            "keras_memvit_batch_images",
            "Images a pass.",
            buckets=SIZES,
            registry=registry,
        )
        self.batch_seconds = prometheus.Histogram(
            "keras_memvit_batch_seconds",
            "Seconds a pass took.",
            buckets=SECONDS,
            registry=registry,
        )
        gauge("keras_memvit_tasks", "Tasks there are.", lambda: len(tasks.specs))
        gauge("keras_memvit_tasks_loaded", "Tasks in memory.", lambda: len(bank))
        gauge("keras_memvit_task_bytes", "Their bytes.", lambda: bank.nbytes)
        gauge(
            "keras_memvit_compilations",
            "Passes compiled.",
            lambda: bank.num_compilations,
        )

    def watch(self, batcher):
        """Also counts what waits in a batcher's line."""
        waiting = prometheus.Gauge(
            "keras_memvit_waiting_images", "Images in line.", registry=self.registry
        )
        waiting.set_function(batcher.queue.qsize)

    def observe_batch(self, images, seconds):
        """Counts one pass."""
        self.batch_size.observe(images)
        self.batch_seconds.observe(seconds)

    def text(self):
        """All of it in Prometheus' text format, bytes."""
        return prometheus.generate_latest(self.registry)
