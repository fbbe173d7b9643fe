"""Orders, found by merging and counting instead of sorting: of events in a batch, and of operations on a table.

All are stable, and so the same as a stable sort would find.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samestream.streams.columns import BoolArray, Int64Array
from samestream.streams.engine.compiling import compiled
from samestream.streams.engine.tiles import BOTH, QUERY, UPDATE


@compiled
def merged(known_us: Int64Array, starts: Int64Array, ends: Int64Array) -> Int64Array:
    """The order of records of several partitions within consecutive batches: by batch, known time, partition, place.

    known_us : running known times, shape (records,), which never fall within a partition
    starts, ends : where the records of a batch begin and end in each partition, shape (batches, partitions); partitions stand
        in the order in which ties are broken
    """
    batches, partitions = starts.shape
    total = np.int64(0)
    for batch in range(batches):
        for part in range(partitions):
            total += ends[batch, part] - starts[batch, part]
    order, at = np.empty(total, np.int64), 0
    heads, active = np.empty(partitions, np.int64), np.empty(partitions, np.int64)
    for batch in range(batches):
        count = 0
        for part in range(partitions):
            if starts[batch, part] < ends[batch, part]:
                active[count], heads[part] = part, starts[batch, part]
                count += 1
        while count > 1:
            least, second = 0, np.iinfo(np.int64).max
            for one in range(1, count):
                known = known_us[heads[active[one]]]
                if known < known_us[heads[active[least]]]:
                    second, least = known_us[heads[active[least]]], one
                elif known < second:
                    second = known
            part = active[least]
            head, end = heads[part], ends[batch, part]
            # all of this one that come before any other's; at a tie the partition decides, so only one
            order[at] = head
            head, at = head + 1, at + 1
            while head < end and known_us[head] < second:
                order[at] = head
                head, at = head + 1, at + 1
            heads[part] = head
            if head == end:
                count -= 1
                for one in range(least, count):
                    active[one] = active[one + 1]
        if count == 1:
            part = active[0]
            for head in range(heads[part], ends[batch, part]):
                order[at] = head
                at += 1
    return order


@compiled
def by_place(places: Int64Array, bound: int) -> Int64Array:
    """The order of whole numbers from 0 up to a bound; equal ones stay in the order they have."""
    begin = np.zeros(bound + 1, np.int64)
    for i in range(places.shape[0]):
        begin[places[i] + 1] += 1
    for place in range(bound):
        begin[place + 1] += begin[place]
    order = np.empty(places.shape[0], np.int64)
    for i in range(places.shape[0]):
        place = places[i]
        order[begin[place]] = i
        begin[place] += 1
    return order


@compiled
def placed(
    order: Int64Array, reader: Int64Array, applies: Int64Array, row: Int64Array, key: Int64Array, place: Int64Array,
    time_us: Int64Array, partition: Int64Array, number: Int64Array, offset: Int64Array, horizon_us: Int64Array,
) -> Int64Array:  # fmt: skip
    """Operations in an order, told by the events at their places: those seven of `table_state.Operations`, shape (7, n).

    number : of every partition, in its topic
    """
    found = np.empty((7, order.shape[0]), np.int64)
    for i in range(order.shape[0]):
        one = order[i]
        at = place[one]
        found[0, i], found[1, i], found[2, i], found[3, i] = reader[one], applies[one], row[one], key[one]
        found[4, i], found[6, i] = time_us[at], horizon_us[at]
        found[5, i] = (number[partition[at]] << 48) | offset[at]
    return found


@compiled
def fed(
    order: Int64Array, applies: Int64Array, row: Int64Array, words: Int64Array, there: BoolArray
) -> tuple[Int64Array, BoolArray]:
    """What updates are fed, in an order, and whether it is there: both of shape (operations, inputs), zeros for queries.

    words, there : of every event, shape (inputs, events)
    """
    shape = order.shape[0], words.shape[0]
    values, valid = np.empty(shape, np.int64), np.empty(shape, np.bool_)
    for i in range(order.shape[0]):
        at, applied = row[order[i]], applies[order[i]] != 0
        for column in range(words.shape[0]):
            values[i, column] = words[column, at] if applied else 0
            valid[i, column] = applied and there[column, at]
    return values, valid


@compiled
def arranged(
    order: Int64Array, reader: Int64Array, applies: Int64Array, key: Int64Array, t_us: Int64Array, position: Int64Array
) -> tuple[NDArray[np.int8], Int64Array, Int64Array, Int64Array]:  # fmt: skip
    """The kind of operations as the kernel knows it, their keys, instants and positions, all in an order."""
    count = order.shape[0]
    kind, keys = np.empty(count, np.int8), np.empty(count, np.int64)
    instants, positions = np.empty(count, np.int64), np.empty(count, np.int64)
    for i in range(count):
        one = order[i]
        if applies[one] == 0:
            kind[i] = QUERY
        else:
            kind[i] = BOTH if reader[one] != 0 else UPDATE
        keys[i], instants[i], positions[i] = key[one], t_us[one], position[one]
    return kind, keys, instants, positions


@compiled
def returned(order: Int64Array, reader: Int64Array, answer: Int64Array, to: Int64Array) -> None:
    """Write the answers of queries that were asked in an order, shape (queries, slots), to where they stand without it."""
    number = np.empty(order.shape[0], np.int64)
    queries = 0
    for i in range(order.shape[0]):
        number[i] = queries
        queries += reader[i] != 0
    asked = 0
    for i in range(order.shape[0]):
        if reader[order[i]] != 0:
            for slot in range(answer.shape[1]):
                to[number[order[i]], slot] = answer[asked, slot]
            asked += 1


def warm() -> None:
    """Compile all, or load them from numba's cache, before anything waits for them."""
    by_place(np.zeros(1, np.int64), 1)
    merged(np.zeros(1, np.int64), np.zeros((1, 1), np.int64), np.ones((1, 1), np.int64))
    one, two = np.zeros(1, np.int64), np.zeros((1, 1), np.int64)
    placed(one, one, one, one, one, one, one, one, one, one, one)
    fed(one, one, one, two, two > 0)
    arranged(one, one, one, one, one, one)
    returned(one, one, two, two)
