"""The compiled decoder against the general one (fastavro, then `avro_wire`): the same records, the same columns, the same dead."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avro_cases import HASH, SUITS, assert_same, compare, lawful, mutated, record, with_defaults
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samestream.schemas import avro, records
from samestream.schemas.errors import SchemaError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.plan import Gate, Input
from samestream.streams.transport import MAX_EVENT_BYTES, Fetched, Partition
from samestream.streams.wire import avro_columns, avro_kernel
from samestream.streams.wire.avro_columns import GENERAL, GOOD, Batch, NotCovered, Program
from samestream.streams.wire.avro_values import Rows
from samestream.streams.wire.avro_wire import Wire
from samestream.streams.wire.decode import UNKNOWN_KNOWN_US, Decoded, Decoder, _Writer, vector_input
from samestream.streams.wire.schema_store import SchemaStore

MALFORMED = int(os.environ.get("SAMESTREAM_MALFORMED_RECORDS", "50000"))  # the long form: 1000000
TIME = {"type": "long", "logicalType": "timestamp-micros"}


def _never(*_: Any) -> Program:
    raise NotCovered("a test says so")


WRITER = record(
    user="string",
    noise=["null", "string"],
    age="int",
    hash=HASH,
    amount="long",
    ratio="float",
    suit=SUITS,
    price=["double", "null"],
    blob="bytes",
    ok="boolean",
    skipped=["int", "null", "double", HASH | {"name": "Other"}, "bytes"],
    maybe=["null", "long"],
    name="bytes",
    nothing="null",
    at=TIME,
    tail=["null", "boolean"],
)
READER = with_defaults(
    record(
        user="string",
        age="double",
        amount=["null", "long"],
        ratio="double",
        price=["null", "double"],
        ok="boolean",
        maybe=["null", "double"],
        name="string",
        at=TIME,
        region=["null", "string"],
        weight="double",
        tag="string",
    ),
    region=None,
    weight=2,
    tag="new",
)
COLUMNS = {
    "user": Kind.STRING,
    "age": Kind.FLOAT,
    "amount": Kind.INT,
    "ratio": Kind.FLOAT,
    "price": Kind.FLOAT,
    "ok": Kind.BOOL,
    "maybe": Kind.FLOAT,
    "name": Kind.STRING,
    "at": Kind.TIME,
    "region": Kind.STRING,
    "weight": Kind.FLOAT,
    "tag": Kind.STRING,
}


def test_lawful_records_with_promotions_defaults_and_skipped_fields() -> None:
    rng = random.Random(1)
    values = lawful(rng, WRITER, 3000)
    dead = compare(WRITER, READER, COLUMNS, values)
    assert 0 < dead < 1000  # only those where `name`, bytes read as text, is not UTF-8


def test_malformed_records_are_dead_in_both_paths_and_the_others_equal() -> None:
    rng = random.Random(2)
    own = {**COLUMNS, "name": Kind.STRING}
    done = dead = 0
    while done < MALFORMED:
        values = lawful(rng, WRITER, 300)
        values = [mutated(rng, rng.choice(values), rng.choice(values)) for _ in range(5000)]
        dead += compare(WRITER, READER, own, values)
        done += len(values)
    assert 0.3 < dead / done < 0.95


FLAT = st.sampled_from(["null", "boolean", "int", "long", "float", "double", "string", "bytes", SUITS, HASH])
KINDS = {"int": Kind.INT, "long": Kind.INT, "float": Kind.FLOAT, "double": Kind.FLOAT, "string": Kind.STRING}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(FLAT, st.sampled_from(["", "first", "last"]), st.booleans()), min_size=1, max_size=8), st.data()
)
def test_any_flat_schema_and_any_bytes(shape: list[tuple[Any, str, bool]], data: st.DataObject) -> None:
    writer_fields, reader_fields, columns = {}, {}, {}
    for number, (type_, null, wanted) in enumerate(shape):
        name = f"f{number}"
        if isinstance(type_, dict):
            type_ = type_ | {"name": f"T{number}"}
        union = type_ if not null or type_ == "null" else ["null", type_] if null == "first" else [type_, "null"]
        writer_fields[name] = union
        if wanted and isinstance(type_, str) and type_ in KINDS:
            reader_fields[name] = ["null", type_]
            columns[name] = KINDS[type_]
    writer = record(**writer_fields)
    # half of the time the very schema, so that nothing is skipped
    reader = record(**reader_fields) if data.draw(st.booleans()) else writer
    header = avro.Codec(writer).header
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    values = lawful(rng, writer, 5)
    values += [mutated(rng, value, values[0]) for value in values for _ in range(5)]
    values += [header + body for body in data.draw(st.lists(st.binary(max_size=40), max_size=20))]
    compare(writer, reader, columns, values)


@pytest.mark.parametrize(
    ("type_", "body", "good"),
    [
        ("long", b"\xff" * 9 + b"\x01", True),  # the least 64-bit number
        ("long", b"\xff" * 9 + b"\x03", False),  # 65 bits: fastavro drops the last
        ("long", b"\xff" * 14 + b"\x01", False),  # 15 bytes
        ("long", b"\x82\x80\x00", True),  # longer than need be, and lawful
        ("long", b"\x80\x80", False),
        ("long", b"", False),
        ("int", b"\xff\xff\xff\xff\x0f", True),
        ("int", b"\x80\x80\x80\x80\x10", False),  # 2**31
        ("boolean", b"\x01", True),
        ("boolean", b"\x02", False),  # fastavro: true
        ("boolean", b"", False),
        ("double", b"\x00" * 7, False),
        ("float", b"\x00" * 4, True),
        ("float", b"\x00" * 3, False),
        ("string", b"\x06abc", True),
        ("string", b"\x08abc", False),
        ("string", b"\x05abc", False),  # minus three bytes
        ("string", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", False),  # all that there are, and more
        ("string", b"\x06a\xffc", False),
        ("string", b"\x06\xed\xa0\x80", False),  # a surrogate
        ("string", b"\x04\xc0\x80", False),  # a zero in two bytes
        ("string", b"\x08\xf4\x8f\xbf\xbf", True),  # U+10FFFF
        ("string", b"\x08\xf4\x90\x80\x80", False),
        ("string", b"\x06\xe0\xa0\x80", True),
        ("string", b"\x06\xe0\x9f\xbf", False),
        ("string", b"\x02\xc3", False),  # cut off within a character
        (["null", "string"], b"\x00", True),
        (["null", "string"], b"\x04", False),
        (["null", "string"], b"\x01", False),  # index -1: fastavro takes the last
        (["string", "null"], b"\x02", True),
        ("long", b"\x02\x00", False),  # a byte after the record
    ],
)
@pytest.mark.parametrize("read", [True, False])
def test_every_edge_of_the_encoding(type_: Any, body: bytes, good: bool, read: bool) -> None:
    """Read or skipped: whether a record is dead depends on its bytes and its writer, not on who reads it."""
    writer = record(f=type_)
    base = type_ if isinstance(type_, str) else "string"
    kinds = {"long": Kind.INT, "int": Kind.INT, "boolean": Kind.BOOL, "double": Kind.FLOAT, "float": Kind.FLOAT}
    columns = {"f": kinds.get(base, Kind.STRING)} if read else {}
    value = avro.Codec(writer).header + body
    assert compare(writer, record(f=type_) if read else record(), columns, [value]) == (0 if good else 1)


@pytest.mark.parametrize(
    ("writer", "reader", "columns"),
    [
        (record(f={"type": "array", "items": "long"}, g="long"), record(g="long"), {"g": Kind.INT}),
        (record(f={"type": "map", "values": "long"}, g="long"), record(g="long"), {"g": Kind.INT}),
        (record(f=["null", "R"], g="long"), record(g="long"), {"g": Kind.INT}),
        (record(f="string"), record(f="long"), {"f": Kind.INT}),  # never to be read
        (record(f="long"), record(f="long", g="long"), {"f": Kind.INT, "g": Kind.INT}),  # no default
        (record(f="long"), with_defaults(record(f="long", g="double"), g=2**70), {"f": Kind.INT, "g": Kind.FLOAT}),
        (record(f=SUITS), record(f=SUITS | {"name": "Other"}, g="long"), {"f": Kind.STRING}),
        (record(f=["string", "double"]), record(f=["string", "double"]), {"f": Kind.STRING}),
        (record(f="long"), record(f="long") | {"name": "Another"}, {"f": Kind.INT}),
    ],
)
def test_what_is_left_to_the_general_path(writer: Any, reader: Any, columns: dict[str, Kind]) -> None:
    with pytest.raises(NotCovered):
        Program.compile(writer, reader, columns)


def test_own_topics_are_fast() -> None:
    for schema in (records.OUTCOME, records.PREDICTION):
        assert Decoder(vector_input("v", "v", schema), SchemaStore(None, "", [])).is_fast(schema)


def test_a_map_in_a_union_costs_only_the_records_that_have_one() -> None:
    input = vector_input("p", "p", records.PREDICTION)
    program = Program.compile(input.schema, input.schema, input.columns, input.key)
    codec = avro.Codec(records.PREDICTION)
    place = {"trigger_topic": "t", "trigger_partition": 0, "trigger_offset": 1}
    said = {"model": "m", "version": "1", "fingerprint": "f", "score": 0.5}
    number = {"entity": "u", "event_time": 5, **place, **said, "value": None, "probabilities": None}
    chosen = number | {"value": "a", "probabilities": {"a": 0.5, "": 0.5}}
    values = [codec.encode(number), codec.encode(chosen)]
    batch = Batch(values, input.columns, MAX_EVENT_BYTES)
    batch.run(program)
    assert batch.status.tolist() == [GOOD, GENERAL]
    batch.fill([1], [codec.decode(values[1])])
    columns = batch.finish()
    assert [cols.to_python(columns[name]) for name in ("value", "probabilities")] == [
        [None, "a"],
        [None, {"a": 0.5, "": 0.5}],
    ]
    logged = cols.to_arrow(columns["probabilities"], Kind.MAP, input.items["probabilities"])
    assert logged.to_pylist() == [None, [("a", 0.5), ("", 0.5)]]


OLD_PREDICTION = records.PREDICTION | {"fields": records.PREDICTION["fields"][:-2]}


@pytest.mark.parametrize("fast", [True, False])
def test_predictions_written_before_there_were_classes_are_read(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    input = vector_input("p", "p", records.PREDICTION)
    Program.compile(OLD_PREDICTION, input.schema, input.columns, input.key)
    if not fast:
        monkeypatch.setattr(Program, "compile", classmethod(_never))
    value = {"entity": "u", "event_time": 5, "trigger_topic": "t", "trigger_partition": 0, "trigger_offset": 1}
    value |= {"model": "m", "version": "1", "fingerprint": "f", "score": 0.5}
    store = SchemaStore(None, "", [OLD_PREDICTION, records.PREDICTION])
    fetched = Fetched(
        Partition("p", 0), np.array([0]), np.array([9]), [b"u"], [avro.Codec(OLD_PREDICTION).encode(value)]
    )
    found = Decoder(input, store).decode(fetched, 0)
    assert not found.dead.any()
    assert [cols.to_python(found.columns[name]) for name in ("score", "value", "probabilities")] == [
        [0.5],
        [None],
        [None],
    ]


def test_a_whole_number_or_a_text_in_one_column() -> None:
    """As predictions carry their entity."""
    schema = record(entity=["string", "long"], score="double")
    values = lawful(random.Random(3), schema, 200)
    assert compare(schema, schema, {"entity": Kind.STRING, "score": Kind.FLOAT}, values) == 0


SCHEMA = record(user=["null", "string"], cents="long", at=TIME)
OLDER = record(user="string", cents="int", gone={"type": "map", "values": "bytes"}, at=TIME)
YOUNGER = record(at=TIME, cents="long", more="string", user=["null", "string"])
GATE = Gate(0, 0, 3600 * 10**6, 10**15, 2 * 10**15)


def decoded(monkeypatch: pytest.MonkeyPatch, fast: bool, key: str, fetched: Fetched, **options: Any) -> Decoded:
    kinds = {"user": Kind.STRING, "cents": Kind.INT, "at": Kind.TIME}
    with monkeypatch.context() as patch:
        if not fast:
            patch.setattr(Program, "compile", classmethod(_never))
        input = Input("R", "r", SCHEMA, kinds, frozenset({"user"}), key, "at", GATE)
        decoder = Decoder(input, SchemaStore(None, "", [SCHEMA, OLDER, YOUNGER]))
        return decoder.decode(fetched, UNKNOWN_KNOWN_US, **options)


@pytest.mark.parametrize("key", ["user", "cents", ""])
def test_keys_times_schemas_and_reasons_are_judged_alike(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(4)
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    for _ in range(4000):
        schema = rng.choice([SCHEMA, SCHEMA, OLDER, YOUNGER, record(user="string")])
        user = rng.choice([f"u{rng.randrange(50)}", "ü", "None", None if schema in (SCHEMA, YOUNGER) else "n"])
        cents = rng.choice([0, -5, 10, 2**31 - 1, -(2**31), rng.randrange(1000)])
        at = rng.choice([*[10**15 + rng.randrange(10**9)] * 9, 10**15 + 10**10, 0, 3 * 10**15])
        fields = {"user": user, "cents": cents, "at": at, "gone": {"a": b"b"}, "more": "m"}
        value = avro.Codec(schema).encode({field["name"]: fields[field["name"]] for field in schema["fields"]})
        right = str({"user": user, "cents": cents, "": "x"}[key]).encode()
        keys.append(rng.choice([right] * 8 + [b"", None, b"u1", b"0" + right, right + b"0", b"-" + right, b"\xff"]))
        wrong = [None, b"", b"junk", b"\xc3\x01", b"\xc3\x01" + rng.randbytes(12), mutated(rng, value, value)]
        values.append(rng.choice([value] * 12 + wrong))
    values[7] = b"\xc3\x01" + bytes(MAX_EVENT_BYTES)
    stamps = np.full(len(values), 10**15 + 10**9)
    fetched = Fetched(Partition("r", 0), np.arange(10, 10 + 2 * len(values), 2), stamps, keys, values)
    forced = frozenset({10, 12, 14, 11, 100, 1100})
    fast = decoded(monkeypatch, True, key, fetched, forced_dead=forced)
    slow = decoded(monkeypatch, False, key, fetched, forced_dead=forced)
    assert list(fast.deaths.items()) == list(slow.deaths.items())
    reasons = {reason for reason, _ in fast.deaths.values()}
    assert reasons >= {"undecodable", "empty_value", "wrong_schema", "too_large", "journaled"}
    assert reasons >= {"absurd_event_time", "ahead_of_record"}
    assert "key_mismatch" in reasons or not key
    assert 500 < (~fast.dead).sum() < 3000
    for name in ("dead", "known_us", "time_us"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))
    for name, column in fast.columns.items():
        assert_same(column, slow.columns[name])


def test_nothing_fetched_is_nothing_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    none = np.empty(0, np.int64)
    assert len(decoded(monkeypatch, True, "user", Fetched(Partition("r", 0), none, none, [], []))) == 0


def test_details_of_death_hold_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead records are written to a topic, the same bytes by every run."""
    schema = record(user="string", at=TIME, x="double")
    input = Input("R", "r", schema, {"user": Kind.STRING, "at": Kind.TIME, "x": Kind.FLOAT}, frozenset(), "", "at")
    value = avro.Codec(schema).encode({"user": "u", "at": 1, "x": 1.0})[:-1]
    fetched = Fetched(Partition("r", 0), np.zeros(1, np.int64), np.zeros(1, np.int64), [b"u"], [value])
    found = Decoder(input, SchemaStore(None, "", [schema])).decode(fetched, 0)
    told = (
        "found bytes that end before the record does (EOFError: cannot read double); expected one R, written with schema "
        + avro.schema_fingerprint(schema).hex()
    )
    assert found.deaths == {0: ("undecodable", told)}


