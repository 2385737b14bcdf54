"""When schedules are due."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from invoke_svc.jobs.cron import Cron, CronInvalid, Plan, TimeZoneInvalid, plan


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def told(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="minutes")[:16]


@pytest.mark.parametrize(
    ("cron", "zone", "now", "expected"),
    [
        ("*/5 * * * *", "", "2030-01-01T00:00:00", "2030-01-01T00:05"),
        ("*/5 * * * *", "", "2030-01-01T00:04:59.9", "2030-01-01T00:05"),
        ("0 9 * * mon", "Europe/Berlin", "2030-07-01T00:00:00", "2030-07-01T07:00"),
        ("30 2 * * *", "Europe/Berlin", "2030-03-30T12:00:00", "2030-03-31T01:00"),  # 02:30 is left out that night
        ("0 0 29 2 *", "", "2030-01-01T00:00:00", "2032-02-29T00:00"),
    ],
)
def test_the_next_time(cron: str, zone: str, now: str, expected: str) -> None:
    assert told(Cron(cron, zone).after(at(now))) == expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2030-01-01T00:04:59.98", "2030-01-01T00:04"),  # the next one has not come, however near it is
        ("2030-01-01T00:05:00", "2030-01-01T00:05"),
        ("2030-01-01T00:05:00.5", "2030-01-01T00:05"),
    ],
)
def test_the_latest_time(now: str, expected: str) -> None:
    assert told(Cron("* * * * *").latest(at("2030-01-01T00:00:00"), at(now))) == expected


@pytest.mark.parametrize("cron", ["", "* * * *", "* * * * * *", "61 * * * *", "0 0 30 2 *", "nonsense", "@daily"])
def test_what_is_no_cron_expression(cron: str) -> None:
    with pytest.raises(CronInvalid):
        Cron(cron).check(at("2030-01-01T00:00:00"))


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "/etc/localtime", "x" * 200])
def test_what_is_no_time_zone(zone: str) -> None:
    with pytest.raises(TimeZoneInvalid):
        Cron("* * * * *", zone).check(at("2030-01-01T00:00:00"))


HOURLY, DUE = Cron("0 * * * *"), at("2030-01-01T01:00:00")


def test_a_time_that_has_just_come() -> None:
    assert plan(HOURLY, DUE, DUE + 3, make_up=False) == Plan(DUE, DUE + 3600)


def test_times_that_were_missed_are_skipped_or_made_up_for_once() -> None:
    now = DUE + 5 * 3600 + 1800
    assert plan(HOURLY, DUE, now, make_up=False) == Plan(None, DUE + 6 * 3600)
    assert plan(HOURLY, DUE, now, make_up=True) == Plan(DUE + 5 * 3600, DUE + 6 * 3600)


def test_of_several_missed_times_one_that_has_just_come_is_run() -> None:
    now = DUE + 5 * 3600 + 10
    assert plan(HOURLY, DUE, now, make_up=False) == Plan(DUE + 5 * 3600, DUE + 6 * 3600)
