from __future__ import annotations

import gzip
import itertools
import json
import random
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simpy.events import NORMAL, URGENT, Event

from benchmarks.laws import resource_times
from crossvote.sim.common.errors import UserError
from crossvote.sim.kernel import (
    Booking,
    BookingArray,
    DeadlockError,
    Fifo,
    LocalTime,
    Module,
    Repetition,
    Resume,
    Simulation,
    Trace,
    Transaction,
    clocked,
)
from crossvote.sim.kernel.clocked import offered, transfer


@settings(max_examples=80, deadline=None)
@given(
    gaps=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 50), st.integers(0, 60)), min_size=1, max_size=60),
    servers=st.sampled_from([1, 2, 4, 7]),
)
def test_v13_booking_equals_a_simpy_resource(gaps, servers):
    arrivals = np.cumsum([gap for gap, _, _ in gaps]).tolist()
    jobs = [(a, occupied, latency) for a, (_, occupied, latency) in zip(arrivals, gaps, strict=True)]
    booking = Booking(Simulation(), "unit", servers)
    booked = [booking.book(*job) for job in jobs]
    assert booked == resource_times(jobs, servers)
    assert booking.busy_ps == sum(occupied for _, occupied, _ in jobs)
    assert booking.wait_ps == sum(start - job[0] for (start, _), job in zip(booked, jobs, strict=True))


@settings(max_examples=40, deadline=None)
@given(
    offsets=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    jobs=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20)), min_size=1, max_size=60),
)
def test_an_array_of_servers_in_step_equals_single_bookings(offsets, jobs):
    simulation = Simulation()
    array = BookingArray(simulation, "array", np.array(offsets))
    singles = [Booking(simulation, f"unit{i}") for i in range(len(offsets))]
    now = 0
    for gap, occupied in jobs:
        now += gap
        start, end = array.book(now, occupied, occupied + 25)
        expected = [single.book(now + o, occupied, occupied + 25) for single, o in zip(singles, offsets, strict=True)]
        assert (start, end) == (max(s for s, _ in expected), max(e for _, e in expected))
        assert array.free.tolist() == [single._free[0][0] for single in singles]
    assert {array.served} == {single.operations for single in singles}
    assert array.busy_ps == sum(single.busy_ps for single in singles)


def test_module_names_are_a_hierarchy_and_unique():
    simulation = Simulation()
    chip = Module(simulation, "chip")
    crossbar = Module(Module(Module(chip, "tile3"), "ima2"), "xb5")
    assert crossbar.path == "chip.tile3.ima2.xb5"
    assert simulation.modules["chip.tile3.ima2.xb5"] is crossbar
    with pytest.raises(ValueError, match=r"two modules called chip\.tile3"):
        Module(chip, "tile3")


def test_a_full_fifo_holds_the_writer_back():
    simulation = Simulation()
    fifo = Fifo(simulation, "queue", 2)
    written, read = [], []

    def writer():
        for number in range(6):
            yield fifo.put(number)
            written.append((simulation.now, number))

    def reader():
        for _ in range(6):
            yield simulation.delay(10)
            read.append((simulation.now, (yield fifo.get())))

    simulation.start(Module(simulation, "source"), writer())
    simulation.run(simulation.start(Module(simulation, "sink"), reader()))
    assert written == [(0, 0), (0, 1), (10, 2), (20, 3), (30, 4), (40, 5)]
    assert read == [(10 * (n + 1), n) for n in range(6)]
    assert fifo.peak_taken == 2


