"""The gate: many inside at once, one alone, and nobody waits for ever."""

from __future__ import annotations

import threading
import time

import pytest

from assistant.gate import Gate


def later(action, *arguments) -> threading.Thread:
    thread = threading.Thread(target=action, args=arguments, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("patient", [False, True])
def test_nobody_is_inside_while_it_is_closed(patient: bool) -> None:
    gate = Gate(patient=patient)
    stop, inside, seen, wrong = threading.Event(), [], [], []
    lock = threading.Lock()

    def pass_through() -> None:
        while not stop.is_set():
            with gate.passing():
                with lock:
                    inside.append(1)
                    seen.append(len(inside))
                time.sleep(0.001)
                with lock:
                    inside.pop()
            # A patient gate only closes when all happen to be out.
            time.sleep(0.004 if patient else 0)

    threads = [later(pass_through) for _ in range(4)]
    for _ in range(30):
        with gate.closed() as alone:
            assert alone
            wrong += inside
            time.sleep(0.001)
            wrong += inside
    stop.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert wrong == []
    assert max(seen) > 1


@pytest.mark.parametrize(("patient", "enters"), [(False, False), (True, True)])
def test_who_comes_while_it_waits(patient: bool, enters: bool) -> None:
    gate, entered = Gate(patient=patient), threading.Event()

    def close() -> None:
        with gate.closed():
            pass

    def enter() -> None:
        with gate.passing():
            entered.set()

    with gate.passing():
        closing = later(close)
        time.sleep(0.1)
        coming = later(enter)
        assert entered.wait(0.3) == enters
    assert entered.wait(5)
    for thread in (closing, coming):
        thread.join(5)
        assert not thread.is_alive()


def test_who_is_inside_may_enter_again_while_it_waits() -> None:
    gate = Gate()

    def close() -> None:
        with gate.closed():
            pass

    with gate.passing():
        closing = later(close)
        time.sleep(0.1)
        with gate.passing():
            pass
        closing.join(0.3)
        assert closing.is_alive()
    closing.join(5)
    assert not closing.is_alive()


def test_waiting_can_be_given_up() -> None:
    gate, stop = Gate(), threading.Event()
    said = []

    def close() -> None:
        with gate.closed(stop.is_set) as alone:
            said.append(alone)

    with gate.passing():
        closing = later(close)
        stop.set()
        closing.join(5)
        assert said == [False]
        with gate.passing():
            pass
    with gate.closed() as alone:
        assert alone


def test_an_error_inside_leaves_it_open() -> None:
    gate = Gate()
    for place in (gate.passing, gate.closed):
        with pytest.raises(RuntimeError), place():
            raise RuntimeError
    with gate.passing():
        pass
    with gate.closed() as alone:
        assert alone
