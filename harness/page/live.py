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
from harness.samples import Samples, with_one_more
from harness.table import exhaustion_s


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
        if isinstance(event, Started):
            self._run = event.run
        elif self._run:
            self._run = _after(self._run, event)
        self.has_ended = isinstance(event, Ended)
        self.changes += 1

    def latest(self) -> Run | None:
        """Return what is known of the run by now, `None` before it begins."""
        return self._run

    def as_json(self) -> Json:
        """Return all that the page shows of the run; `samples` is empty before it begins."""
        about = {"changes": self.changes, "ended": self.has_ended, "beside": self._beside}
        lab = {"lab": self._lab.name, "title": self._lab.title}
        return {**about, **lab, **_run_to_json(self._lab, self._run)}


def _after(run: Run, event: Event) -> Run:
    """Return the run as it is known after `event`."""
    if isinstance(event, Ended):
        return replace(event.run, samples=_and(run, event.run.samples[-1]))
    if isinstance(event, Sampled):
        verdict = event.verdict or run.verdict
        return replace(run, samples=_and(run, event.sample), verdict=verdict)
    if isinstance(event, Exhaustion):
        return replace(run, samples=_and(run, event.sample), exhaustion=event)
    if isinstance(event, Failure):
        return replace(run, failures=(*run.failures, event))
    return replace(run, evidence=event.lines) if isinstance(event, Traced) else run


def _and(run: Run, sample: Sample) -> Samples:
    """Return the samples with one more, unless it is the last already."""
    return run.samples if run.samples[-1] == sample else with_one_more(run.samples, sample)


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
