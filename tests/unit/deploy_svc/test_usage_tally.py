"""Readings of instances, made into minutes."""

from __future__ import annotations

import pytest

from deploy_svc.usage.domain import Capacity, Reading, Tally, Use, averaged, percent
from deploy_svc.usage.meters import reading_of

MIB = 1 << 20


def readings(**cpu_s: float) -> dict[str, tuple[str, Reading]]:
    """Instances `fn_1`, `fn_2` are of function `fn`; each uses 10 MiB."""
    return {name: (name.partition("_")[0], Reading(used, 10 * MIB)) for name, used in cpu_s.items()}


def test_a_minute_is_the_mean_of_its_rounds() -> None:
    tally = Tally()
    for at, used in ((0, 100.0), (20, 110.0), (40, 110.0)):
        given = readings(a_1=used)
        assert tally.add(600 + at, at, given, given.keys()) is None

    minute = tally.add(660, 60, readings(a_1=120.0), {"a_1"})

    assert minute is not None
    assert (minute.number, minute.functions) == (10, {"a": Use(10 / 40, 10 * MIB)})
    assert minute.total == Use(10 / 40, 10 * MIB)
    assert tally.now["a"].use == Use(0.5, 10 * MIB)


def test_all_that_a_new_instance_used_counts_but_nothing_of_before_the_first_round() -> None:
    tally = Tally()
    tally.add(600, 0, readings(a_1=1000.0), {"a_1"})
    assert tally.now["a"].use.cpus == 0.0

    tally.add(610, 10, readings(a_1=1000.0, a_2=5.0, b_1=1.0), {"a_1", "a_2", "b_1"})

    assert tally.now["a"].use == Use(0.5, 20 * MIB)
    assert (tally.now["a"].instances, tally.now["b"].use.cpus) == (2, 0.1)


def test_an_instance_that_was_not_read_once_is_not_counted_anew() -> None:
    tally = Tally()
    tally.add(600, 0, readings(a_1=50.0), {"a_1"})
    tally.add(610, 10, {}, {"a_1"})
    tally.add(620, 20, readings(a_1=51.0), {"a_1"})

    assert tally.now["a"].use.cpus == pytest.approx(0.1)


def test_memory_of_part_of_a_minute_is_that_part_of_it() -> None:
    tally = Tally()
    for at in (0, 10, 20, 30):
        tally.add(600 + at, at, readings(a_1=0.0) if at < 20 else {}, {"a_1"})

    running = tally.running()

    assert running is not None
    assert running.functions["a"].memory_bytes == 5 * MIB


def test_times_that_go_back_count_nothing() -> None:
    tally = Tally()
    tally.add(600, 0, readings(a_1=50.0), {"a_1"})
    tally.add(610, 10, readings(a_1=40.0), {"a_1"})

    assert tally.now["a"].use.cpus == 0.0


def test_percent_of_a_machine() -> None:
    machine = Capacity(4, 100 * MIB)

    assert percent(Use(1.0, 25 * MIB), machine) == (25.0, 25.0)
    assert percent(Use(9.0, 900 * MIB), machine) == (100.0, 100.0)
    assert percent(Use(1.0, 1), Capacity(0, 0)) == (0.0, 0.0)


def test_points_of_several_minutes() -> None:
    points = {11: (2.0, 20.0), 10: (4.0, 40.0), 13: (1.0, 10.0)}

    assert averaged(points, 1) == [(10, 4.0, 40.0), (11, 2.0, 20.0), (13, 1.0, 10.0)]
    assert averaged(points, 2) == [(10, 3.0, 30.0), (12, 1.0, 10.0)]


@pytest.mark.parametrize(
    ("detail", "bytes_"), [({"total_inactive_file": 30}, 70), ({"inactive_file": 40}, 60), ({}, 100)]
)
def test_statistics_of_a_container(detail: dict[str, int], bytes_: int) -> None:
    stats = {
        "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
        "memory_stats": {"usage": 100, "stats": detail},
    }

    assert reading_of(stats) == Reading(1.5, bytes_)


def test_statistics_of_a_container_that_has_ended() -> None:
    assert reading_of({"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}}) is None
