"""Counts of connections by address, without sockets."""

from app.lib.http.connections import OpenConnections

MOST = 100


def admitted(connections: OpenConnections, address: str | None, total: int) -> bool:
    return connections.has_place(connections.add(address), address, total)


def test_busy_server_limits_each_client_to_a_quarter() -> None:
    connections = OpenConnections(MOST, ["10.0.0.0/8"])
    for total in range(1, 76):
        assert admitted(connections, f"2001:db8::{total:x}", total)
    assert not admitted(connections, "2001:db8:0:1::", 76)
    assert admitted(connections, "2001:db8:1::", 76)
    assert admitted(connections, "::ffff:192.0.2.1", 100)
    assert not admitted(connections, "192.0.2.2", 101)


def test_proxies_and_unix_sockets_are_not_limited_as_one_client() -> None:
    connections = OpenConnections(MOST, ["10.0.0.0/8"])
    for total in range(1, 101):
        assert admitted(connections, "::ffff:10.1.2.3" if total % 2 else None, total)


def test_closed_connections_leave_no_counters() -> None:
    connections = OpenConnections(MOST)
    sites = [connections.add(f"192.0.2.{number}") for number in range(50)]
    assert all(connections.begin_lingering(site) for site in sites[:32])
    assert not connections.begin_lingering(sites[40])
    for site in sites[:32]:
        connections.end_lingering(site)
    assert sum(connections.begin_lingering(sites[0]) for _ in range(20)) == 16
    for _ in range(16):
        connections.end_lingering(sites[0])
    for site in sites:
        connections.remove(site)
    assert not connections._open
    assert not connections._lingering