def test_reserved_and_kept_places_count():
    simulation = Simulation()
    fifo = Fifo(simulation, "queue", 2)
    log = []

    def writer():
        for number in range(3):
            yield fifo.reserve()
            log.append((simulation.now, number))
            simulation.call_at(simulation.now + 4, fifo.deliver, number)

    def reader():
        first, second = (yield fifo.get(keep_place=True)), (yield fifo.get(keep_place=True))
        yield simulation.delay(7)
        fifo.free(2)
        return [first, second, (yield fifo.get())]

    simulation.start(Module(simulation, "source"), writer())
    done = simulation.start(Module(simulation, "sink"), reader())
    simulation.run(done)
    assert done.value == [0, 1, 2]
    assert log == [(0, 0), (0, 1), (11, 2)]
    assert simulation.now == 15


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), capacity=st.integers(1, 6))
def test_v9_littles_law_from_independent_counters(seed, capacity):
    rng = random.Random(seed)
    simulation = Simulation()
    fifo = Fifo(simulation, "queue", capacity)

    def writer():
        for number in range(100):
            yield simulation.delay(rng.randrange(30))
            yield fifo.put(number)

    def reader():
        for number in range(100):
            assert (yield fifo.get()) == number
            yield simulation.delay(rng.randrange(30))

    simulation.start(Module(simulation, "source"), writer())
    simulation.run(simulation.start(Module(simulation, "sink"), reader()))
    measured = fifo.measurements()
    rate = fifo.arrivals / simulation.now
    assert fifo.arrivals == fifo.departures == 100
    assert measured["level"].value == pytest.approx(rate * measured["wait"].value, rel=1e-9)


def test_a_deadlock_names_who_waits_for_whom():
    simulation = Simulation()
    there, back = Fifo(simulation, "there", 1), Fifo(simulation, "back", 1)

    def stage(source, sink):
        while True:
            item = yield source.get()
            yield sink.put(item)
            yield sink.put(item)

    simulation.start(Module(simulation, "left"), stage(back, there))
    simulation.start(Module(simulation, "right"), stage(there, back))

    def kick():
        yield there.put(1)

    simulation.start(Module(simulation, "kick"), kick())
    with pytest.raises(DeadlockError) as caught:
        simulation.run(simulation.env.event())
    assert isinstance(caught.value, UserError)
    message = str(caught.value)
    assert "left waits for a place in there (1 of 1 taken), which depends on right" in message
    assert "right waits for a place in back (1 of 1 taken), which depends on left" in message
    assert "kick" not in message.replace("depends on kick", "")


def test_events_of_one_instant_keep_their_order():
    def run():
        simulation = Simulation()
        log = []

        def process(name):
            for step in range(5):
                yield simulation.delay(step % 2)
                log.append((simulation.now, name))

        done = [simulation.start(Module(simulation, n), process(n)) for n in "abc"]
        simulation.run(done[-1])
        return log

    assert run() == run()


@pytest.mark.parametrize(("quantum", "synchronisations"), [(0, 12), (25, 4), (1000, 0)])
def test_loose_timing_saves_events_and_keeps_the_sum(quantum, synchronisations):
    simulation = Simulation()
    local = LocalTime(simulation, quantum)
    seen = []

    def process():
        for _ in range(12):
            local.spend(10)
            if local.due:
                seen.append(local.now)
                yield local.synchronise()
        yield local.synchronise()

    simulation.run(simulation.start(Module(simulation, "process"), process()))
    assert len(seen) == synchronisations
    assert simulation.now == 120


def test_two_targets_answer_the_same_transport_call():
    simulation = Simulation()

    class Timed(Module):
        def __init__(self, name):
            super().__init__(simulation, name)
            self.unit = Booking(self, "unit")

        def transport(self, transaction, arrival_ps):
            start, end = self.unit.book(arrival_ps, 10 * transaction.vectors, 13 * transaction.vectors)
            return start + 10 * transaction.vectors, end

    class Computing(Timed):
        def transport(self, transaction, arrival_ps):
            transaction.response = transaction.request.sum(axis=1, keepdims=True)
            return super().transport(transaction, arrival_ps)

    work = Transaction("t", 2, request=np.arange(6).reshape(2, 3))
    assert Timed("model").transport(work, 5) == Computing("rtl").transport(work, 5) == (25, 31)
    assert work.response.tolist() == [[3], [12]]


