"""How many connections a download gets, on links of several kinds that are only imagined."""

import pytest

from diffio_async._downloads.ranges import ConnectionScaler

MB = 1e6
GB = 1_000_000_000


def downloaded(
    each: float,
    total: float,
    *,
    size: int = GB,
    most: int = 8,
    opens: float = 0.16,
    busy: float = 0.3,
) -> tuple[list[int], float]:
    """The numbers of connections there were, in order, and the seconds it took.

    Args:
        each: Bytes a second of one connection at most.
        total: Bytes a second of all connections at most.
        size: Bytes of the result.
        most: Connections at most.
        opens: Seconds from opening a connection to its first byte.
        busy: The share of its time that the loop's thread works.
    """
    growth, now, done = ConnectionScaler(most), 0.0, 0.0
    opened = [0.0]
    wanted = [1]
    while done < size:
        now += 0.05
        flowing = sum(now >= since + opens for since in opened)
        done += 0.05 * min(flowing * each, total)
        if (
            growth.sample(now, int(done), max(0, size - int(done)), flowing, busy * now)
            != wanted[-1]
        ):
            wanted.append(growth.target)
        while len(opened) < growth.target:
            opened.append(now)
    return wanted, now


def test_where_each_connection_is_limited_their_number_doubles_to_the_most() -> None:
    wanted, took = downloaded(each=20 * MB, total=2000 * MB)
    assert wanted == [1, 2, 4, 8]
    assert took < 1.35 * GB / (160 * MB)
    assert downloaded(each=20 * MB, total=2000 * MB, most=6)[0] == [1, 2, 4, 6]
    assert downloaded(each=20 * MB, total=2000 * MB, most=1)[0] == [1]


def test_where_the_link_is_the_limit_more_are_given_up() -> None:
    """One more is tried, once a minute."""
    assert downloaded(each=20 * MB, total=20 * MB, size=GB // 5)[0] == [1, 2, 1]
    wanted, took = downloaded(each=20 * MB, total=20 * MB, size=4 * GB)
    assert wanted[:5] == [1, 2, 1, 2, 1]
    assert len(wanted) <= 3 + 2 * took / 60
    assert downloaded(each=20 * MB, total=50 * MB)[0][:4] == [1, 2, 4, 2]


def test_a_link_that_is_fast_or_nearly_done_gets_no_second_connection() -> None:
    assert downloaded(each=400 * MB, total=700 * MB)[0] == [1]
    assert downloaded(each=20 * MB, total=200 * MB, size=30_000_000)[0] == [1]
    assert downloaded(each=60 * MB, total=60 * MB, busy=0.9)[0] == [1], "a slow processor"


def test_a_link_of_long_delays_is_measured_when_its_connections_flow() -> None:
    assert downloaded(each=5 * MB, total=2000 * MB, opens=1.5)[0] == [1, 2, 4, 8]


def test_a_host_that_pushes_back_gets_half_as_many_for_a_while() -> None:
    growth = ConnectionScaler(8, target=8)
    growth.on_throttled(100.0)
    assert growth.target == 4
    for step in range(550):
        assert growth.sample(100.0 + step / 10, step * 10**6, GB, 4, 0.0) == 4
    growth.on_throttled(200.0)
    growth.on_throttled(200.0)
    growth.on_throttled(200.0)
    assert growth.target == 1


@pytest.mark.parametrize("flowing", [0, 1])
def test_connections_that_bring_nothing_are_not_waited_for_long(flowing: int) -> None:
    """Nor is anything made of a link that stands still."""
    growth = ConnectionScaler(8)
    for step in range(200):
        growth.sample(step / 10, 0, GB, flowing, 0.0)
    assert growth.target == 1
