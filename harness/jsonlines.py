"""The run as JSON, one object per line, and back again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, TextIO

from .gauges import STANDARD
from .model import (
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
    Values,
    Variant,
    Verdict,
    View,
)
from .terminal import write

Json = dict[str, Any]


class JsonLines:
    """The sink for programs: one object per report (and per first failure), then the result."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._run: Run | None = None

    def __call__(self, event: Event) -> None:
        """Write `event`; of a run that was ended before it began there is nothing to write."""
        if self._run is None and not isinstance(event, Started):
            return
        if isinstance(event, Started):
            self._run = event.run
            notices = {"notices": list(event.notices), "server_port": event.run.server_port}
            self._write("report", sample_to_json(event.run.samples[0]) | notices)
        elif isinstance(event, Sampled):
            verdict = event.verdict and verdict_to_json(event.verdict)
            self._write("report", sample_to_json(event.sample) | {"verdict": verdict})
        elif isinstance(event, Failure):
            self._write("failure", asdict(event))
        elif isinstance(event, Exhaustion):
            self._write("exhaustion", _exhaustion_to_json(event))
        elif isinstance(event, Traced):
            self._write("evidence", asdict(event))
        elif isinstance(event, Ended):
            self._write("result", run_to_json(event.run) | {"interrupted": event.interrupted})

    def _write(self, kind: str, content: Json) -> None:
        assert self._run is not None
        of_run = {"lab": self._run.lab, "variant": self._run.variant, "pid": self._run.pid}
        write(self._stream, json.dumps({"event": kind, **of_run, **content}) + "\n")


def sample_to_json(sample: Sample) -> Json:
    """Return a sample as JSON has it: values by gauge name."""
    values = {gauge.name: value for gauge, value in sample.values.items()}
    return {"elapsed_s": sample.elapsed_s, "operations": sample.operations, "values": values}


def verdict_to_json(verdict: Verdict) -> Json:
    """Return a verdict as JSON has it: the gauge by its name."""
    return asdict(verdict) | {"gauge": verdict.gauge.name}


def run_to_json(run: Run) -> Json:
    """Return the result of a run, without the samples that were written before it."""
    return {
        "rate_hz": run.rate_hz,
        "fd_limit": run.fd_limit,
        "options": dict(run.options),
        "verdict": run.verdict and verdict_to_json(run.verdict),
        "failures": [asdict(failure) for failure in run.failures],
        "exhaustion": run.exhaustion and _exhaustion_to_json(run.exhaustion),
        "evidence": list(run.evidence),
        "views": [asdict(view) for view in run.views],
        **sample_to_json(run.samples[-1]),
    }


def _exhaustion_to_json(exhaustion: Exhaustion) -> Json:
    """Return it field by field: `asdict` would turn the gauges that are keys into dicts."""
    return {
        "sample": sample_to_json(exhaustion.sample),
        "message": exhaustion.message,
        "open_by_directory": dict(exhaustion.open_by_directory),
    }


class Reader:
    """Turns the lines of one run back into events; `run` is what is known of it so far."""

    def __init__(self, lab: Lab) -> None:
        self._gauges = {gauge.name: gauge for gauge in (*STANDARD, *lab.counters, *lab.gauges)}
        self.run: Run | None = None

    def events(self, line: str) -> list[Event]:
        """Return the events that one line stands for; `ValueError` when it is not ours."""
        try:
            return self._events(json.loads(line))
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"no line of a run: {type(error).__name__} {error}") from error

    def _events(self, content: Json) -> list[Event]:
        if content["event"] == "failure":
            return [_failure(content)]
        if content["event"] == "exhaustion":
            return [_exhaustion(content, self._sample(content["sample"]))]
        if content["event"] == "evidence":
            return [Traced(tuple(content["lines"]))]
        if content["event"] == "result":
            return self._ended(content)
        sample = self._sample(content)
        if self.run is None:
            self.run = _begun(content, sample)
            return [Started(self.run, tuple(content["notices"]))]
        self.run = replace(self.run, samples=(*self.run.samples, sample))
        return [Sampled(sample, self._verdict(content["verdict"]))]

    def _ended(self, content: Json) -> list[Event]:
        if self.run is None:
            return []
        last = self._sample(content)
        samples, refused = self.run.samples, content["exhaustion"]
        self.run = replace(
            self.run,
            samples=samples if samples[-1] == last else (*samples, last),
            rate_hz=content["rate_hz"],
            fd_limit=content["fd_limit"],
            options=content["options"],
            verdict=self._verdict(content["verdict"]),
            failures=tuple(_failure(failure) for failure in content["failures"]),
            exhaustion=refused and _exhaustion(refused, self._sample(refused["sample"])),
            evidence=tuple(content["evidence"]),
            views=tuple(_view(view) for view in content["views"]),
        )
        return [Ended(self.run, content["interrupted"])]

    def _sample(self, content: Json) -> Sample:
        return Sample(content["elapsed_s"], content["operations"], self._values(content["values"]))

    def _values(self, values: Mapping[str, float | None]) -> Values:
        return {self._gauge(name): value for name, value in values.items()}

    def _gauge(self, name: str) -> Gauge:
        return self._gauges.get(name) or Gauge(name, name, name)

    def _verdict(self, content: Json | None) -> Verdict | None:
        if content is None:
            return None
        return Verdict(**content | {"gauge": self._gauge(content["gauge"])})


def _begun(content: Json, sample: Sample) -> Run:
    variant = Variant(content["variant"])
    return Run(
        content["lab"],
        variant,
        content["pid"],
        rate_hz=0,
        fd_limit=None,
        server_port=content["server_port"],
        samples=(sample,),
    )


def _exhaustion(content: Json, sample: Sample) -> Exhaustion:
    return Exhaustion(sample, content["message"], content["open_by_directory"])


def _failure(content: Json) -> Failure:
    return Failure(**{field.name: content[field.name] for field in fields(Failure)})


def _view(content: Json) -> View:
    return View(**content | {"lines": tuple(content["lines"])})