def test_an_unknown_schema_and_that_of_something_else_are_told_apart() -> None:
    mine, other = record(user="string"), {**record(cents="int"), "name": "Other"}
    input = Input("R", "r", mine, {"user": Kind.STRING}, frozenset(), "", "")
    decoder = Decoder(input, SchemaStore(None, "", [mine, other]))
    value, strange = avro.Codec(other).encode({"cents": 1}), b"\xc3\x01" + b"12345678" + b"x"
    assert decoder._read(value) == (
        None,
        ("wrong_schema", f"schema {avro.schema_fingerprint(other).hex()} is one of Other, expected one of R"),
    )
    assert decoder._read(strange) == (
        None,
        (
            "wrong_schema",
            "schema 3132333435363738 is unknown, expected one of R that was published before its records",
        ),
    )


def test_nested_data_that_would_end_the_process_or_never_end_is_refused_first() -> None:
    tower = record(next=["null", "R"])
    bomb = record(items={"type": "array", "items": "null"})
    for writer, body, reason in (
        (tower, b"\x02" * 900_000, "nested deeper than 64 levels"),
        (bomb, b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" * 2, "more than 10000 items without bytes"),
    ):
        assert not Wire(writer).is_flat
        with pytest.raises(SchemaError) as caught:
            _Writer(avro.Reader(writer, writer), Wire(writer), Rows(writer, []), None).read(
                avro.Codec(writer).header + body
            )
        assert caught.value.found == reason


def test_nested_records_are_lawful_where_they_are() -> None:
    inner = record(x="long", next=["null", "Inner"]) | {"name": "Inner"}
    writer = record(a={"type": "array", "items": inner}, m={"type": "map", "values": SUITS}, i="Inner")
    one = {"x": 1, "next": {"x": 2, "next": None}}
    value = avro.Codec(writer).encode({"a": [one, one], "m": {"k": "clubs"}, "i": one})
    Wire(writer).check(value)
    sized = avro.Codec(record(a={"type": "array", "items": "long"}))
    Wire(sized.schema).check(sized.header + b"\x03\x04\x02\x02\x00")  # two items in two bytes
    for broken in (value[:-1], value + b"\x00"):
        with pytest.raises(SchemaError):
            Wire(writer).check(broken)
    with pytest.raises(SchemaError, match="undecodable"):
        Wire(sized.schema).check(sized.header + b"\x03\x06\x02\x02\x00")


def test_one_signature_each() -> None:
    """Another type of array would compile for seconds in the middle of a stream."""
    avro_columns.warm()
    compare(WRITER, READER, COLUMNS, lawful(random.Random(5), WRITER, 10))
    for function in (avro_kernel.decode, avro_kernel.compare, avro_kernel.gather):
        assert len(function.signatures) == 1  # type: ignore[attr-defined]


def test_no_read_beyond_the_bytes(tmp_path: Path) -> None:
    """Every record alone in its array, compiled with checked indices: a read beyond it raises IndexError."""
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    code = f"""
import importlib.util, random, sys
sys.path += [{str(Path(__file__).parents[1] / "support")!r}, {str(Path(__file__).parent)!r}]
spec = importlib.util.spec_from_file_location("suite", {__file__!r})
suite = importlib.util.module_from_spec(spec)
spec.loader.exec_module(suite)
rng = random.Random(6)
values = suite.lawful(rng, suite.WRITER, 200)
program = suite.Program.compile(suite.WRITER, suite.READER, suite.COLUMNS)
for _ in range(5000):
    batch = suite.Batch([suite.mutated(rng, rng.choice(values), values[0])], suite.COLUMNS, 1 << 20)
    batch.run(program)
    batch.compare_keys("user", [b"u"])
    batch.finish()
import test_avro_values as typed
values = [typed.EventCodec(typed.Sale).encode(one) for one in typed.SALES_LIST]
program = suite.Program.compile(typed.SALE.schema, typed.SALE.schema, typed.SALE.columns)
for _ in range(5000):
    batch = suite.Batch([suite.mutated(rng, rng.choice(values), values[0])], typed.SALE.columns, 1 << 20)
    batch.run(program)
    batch.finish()
try:
    suite.avro_kernel.varint(suite.np.zeros(1, suite.np.uint8), 1, 2)
except IndexError:
    print("checked")
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "checked"), done.stderr


def test_records_of_another_schema_are_left_alone() -> None:
    values = [*lawful(random.Random(7), SCHEMA, 2), *lawful(random.Random(7), YOUNGER, 2), b"", b"\xc3\x01short"]
    program = Program.compile(SCHEMA, SCHEMA, {"cents": Kind.INT})
    batch = Batch(values, {"cents": Kind.INT}, MAX_EVENT_BYTES)
    batch.run(program)
    todo = avro_columns.TODO
    assert batch.status.tolist() == [GOOD, GOOD, todo, todo, GENERAL, todo]