def test_traces_have_one_track_per_slot_and_no_overlaps(tmp_path):
    trace = Trace()
    simulation = Simulation(trace)
    booking = Booking(Module(simulation, "chip"), "unit", 2)
    fifo = Fifo(simulation, "chip.queue", 3)
    for number in range(6):
        booking.book(number, 10, 12, f"t{number}")
    simulation.run(simulation.start(booking, iter_put(fifo)))
    for name in ("a.json.gz", "b.json.gz", "c.json"):
        trace.write(tmp_path / name)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    parsed = json.loads(gzip.decompress((tmp_path / "a.json.gz").read_bytes()))
    assert parsed == json.loads((tmp_path / "c.json").read_text())
    spans = [e for e in parsed["traceEvents"] if e["ph"] == "X"]
    assert len(spans) == 6
    for thread in {e["tid"] for e in spans}:
        own = sorted((e["ts"], e["ts"] + e["dur"]) for e in spans if e["tid"] == thread)
        assert all(a[1] <= b[0] + 1e-12 for a, b in itertools.pairwise(own))
    names = {e["args"]["name"] for e in parsed["traceEvents"] if e["name"].endswith("_name")}
    assert {"chip", "chip.unit[0]", "chip.unit[1]"} <= names
    assert [e["args"]["waiting"] for e in parsed["traceEvents"] if e["ph"] == "C"] == [1, 2, 3]


def iter_put(fifo):
    for number in range(3):
        yield fifo.put(number)


@pytest.mark.parametrize("bad", [lambda s: Fifo(s, "q", 0), lambda s: Booking(s, "b", 0)])
def test_impossible_sizes_are_refused(bad):
    with pytest.raises(ValueError, match="at least"):
        bad(Simulation())


@pytest.mark.parametrize("seed", range(4))
def test_both_hosts_of_a_clocked_component_write_the_same_log(seed):
    """SimPy keeps the time, or somebody else does and the simulation catches up before every edge."""
    period = 10

    def surroundings():
        simulation, log = Simulation(), []
        source, sink = Fifo(simulation, "source", 2), Fifo(simulation, "sink", 1)
        rng = random.Random(seed)
        pauses = [(rng.randrange(25), rng.randrange(25)) for _ in range(40)]

        def producer():
            for number, (pause, _) in enumerate(pauses, 1):
                yield simulation.delay(pause)
                yield source.put(number)
                log.append((simulation.now, "put", number))

        def consumer():
            for _, pause in pauses:
                yield simulation.delay(pause)
                log.append((simulation.now, "got", (yield sink.get())))

        simulation.start(Module(simulation, "producer"), producer())
        return simulation, source, sink, log, simulation.start(Module(simulation, "consumer"), consumer())

    def component():
        held = []

        def step(item, room):
            output = held.pop(0) if held and room else None
            accepted = item is not None and len(held) < 2
            if accepted:
                held.append(item)
            return accepted, output

        return step

    simulation, source, sink, hosted, done = surroundings()
    simulation.start(Module(simulation, "component"), clocked(simulation, period, component(), source, sink))
    simulation.run(done)

    simulation, source, sink, followed, done = surroundings()
    step, now = component(), 0
    while True:
        simulation.advance(now + period - 1)
        if done.triggered:
            break
        happened = step(*offered(source, sink))
        now += period
        simulation.env._now = now
        transfer(source, sink, *happened)
    assert hosted == followed
    assert sorted(item for _, what, item in hosted if what == "got") == list(range(1, 41))
    assert any(time % period for time, _, _ in hosted)


def test_bookings_out_of_order_are_refused():
    """The next-free-time arithmetic would answer them wrongly and without a word."""
    booking = Booking(Simulation(), "unit")
    booking.book(10, 5)
    with pytest.raises(ValueError, match=r"unit: operation 'late' arrives at 9 ps, before one at 10 ps"):
        booking.book(9, 5, label="late")
    array = BookingArray(Simulation(), "units", np.array([0, 2]))
    array.book(10, 5, 5)
    with pytest.raises(ValueError, match="book in order of arrival"):
        array.book(9, 5, 5)


def test_a_clocked_block_that_never_accepts_is_given_up(monkeypatch):
    monkeypatch.setattr("crossvote.sim.kernel.simulation.PATIENCE", 500)
    simulation = Simulation()
    source, sink = Fifo(simulation, "source", 1), Fifo(simulation, "sink", 1)

    def producer():
        yield source.put(1)
        yield source.put(2)

    simulation.start(Module(simulation, "producer"), producer())
    simulation.start(
        Module(simulation, "dead"), clocked(simulation, 10, lambda item, room: (False, None), source, sink)
    )
    with pytest.raises(
        DeadlockError, match=r"nothing has moved for 500 events: .*producer waits for a place in source"
    ):
        simulation.run(simulation.env.event())
    assert simulation.now < 20_000


