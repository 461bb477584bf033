"""Functions are timed in turn, short ones repeatedly, hopeless ones twice."""

from __future__ import annotations

import time

from lottery_pools.deploy import timing


def test_all_have_their_turn_in_each_round() -> None:
    calls: list[str] = []
    spent = timing.in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert calls == ["a", "b"] * 4, "once to warm up"
    assert {name: len(rounds) for name, rounds in spent.items()} == {"a": 3, "b": 3}


def test_a_short_function_is_repeated() -> None:
    calls: list[int] = []
    (once,) = timing.in_turn({"a": lambda: calls.append(0)}, rounds=1, at_least=0.01)["a"]
    assert len(calls) > 10
    assert 0 < once.wall < 0.01


def test_what_is_hopeless_has_no_third_round() -> None:
    spent = timing.in_turn({"a": lambda: None, "b": lambda: time.sleep(0.02)}, rounds=4, hopeless=3)
    assert {name: len(rounds) for name, rounds in spent.items()} == {"a": 4, "b": 2}
    assert spent["b"][0].wall > spent["b"][0].processor, "sleeping takes no processor"


def test_one_interruption_is_not_hopeless() -> None:
    delays = iter((0.0, 0.5))  # the call that warms up, and the first round
    spent = timing.in_turn({"a": lambda: time.sleep(0.02), "b": lambda: time.sleep(next(delays, 0.02))}, 4, hopeless=10)
    assert {name: len(rounds) for name, rounds in spent.items()} == {"a": 4, "b": 4}
