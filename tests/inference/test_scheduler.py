"""The laws of waiting: nobody is lost or doubled, single images come first, clients take turns, batches still move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from irmsia.inference.protocol import Priority
from irmsia.inference.scheduler import BATCH_EVERY, Scheduler

SINGLE, BATCH = Priority.SINGLE, Priority.BATCH
CLIENTS = st.sampled_from(["a", "b", "c"])


@dataclass(eq=False)
class Item:
    """Something that waits."""

    number: int
    priority: Priority = SINGLE
    client: str = ""
    gone: bool = False


def scheduler_of(items: Sequence[Item] = (), places: int = 1000) -> Scheduler[Item]:
    """Let all of them wait."""
    scheduler = Scheduler[Item](places, lambda item: item.gone)
    for item in items:
        assert scheduler.add(item, item.priority, item.client)
    return scheduler


def take_all(scheduler: Scheduler[Item]) -> list[Item]:
    """Until none is left."""
    return list(iter(scheduler.take, None))


def rindex(values: Sequence[object], value: object) -> int:
    """Where it stands last, -1 where nowhere."""
    return max((place for place, one in enumerate(values) if one == value), default=-1)


@st.composite
def several(draw: st.DrawFn, most: int = 60) -> list[Item]:
    """Items of several clients and both priorities."""
    rows = draw(st.lists(st.tuples(st.sampled_from(Priority), CLIENTS), max_size=most))
    return [Item(number, priority, client) for number, (priority, client) in enumerate(rows)]


class Waiting(RuleBasedStateMachine):
    """Any order of adding, taking and going away, against a plain list."""

    items = Bundle("items")

    def __init__(self) -> None:
        super().__init__()
        self.places = 16
        self.scheduler = scheduler_of(places=self.places)
        self.inside: list[Item] = []
        self.added = 0

    @rule(target=items, priority=st.sampled_from(Priority), client=CLIENTS)
    def add(self, priority: Priority, client: str) -> Item:
        """It waits, or there was no place for it although those that are gone made room."""
        self.added += 1
        item = Item(self.added, priority, client)
        if self.scheduler.add(item, priority, client):
            self.inside.append(item)
        else:
            self.inside = [one for one in self.inside if not one.gone]
            batch = sum(one.priority is BATCH for one in self.inside)
            full = len(self.inside) >= self.places - self.places // 8
            assert full or (priority is BATCH and batch >= self.places - self.places // 4)
        return item

    @rule(item=consumes(items))
    def leave(self, item: Item) -> None:
        """Its caller goes away."""
        item.gone = True

    @rule()
    def take(self) -> None:
        """The first of its client and priority; null only where nobody is left."""
        item = self.scheduler.take()
        left = [one for one in self.inside if not one.gone]
        if item is None:
            assert left == []
            return
        alike = [one for one in left if (one.priority, one.client) == (item.priority, item.client)]
        assert item is alike[0]
        self.inside.remove(item)

    @rule()
    def clear(self) -> None:
        """Everybody who is still wanted comes out, once."""
        out = self.scheduler.clear()
        assert Counter(out) == Counter(one for one in self.inside if not one.gone)
        assert len(self.scheduler) == 0
        self.inside = []

    @invariant()
    def bounded(self) -> None:
        """Never more than there are places."""
        assert len(self.scheduler) <= self.places


TestWaiting = Waiting.TestCase


@given(several())
def test_nothing_is_lost_and_nothing_doubled(items: list[Item]) -> None:
    """Whoever was let in comes out once, in order within one client and priority."""
    out = take_all(scheduler_of(items))
    assert Counter(out) == Counter(items)
    for key in {(item.priority, item.client) for item in items}:
        numbers = [item.number for item in out if (item.priority, item.client) == key]
        assert numbers == sorted(numbers)


@given(several(), CLIENTS)
def test_a_single_image_overtakes_a_batch(items: list[Item], client: str) -> None:
    """However long the batch is, at most one of its images goes before a single one that is alone."""
    scheduler = scheduler_of([item for item in items if item.priority is BATCH])
    assert scheduler.add(single := Item(-1, SINGLE, client), SINGLE, client)
    assert single in (scheduler.take(), scheduler.take())


@given(several())
def test_a_batch_has_its_share(items: list[Item]) -> None:
    """While both wait, of so many turns in a row exactly one is a batch's; the others are single images'."""
    out = take_all(scheduler_of(items))
    both = min(rindex([item.priority for item in out], priority) for priority in Priority)
    contended = [item.priority for item in out[: both + 1]]
    for begin in range(len(contended) - BATCH_EVERY + 1):
        assert contended[begin : begin + BATCH_EVERY].count(BATCH) == 1


@given(several())
def test_clients_take_turns(items: list[Item]) -> None:
    """While two clients wait with the same priority, neither is ahead of the other by more than one."""
    out = take_all(scheduler_of(items))
    for priority in Priority:
        clients = [item.client for item in out if item.priority is priority]
        for one, other in ("ab", "bc", "ac"):
            turns = [client for client in clients if client in (one, other)]
            last = min(rindex(turns, one), rindex(turns, other))
            for end in range(last + 1):
                assert abs(turns[:end].count(one) - turns[:end].count(other)) <= 1


@given(st.integers(1, 200), st.data())
def test_a_batch_leaves_room(places: int, data: st.DataObject) -> None:
    """Full of batches of any number of clients, single images still find a quarter of the places; only one place is
    everybody's.
    """
    scheduler = scheduler_of(places=places)
    batch = sum(scheduler.add(Item(i), BATCH, data.draw(CLIENTS) if i < 5 else f"{i}") for i in range(places + 5))
    singles = sum(scheduler.add(Item(i), SINGLE, f"s{i}") for i in range(places + 5))
    assert batch >= 1
    assert batch + singles == len(scheduler) == places
    assert singles >= places // 4
    assert places == 1 or singles >= 1


@given(st.integers(1, 200))
def test_one_client_leaves_room_for_another(places: int) -> None:
    """However much it sends, a client of whom nothing waits finds one of the last eighth of the places."""
    scheduler = scheduler_of(places=places)
    greedy = sum(scheduler.add(Item(i), SINGLE, "greedy") for i in range(places + 5))
    assert greedy == places - places // 8
    assert scheduler.add(Item(-1), SINGLE, "modest") == (places >= 8)


@given(several(), st.data())
def test_who_is_gone_is_never_given_out(items: list[Item], data: st.DataObject) -> None:
    """Cancelled while it waited, it costs no turn."""
    scheduler = scheduler_of(items)
    for item in data.draw(st.lists(st.sampled_from(items))) if items else ():
        item.gone = True
    assert Counter(take_all(scheduler)) == Counter(item for item in items if not item.gone)


@pytest.mark.parametrize("priority", Priority)
def test_who_is_gone_gives_its_place_back(priority: Priority) -> None:
    """Also to one of another client, in a scheduler that is full."""
    scheduler = scheduler_of(places=4)
    inside = [item for item in (Item(i) for i in range(9)) if scheduler.add(item, priority, "a")]
    assert not scheduler.add(Item(10), priority, "b")
    inside[1].gone = True
    assert scheduler.add(Item(11), priority, "b")
    assert [item.number for item in take_all(scheduler)] == [0, 11, *range(2, len(inside))]


def test_whom_it_asked_of_it_does_not_ask_again() -> None:
    """The engine counts what is dropped when it says so."""
    asked: list[int] = []

    def is_gone(number: int) -> bool:
        asked.append(number)
        return True

    scheduler = Scheduler[int](2, is_gone)
    for number in range(4):
        scheduler.add(number, SINGLE, "a")
    assert scheduler.take() is None
    assert scheduler.clear() == ()
    assert asked == [0, 1, 2, 3]
