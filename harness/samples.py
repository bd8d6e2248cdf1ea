"""How many samples of a run are kept: a run without end needs no memory without end."""

from .model import Sample

MOST = 300
"""As many as a chart has room for."""

Samples = tuple[Sample, ...]


def with_one_more(samples: Samples, sample: Sample) -> Samples:
    """Return `samples` and `sample`; where that is one too many, without another.

    It goes from where its neighbours are closest, so that those that stay are spread over the whole
    time, and the first and the last are among them.
    """
    more = (*samples, sample)
    if len(more) <= MOST:
        return more
    times_s = [each.elapsed_s for each in more]
    gaps_s = [after - before for before, after in zip(times_s, times_s[2:], strict=False)]
    dropped = gaps_s.index(min(gaps_s)) + 1
    return (*more[:dropped], *more[dropped + 1 :])
