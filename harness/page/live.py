"""The run so far, as the live page shows it: a sink beside the console."""

from dataclasses import replace

from harness.gauges import OPEN_FDS, RSS_BYTES, TASKS
from harness.jsonlines import Json, sample_to_json
from harness.model import (
    Ended,
    Event,
    Exhaustion,
    Failure,
    Gauge,
    Lab,
    Run,
    Sample,
    Sampled,
    Started,
    Traced,
)
from harness.table import exhaustion_s

MOST_SAMPLES = 300
"""A curve has no more points than a chart has room for."""

Samples = tuple[Sample, ...]


class Live:
    """Keeps what is known of a run of `lab`, for readers in other threads.

    `beside` is the port at which a run of its twin would serve its own page. `changes` counts the
    events so far; each replaces the frozen `Run` whole, so that readers need no lock.
    """

    def __init__(self, lab: Lab, beside: int | None = None) -> None:
        self._lab = lab
        self._beside = beside
        self._run: Run | None = None
        self.changes = 0
        self.has_ended = False

    def __call__(self, event: Event) -> None:
        """Take note of `event`."""
        self._run = _after(self._run, event)
        self.has_ended = isinstance(event, Ended)
        self.changes += 1

    def as_json(self) -> Json:
        """Return all that the page shows of the run; `samples` is empty before it begins."""
        about = {"changes": self.changes, "ended": self.has_ended, "beside": self._beside}
        lab = {"lab": self._lab.name, "title": self._lab.title}
        return {**about, **lab, **_run_to_json(self._lab, self._run)}


def _after(run: Run | None, event: Event) -> Run | None:
    """Return the run as it is known after `event`; nothing is known before it starts."""
    if isinstance(event, Started | Ended):
        return _with_samples(event.run, event.run.samples)
    if run is None:
        return None
    if isinstance(event, Sampled):
        longer = _with_samples(run, (*run.samples, event.sample))
        return replace(longer, verdict=event.verdict or run.verdict)
    if isinstance(event, Exhaustion):
        return replace(_with_samples(run, (*run.samples, event.sample)), exhaustion=event)
    if isinstance(event, Failure):
        return replace(run, failures=(*run.failures, event))
    return replace(run, evidence=event.lines) if isinstance(event, Traced) else run


def _with_samples(run: Run, samples: Samples) -> Run:
    return replace(run, samples=thinned(samples))


def thinned(samples: Samples) -> Samples:
    """Drop every second sample until there are few enough; the first and the last stay."""
    while len(samples) > MOST_SAMPLES:
        samples = (*samples[:-1:2], samples[-1])
    return samples


def charted(lab: Lab) -> list[Gauge]:
    """Return the gauges that the page draws: what the lab watches first, no counters."""
    shown = (lab.watch, *lab.gauges, *lab.counters, OPEN_FDS, TASKS, RSS_BYTES)
    return [gauge for gauge in dict.fromkeys(shown) if not gauge.name.endswith("_total")]


def _run_to_json(lab: Lab, run: Run | None) -> Json:
    if run is None:
        return {"samples": []}
    gauges = {gauge for sample in run.samples for gauge in sample.values}
    return {
        "variant": run.variant,
        "pid": run.pid,
        "gauges": {gauge.name: gauge.title for gauge in gauges},
        "charts": [gauge.name for gauge in charted(lab) if gauge in gauges],
        "limit": {"gauge": OPEN_FDS.name, "value": run.fd_limit, **_end_of(run)},
        "verdict": _verdict(lab, run),
        "failures": [f"{each.kind}: {each.message}" for each in run.failures],
        "exhaustion": run.exhaustion and run.exhaustion.message,
        "evidence": list(run.evidence),
        "samples": [sample_to_json(sample) for sample in run.samples],
    }


def _end_of(run: Run) -> Json:
    return {"reached_after_s": exhaustion_s(run, run.fd_limit)}


def _verdict(lab: Lab, run: Run) -> Json:
    leaking = run.verdict.leaking if run.verdict else None
    says = {True: lab.warning, False: f"No leak! {lab.all_clear}", None: "Too early to say"}
    return {"leaking": leaking, "says": says[leaking]}
