"""Who waits and whose turn it is: single images before those of a batch, clients of one priority in turn.

A plain structure without a lock or a clock; `irmsia.inference.engine` calls it under its own lock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from irmsia.inference.protocol import Priority

BATCH_EVERY = 8
"""While both wait, one of so many turns is a batch's: it is slowed down by single images, never stopped."""

_SINGLE_ONLY = 4
_NEWCOMERS_ONLY = 8

T = TypeVar("T")


class Scheduler(Generic[T]):
    """What waits, within ``places``.

    Batches never hold the last quarter of the places, so that a batch job keeps no single image out. The last eighth
    is for clients of whom nothing waits yet, so that no client keeps another out.

    Args:
        places: how many may wait.
        is_gone: whether nobody wants an item any more; one of which it says so is dropped, and is not asked of again.
    """

    def __init__(self, places: int, is_gone: Callable[[T], bool]) -> None:
        self._places = places
        self._batch_places = places - max(places // _SINGLE_ONLY, int(places > 1))
        self._shared_places = places - places // _NEWCOMERS_ONLY
        self._is_gone = is_gone
        self._turns = {priority: _Turns[T]() for priority in Priority}
        self._singles_in_a_row = 0

    def __len__(self) -> int:
        """How many wait, with those that are gone and were not met yet."""
        return sum(turns.count for turns in self._turns.values())

    def add(self, item: T, priority: Priority, client: str) -> bool:
        """Let ``item`` wait behind those of its client and priority; False where it finds no place."""
        if not self.has_place(priority, client):
            return False
        self._turns[priority].add(item, client)
        return True

    def has_place(self, priority: Priority, client: str, *, ahead: int = 0) -> bool:
        """Whether an item of ``client`` would find a place behind ``ahead`` others that are yet to come."""
        if not self._has_place(priority, client, ahead):
            self._drop_gone()
        return self._has_place(priority, client, ahead)

    def take(self) -> T | None:
        """The item whose turn it is, null where none waits."""
        while (priority := self._next_priority()) is not None:
            item = self._turns[priority].take()
            if not self._is_gone(item):
                self._count_turn(priority)
                return item
        return None

    def clear(self) -> tuple[T, ...]:
        """Everything that waits, single images first; nothing waits afterwards."""
        left = tuple(item for priority in Priority for item in self._turns[priority])
        self._turns = {priority: _Turns[T]() for priority in Priority}
        return tuple(item for item in left if not self._is_gone(item))

    def _has_place(self, priority: Priority, client: str, ahead: int) -> bool:
        batch = self._turns[Priority.BATCH].count
        if priority is Priority.BATCH and batch >= self._batch_places:
            return False
        known = any(client in turns for turns in self._turns.values())
        return len(self) + ahead < (self._shared_places if known else self._places)

    def _next_priority(self) -> Priority | None:
        waiting = [priority for priority in Priority if self._turns[priority].count]
        if len(waiting) < len(Priority):
            return waiting[0] if waiting else None
        return Priority.BATCH if self._singles_in_a_row >= BATCH_EVERY - 1 else Priority.SINGLE

    def _count_turn(self, taken: Priority) -> None:
        """Only turns that a batch gave away count."""
        gave_way = taken is Priority.SINGLE and self._turns[Priority.BATCH].count > 0
        self._singles_in_a_row = self._singles_in_a_row + 1 if gave_way else 0

    def _drop_gone(self) -> None:
        for turns in self._turns.values():
            turns.keep(lambda item: not self._is_gone(item))


class _Turns(Generic[T]):
    """The items of one priority: in order within a client, the clients in turn."""

    def __init__(self) -> None:
        self.count = 0
        self._clients: OrderedDict[str, deque[T]] = OrderedDict()

    def __contains__(self, client: str) -> bool:
        return client in self._clients

    def __iter__(self) -> Iterator[T]:
        return (item for items in self._clients.values() for item in items)

    def add(self, item: T, client: str) -> None:
        self._clients.setdefault(client, deque()).append(item)
        self.count += 1

    def take(self) -> T:
        client, items = self._clients.popitem(last=False)
        item = items.popleft()
        if items:
            self._clients[client] = items
        self.count -= 1
        return item

    def keep(self, wanted: Callable[[T], bool]) -> None:
        kept = {client: deque(filter(wanted, items)) for client, items in self._clients.items()}
        self._clients = OrderedDict((client, items) for client, items in kept.items() if items)
        self.count = sum(map(len, self._clients.values()))