def test_a_slow_block_is_not_given_up(monkeypatch):
    monkeypatch.setattr("crossvote.sim.kernel.simulation.PATIENCE", 500)
    simulation = Simulation()
    fifo = Fifo(simulation, "queue", 1)

    def slow():
        for number in range(4):
            for _ in range(450):
                yield simulation.delay(1)
            yield fifo.put(number)
            yield fifo.get()

    simulation.run(simulation.start(Module(simulation, "slow"), slow()))
    assert simulation.now == 4 * 450


def test_a_timeline_is_in_order_of_time_and_layer():
    trace = Trace()
    for layer in (10, 2, 1):
        trace.span(f"chip.layer{layer}", 0, "work", 100 - layer, 200)
    events = trace.events()
    times = [event["ts"] for event in events if event["ph"] == "X"]
    assert times == sorted(times)
    tracks = [event["args"]["name"] for event in events if event["name"] == "thread_name"]
    assert tracks == ["chip.layer1", "chip.layer2", "chip.layer10"]


@dataclass
class Item:
    number: int


def stream(items, enabled):
    """A two-stage pipeline; the second stage takes 7, 11, 7, 11, ... so that two items are a period."""
    simulation = Simulation()
    fifo, unit = Fifo(simulation, "queue", 3), Booking(simulation, "unit")
    repetition = Repetition(
        simulation, lambda item, index: item.number - index if isinstance(item, Item) else None, enabled
    )

    class Parity(Module):
        left = 0

        def state(self, key):
            return self.left

    parity, done = Parity(simulation, "parity"), simulation.env.event()
    real = [0]

    def sink():
        while True:
            item = yield fifo.get()
            parity.left ^= 1
            _, end = unit.book(simulation.now, 7 + 4 * parity.left)
            yield simulation.delay(end - simulation.now)
            repetition.log("end", item.number)
            real[0] -= 1
            if not real[0]:
                done.succeed()

    def source():
        number, total = 0, items
        real[0] = items
        while number < total:
            skipped = repetition.look(number, total)
            total -= skipped
            real[0] -= skipped
            if number < total:
                yield fifo.put(Item(number))
                yield simulation.delay(5)
                number += 1

    simulation.start(Module(simulation, "sink"), sink())
    simulation.start(Module(simulation, "source"), source())
    simulation.run(done)
    repetition.finish()
    counts = {path: module.snapshot() for path, module in simulation.modules.items()}
    return repetition, sorted(repetition.events()), counts, simulation.now, simulation.events


@pytest.mark.parametrize("items", [40, 41, 1000])
def test_what_repeats_is_skipped_exactly(items):
    whole, expected, counts, now, events = stream(items, enabled=False)
    quick, got, quick_counts, quick_now, quick_events = stream(items, enabled=True)
    assert got == expected
    assert quick_counts == counts
    assert quick_now == now
    assert quick.period is not None
    assert quick.period.items % 2 == 0
    assert quick.period.time_ps == quick.period.items // 2 * 18
    assert whole.period is None
    assert quick_events < events


@settings(max_examples=200)
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(["call", "event", "edge", "resume"]), st.integers(0, 2), st.integers(0, 5)),
            max_size=3,
        ),
        min_size=6,
        max_size=6,
    )
)
def test_whatever_is_scheduled_happens_in_the_order_of_simpy(program):
    """Each thing that happens schedules others, now or later: calls and resumed workers keep the place of an event."""

    def run(plain):
        simulation, log = Simulation(), []
        env = simulation.env

        def happen(number):
            log.append((env.now, number))
            if len(log) > 60:
                return
            for kind, delay, following in program[number]:
                event = Event(env)
                event._ok, event._value = True, None
                event.callbacks.append(lambda _, following=following: happen(following))
                if kind == "edge":
                    env.schedule(event, URGENT, delay)
                elif kind == "event" or plain:
                    env.schedule(event, NORMAL, 0 if kind == "resume" else delay)
                elif kind == "call":
                    simulation.call_at(env.now + delay, happen, following)
                else:
                    Resume(simulation, happen).succeed(following)

        happen(0)
        if plain:
            while env.peek() < 1_000:
                env.step()
        else:
            simulation.advance(1_000)
        return log

    assert run(plain=False) == run(plain=True)
