"""The queue of the pages, with real threads: order, short before long, leaving, replacement, and nobody forgotten."""

import threading
import time
from contextlib import contextmanager

import pytest

from pages.components import turns
from pages.components.turns import Place, Replaced, Turns


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(turns, "POLL", 0.01)
    monkeypatch.setattr(turns, "GONE", 0.3)


def until(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@contextmanager
def held(queue: Turns, who: str = "holder", work: float = 1e6):
    """Somebody computes, in a thread of their own, until the block ends."""
    end, started = threading.Event(), threading.Event()

    def hold():
        with queue.turn(who, "long", work):
            started.set()
            end.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    started.wait(10)
    try:
        yield
    finally:
        end.set()
        thread.join()


def compute(queue: Turns, who: str, work: float, done: list[str], seconds: float = 0.0) -> None:
    """Compute for ``seconds``, then note ``who``."""
    with queue.turn(who, "work", work):
        time.sleep(seconds)
        done.append(who)


def ask(queue: Turns, who: str, work: float, done: list[str], seconds: float = 0.0) -> threading.Thread:
    """A thread that computes, see ``compute``; returns once it is in the queue, or has come and gone."""
    thread, before = threading.Thread(target=compute, args=(queue, who, work, done, seconds)), len(queue)
    thread.start()
    until(lambda: len(queue) > before or not thread.is_alive())
    return thread


def test_equal_requests_go_in_the_order_in_which_they_came():
    queue, done = Turns(), []
    with held(queue):
        threads = [ask(queue, f"visitor {i}", 1, done) for i in range(10)]
    for thread in threads:
        thread.join(10)
    assert done == [f"visitor {i}" for i in range(10)]
    assert len(queue) == 0


def test_a_short_request_passes_the_long_ones_that_wait():
    queue, done = Turns(), []
    with held(queue):
        threads = [ask(queue, f"long {i}", 2000, done) for i in range(5)]
        threads.append(ask(queue, "short", 100, done))
    for thread in threads:
        thread.join(10)
    assert done == ["short", *(f"long {i}" for i in range(5))]


@pytest.mark.slow
def test_a_long_request_gives_way_between_two_steps_and_goes_on():
    queue, done, steps, inside = Turns(), [], [], threading.Event()

    def long():
        with queue.turn("long", "work", 2000) as turn:
            for step in range(200):
                inside.set()
                time.sleep(0.002)
                turn.give_way()
                steps.append((step, len(done)))
            done.append("long")
            assert turn.waited > 0.02

    thread = threading.Thread(target=long)
    thread.start()
    inside.wait(10)
    short = ask(queue, "short", 10, done, seconds=0.05)
    short.join(10)
    thread.join(10)
    assert done == ["short", "long"]
    assert [step for step, _ in steps] == list(range(200))


def test_an_equal_request_does_not_interrupt():
    queue, done = Turns(), []
    with queue.turn("first", "work", 100) as turn:
        thread = ask(queue, "second", 100, done)
        turn.give_way()
        assert turn.waited == 0
        assert done == []
    thread.join(10)


def test_who_keeps_asking_waits_for_who_asks_once():
    now = [0.0]
    queue = Turns(clock=lambda: now[0])
    request = queue._join("busy", "work", 100)
    queue._take(request)
    now[0] += 5
    queue._leave(request, done=False)
    busy, newcomer = queue._join("busy", "work", 100), queue._join("newcomer", "work", 100)
    assert queue._due(newcomer) < queue._due(busy)
    now[0] += 10 * turns.HALF_LIFE  # then that is forgotten
    assert queue._had("busy", now[0]) < 0.01


def test_nothing_is_passed_by_what_comes_long_after_it():
    now = [0.0]
    queue = Turns(clock=lambda: now[0])
    queue._recent["heavy"] = (1e9, 0.0)
    heavy = queue._join("heavy", "work", 1e9)
    now[0] = (turns.PATIENCE + turns.RECENT) * turns.LONGEST + 1
    assert queue._due(queue._join("light", "work", 0)) > queue._due(heavy)


def test_the_place_is_told_and_an_error_while_waiting_frees_it():
    queue, places = Turns(), []

    class Gone(Exception):
        pass

    def on_wait(place: Place) -> None:
        places.append(place)
        if len(places) == 3:
            raise Gone

    with held(queue, work=2000):
        with pytest.raises(Gone), queue.turn("visitor", "work", 1e6, on_wait):
            pytest.fail("it was not this visitor's turn")
        assert len(queue) == 1
    assert {place.ahead for place in places} == {1}
    assert 0 < places[0].seconds <= 2000 * turns.FIRST_PACE
    with queue.turn("visitor", "work", 1):
        pass


def test_an_error_inside_frees_the_turn():
    queue, done = Turns(), []
    with pytest.raises(ZeroDivisionError), queue.turn("visitor", "work", 1):
        raise ZeroDivisionError
    compute(queue, "next", 1, done)
    assert done == ["next"]


def test_a_newer_request_of_a_visitor_takes_the_place_of_the_one_that_waits():
    queue, done, outcome = Turns(), [], []

    def wait():
        try:
            with queue.turn("visitor", "work", 1):
                outcome.append("computed")
        except Replaced:
            outcome.append("replaced")

    with held(queue):
        older = threading.Thread(target=wait)
        older.start()
        until(lambda: len(queue) == 2)
        newer = threading.Thread(target=lambda: ask(queue, "other", 1, done).join(10))
        newer.start()
        until(lambda: len(queue) == 3)
        second = threading.Thread(target=wait)
        second.start()
        older.join(10)
        assert outcome == ["replaced"]
        assert len(queue) == 3
    second.join(10)
    newer.join(10)
    assert outcome == ["replaced", "computed"]


def test_a_newer_request_waits_until_the_older_one_has_noticed():
    queue, replaced, computing = Turns(), [], []

    def older():
        try:
            with queue.turn("visitor", "work", 1) as turn:
                computing.append("older")
                until(lambda: replaced_by.is_set())
                turn.give_way()
        except Replaced:
            replaced.append(len(computing))

    replaced_by = threading.Event()
    thread = threading.Thread(target=older)
    thread.start()
    until(lambda: computing == ["older"])
    threading.Timer(0.05, replaced_by.set).start()
    with queue.turn("visitor", "work", 1):
        computing.append("newer")
        assert replaced == [1]
    thread.join(10)


def test_a_turn_inside_a_turn_is_an_error_and_no_deadlock():
    queue = Turns()
    with (
        queue.turn("visitor", "work", 1),
        pytest.raises(RuntimeError, match="has its turn already"),
        queue.turn("visitor", "work", 1),
    ):
        pytest.fail("two turns at once")
    assert len(queue) == 0


@pytest.mark.slow
def test_who_is_gone_without_a_word_is_passed_over():
    queue, done = Turns(), []
    vanished = threading.Thread(target=lambda: queue._join("vanished", "work", 0))  # waits no more, and never leaves
    vanished.start()
    vanished.join()
    holder = threading.Thread(target=lambda: queue._take(queue._join("holder", "work", 0)))  # ended with its turn
    time.sleep(0.35)
    holder.start()
    holder.join()
    time.sleep(0.35)
    visitor = threading.Thread(target=compute, args=(queue, "visitor", 100, done))
    visitor.start()
    visitor.join(10)
    assert done == ["visitor"]
    assert len(queue) == 0


@pytest.mark.slow
def test_fifty_visitors_one_at_a_time_and_none_starves():
    queue, inside, most, finished = Turns(), [], [], []
    end = time.monotonic() + 2

    def visitor(number: int) -> None:
        while time.monotonic() < end:
            try:
                with queue.turn(f"visitor {number}", "work", 1 + number * 40) as turn:
                    for _ in range(1 + number // 10):
                        inside.append(number)
                        most.append(len(inside))
                        time.sleep(0.0005)
                        inside.remove(number)
                        turn.give_way()
                    if number % 7 == 0:
                        raise ValueError("sampling failed")
                    finished.append(number)
            except ValueError:
                finished.append(number)

    threads = [threading.Thread(target=visitor, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert max(most) == 1
    assert set(finished) == set(range(50))
    assert len(queue) == 0


def test_a_machine_that_turns_out_slow_changes_nothing_in_the_order():
    now = [0.0]
    queue = Turns(clock=lambda: now[0])
    early = queue._join("early", "work", 2000)
    queue._pace["work"] = 10 * turns.FIRST_PACE  # measured meanwhile
    now[0] = 60.0
    assert queue._due(queue._join("late and shorter", "work", 1600)) < queue._due(early)


def test_what_some_work_takes_is_known_once_some_of_its_kind_was_done():
    queue = Turns()
    assert queue.expected("work", 10) is None
    compute(queue, "a", 10, [], 0.05)
    assert 0.05 <= queue.expected("work", 10) < 0.2
    assert queue.expected("other work", 10) is None
