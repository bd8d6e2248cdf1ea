"""Makes every skip a failure where nothing may be skipped: with --fail-on-skip, or CI set."""

import os

import pytest


def pytest_addoption(parser):
    """Add the option that stands for CI."""
    parser.addoption("--fail-on-skip", action="store_true", help="a skipped test is a failed one")


def _strict(config):
    return config.getoption("--fail-on-skip") or os.environ.get("CI", "") not in ("", "0", "false")


def _fail(report):
    """Turn a skip into a failure that tells its reason; an expected failure stays one."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped here: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Let no test be skipped."""
    report = yield
    if _strict(item.config):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Let no module be skipped."""
    report = yield
    if _strict(collector.config):
        _fail(report)
    return report
