"""A pytest plugin for CI: a skip is a failure, unless the test is marked `gpu`, `weights` or `cluster`."""

from collections.abc import Generator

import pytest

Report = pytest.TestReport | pytest.CollectReport


def _refuse(report: Report) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome, report.longrepr = "failed", f"CI allows no skip: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Report, Report]:
    report = yield
    excused = any(item.get_closest_marker(name) for name in ("gpu", "weights", "cluster"))
    if report.skipped and not excused and not hasattr(report, "wasxfail"):
        _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Report, Report]:
    report = yield
    if report.skipped:  # a whole file, by importorskip
        _refuse(report)
    return report
