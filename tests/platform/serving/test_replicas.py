"""Readiness is told by what replicas said last, as long as that can be true."""

import asyncio
from types import SimpleNamespace

import pytest

from nitrogen.platform.serving import replicas as module
from nitrogen.platform.serving.replicas import EVERY_S, Replicas

ONE, OTHER = {"model": {"version": "1"}}, {"model": {"version": "2"}}
KEEP_S = 10.0


class Handle:
    """Answers with `answers`; silent while they are None, as full replicas are."""

    def __init__(self, answers):
        self.answers, self.asked = answers, 0

    def broadcast(self, method):
        assert method == "describe"
        self.asked += 1
        if isinstance(self.answers, Exception):
            raise self.answers
        return self

    async def results_async(self, return_exceptions):
        while self.answers is None:
            await asyncio.sleep(0.001)
        return self.answers


@pytest.fixture
def clock(monkeypatch):
    """Time that a test sets; nobody waits for long."""
    now = SimpleNamespace(s=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now.s))
    monkeypatch.setattr(module, "_PATIENCE_S", 0.01)
    monkeypatch.setattr(module, "_FIRST_PATIENCE_S", 0.01)
    return now


def run(steps):
    asyncio.run(asyncio.wait_for(steps(), 5.0))


def test_full_replicas_count_until_their_requests_must_have_ended(clock):
    async def steps():
        handle = Handle([ONE])
        replicas = Replicas(handle, KEEP_S)
        assert await replicas.describe() == [ONE]
        handle.answers = None
        for passed in (EVERY_S, KEEP_S):
            clock.s = 100.0 + passed
            assert await replicas.describe() == [ONE]
        assert handle.asked == 2, "one question at a time"
        clock.s = 100.0 + KEEP_S + EVERY_S
        assert await replicas.describe() == []
        handle.answers = [OTHER]
        await asyncio.sleep(0.01)
        assert await replicas.describe() == [OTHER]

    run(steps)


def test_the_dead_count_no_more_and_new_ones_do(clock):
    async def steps():
        handle = Handle([ONE, OTHER])
        replicas = Replicas(handle, KEEP_S)
        assert len(await replicas.describe()) == 2
        handle.answers = [ONE, RuntimeError("this actor died")]
        clock.s += EVERY_S
        assert await replicas.describe() == [ONE]
        handle.answers = ValueError("no deployment of that name")
        clock.s += EVERY_S
        assert await replicas.describe() == []
        handle.answers = [OTHER]
        clock.s += EVERY_S
        assert await replicas.describe() == [OTHER]

    run(steps)


def test_a_request_asks_before_it_takes_its_slot_and_at_most_once_a_second(clock):
    async def steps():
        handle = Handle([ONE])
        replicas = Replicas(handle, KEEP_S)
        for _ in range(5):
            await replicas.ask()
        assert handle.asked == 1
        await asyncio.sleep(0.01)  # it is answered, then everything is full
        handle.answers = None
        assert await replicas.describe() == [ONE], "the endpoint was full ever since"
        clock.s += EVERY_S
        await replicas.ask()
        assert handle.asked == 2

    run(steps)


def test_nothing_known_is_not_ready(clock):
    async def steps():
        assert await Replicas(Handle(None), KEEP_S).describe() == []

    run(steps)


def test_a_question_that_times_out_keeps_what_was_known(clock):
    async def steps():
        handle = Handle([ONE])
        replicas = Replicas(handle, 0.02)
        assert await replicas.describe() == [ONE]
        handle.answers = None
        clock.s += EVERY_S
        assert await replicas.describe() == [ONE]
        await asyncio.sleep(0.05)
        assert handle.asked == 2
        assert await replicas.describe() == [ONE]
        assert handle.asked == 3, "the next one"

    run(steps)
