# SPDX-License-Identifier: Apache-2.0
"""The fixtures that the plugin provides, and the clocks."""

from __future__ import annotations

import pytest


def test_what_runs_in_the_pool_is_stopped_after_the_test(marked):
    assert marked("""
        log = []

        async def serve():
            try:
                await giambio.sleep_forever()
            finally:
                log.append("stopped")

        async def test_it(giambio_pool):
            await giambio_pool.spawn(serve)
            giambio_pool.service(serve)
            await giambio.sleep(0)
            assert log == []

        def test_afterwards(): assert log == ["stopped", "stopped"]
    """).passed()


def test_what_fails_in_the_pool_fails_the_test(marked):
    result = marked("""
        async def crash(): raise ValueError("crash")

        async def test_it(giambio_pool):
            giambio_pool.spawn(crash)
            await giambio.sleep_forever()
    """)
    assert result["test_it"] == "failed"
    assert "ValueError: crash" in result.text("test_it")


@pytest.mark.parametrize("how", ["marker", "fixture", "ini"])
def test_on_the_virtual_clock_a_year_takes_no_time(inner, pytester, how):
    if how == "ini":
        pytester.makeini("[pytest]\ngiambio_clock = virtual")
    arguments = "clock='virtual'" if how == "marker" else ""
    fixture = "giambio_clock" if how == "fixture" else ""
    assert inner(f"""
        @pytest.mark.giambio({arguments})
        async def test_it({fixture}):
            assert giambio.clock() == 0
            await giambio.sleep(365 * 24 * 3600)
            assert giambio.clock() == 365 * 24 * 3600
    """).passed()


def test_the_clock_can_be_moved_by_hand(marked):
    assert marked("""
        async def test_it(giambio_clock, giambio_pool):
            giambio_clock.autojump = False
            task = giambio_pool.spawn(giambio.sleep, 10)
            await giambio.sleep(0)
            giambio_clock.advance(9)
            await giambio.sleep(0)
            assert not task.done()
            giambio_clock.advance(1)
            await task.join()
            assert giambio_clock.now() == giambio.clock() == 10
    """).passed()


def test_a_marker_goes_before_the_configured_clock(marked, pytester):
    pytester.makeini("[pytest]\ngiambio_clock = virtual")
    assert marked("""
        import time

        @pytest.mark.giambio(clock="system")
        async def test_it():
            before = time.monotonic()
            await giambio.sleep(0.02)
            assert time.monotonic() - before >= 0.02
    """).passed()


def test_a_marker_for_the_system_clock_and_the_fixture_contradict_each_other(marked):
    result = marked("""
        @pytest.mark.giambio(clock="system")
        async def test_it(giambio_clock): pass
    """)
    assert result["test_it"] == "error in setup"
    assert "the test asks for clock='system'" in result.out


def test_the_clock_is_for_tests_of_the_plugin(inner):
    result = inner("def test_it(giambio_clock): pass")
    assert result["test_it"] == "error in setup"
    assert "giambio_clock is for tests that run on giambio" in result.out


def test_in_a_shared_loop_each_test_has_the_clock_it_asks_for(marked):
    assert marked("""
        import time

        @pytest.fixture(scope="module")
        async def shared():
            with giambio.skip_after(2000) as scope:
                yield scope

        async def test_virtual(shared, giambio_clock):
            giambio_clock.rate = 100
            giambio_clock.autojump = False
            before = giambio.clock()
            giambio_clock.advance(1000)
            assert giambio.clock() >= before + 1000

        async def test_system(shared):
            real = time.monotonic()
            own = giambio.clock()
            await giambio.sleep(0.01)
            own = giambio.clock() - own
            real = time.monotonic() - real
            assert 0.01 <= own <= real

        async def test_virtual_again(shared, giambio_clock):
            assert (giambio_clock.rate, giambio_clock.autojump) == (0, True)
            before = giambio.clock()
            await giambio.sleep(500)
            assert giambio.clock() == before + 500
            assert not shared.cancel_called
            await giambio.sleep(1000)  # never back: what was skipped counts
            assert shared.cancel_called
    """).passed()


def test_ports_are_free_and_all_different(marked):
    assert marked("""
        import socket

        def test_it(giambio_tcp_port, giambio_tcp_port_factory):
            ports = {giambio_tcp_port, *(giambio_tcp_port_factory() for _ in range(5))}
            assert len(ports) == 6
            for port in ports:
                with socket.socket() as sock:
                    sock.bind(("127.0.0.1", port))

        def test_udp(giambio_udp_port, giambio_udp_port_factory):
            assert giambio_udp_port != giambio_udp_port_factory()
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", giambio_udp_port))
    """).passed()
