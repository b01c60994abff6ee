"""
Sparkplug B (ISO/IEC 20237): protobuf metrics of edge nodes and their devices.

    spBv1.0/GROUP/NBIRTH/NODE, .../DBIRTH/NODE/DEVICE    names, aliases and datatypes, with a first value each
    spBv1.0/GROUP/NDATA/NODE, .../DDATA/NODE/DEVICE      values by name or by alias
    spBv1.0/GROUP/NDEATH/NODE                            the node is gone

A value's name is GROUP/NODE/METRIC or GROUP/NODE/DEVICE/METRIC. What a birth says is kept in memory, of mapped nodes
and devices only. Where it is missing the node is asked for it: spBv1.0/GROUP/NCMD/NODE, `Node Control/Rebirth`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from ingest.decode.entries import MOST_ENTRIES, WHOLE, Refusal
from ingest.decode.reasons import Reason
from ingest.decode.said import Said, Source, Value, malformed, unknown_topic
from ingest.model import Publication

_SIGNED_BITS = {1: 8, 2: 16, 3: 32, 4: 64}  # datatypes Int8 to Int64: two's complement in an unsigned field
_BOOLEAN = 11
_COMPRESSED = b"SPBV1.0_COMPRESSED"

# name, number, type: the fields of the specification's schema that are read here; all others are skipped
_PAYLOAD = (("timestamp", 1, "UINT64"), ("metrics", 2, "MESSAGE"), ("uuid", 4, "BYTES"))
_METRIC = (
    ("name", 1, "BYTES"), ("alias", 2, "UINT64"), ("timestamp", 3, "UINT64"), ("datatype", 4, "UINT32"),
    ("is_null", 7, "BOOL"),
)  # fmt: skip
_VALUES = (
    ("int_value", 10, "UINT32"), ("long_value", 11, "UINT64"), ("float_value", 12, "FLOAT"),
    ("double_value", 13, "DOUBLE"), ("boolean_value", 14, "BOOL"), ("string_value", 15, "BYTES"),
)  # fmt: skip


def _schema() -> Any:
    """Build the class of a payload; text is read as bytes, which may hold anything."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="peakwatch", syntax="proto2")
    payload, metric = file.message_type.add(name="Payload"), file.message_type.add(name="Metric")
    metric.oneof_decl.add(name="value")
    for name, number, kind in _PAYLOAD:
        label = field.LABEL_REPEATED if kind == "MESSAGE" else field.LABEL_OPTIONAL
        more: dict[str, Any] = {"type_name": ".peakwatch.Metric"} if kind == "MESSAGE" else {}
        payload.field.add(name=name, number=number, type=f"TYPE_{kind}", label=label, **more)
    for name, number, kind in (*_METRIC, *_VALUES):
        more = {"oneof_index": 0} if number >= _VALUES[0][1] else {}
        metric.field.add(name=name, number=number, type=f"TYPE_{kind}", label=field.LABEL_OPTIONAL, **more)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("peakwatch.Payload"))


_Payload = _schema()


class _Birth(NamedTuple):
    """What the birth of a node or device says: its aliases and datatypes."""

    names: dict[int, str]
    datatypes: dict[str, int]


class Reader:
    """Reads the messages of one gateway, in the order they come."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._births: dict[str, _Birth] = {}

    def __call__(self, below: str, payload: bytes) -> Said:
        """Read one message."""
        match below.split("/"):
            case ["spBv1.0", group, "NBIRTH" | "NDATA" | "NDEATH" as kind, node]:
                place = f"{group}/{node}/"
            case ["spBv1.0", group, "DBIRTH" | "DDATA" as kind, node, device]:
                place = f"{group}/{node}/{device}/"
            case _:
                return unknown_topic(below, "sparkplug_b")
        if not any(name.startswith(place) for name in self._source.meters):
            return Said()
        state = {"NBIRTH": "online", "NDEATH": "offline"}.get(kind, "")
        return Said(state=state) if kind == "NDEATH" else self._metrics(place, kind, payload)._replace(state=state)

    def _metrics(self, place: str, kind: str, payload: bytes) -> Said:
        try:
            whole = _Payload.FromString(payload)
        except DecodeError:
            return Said(refused=[malformed(WHOLE, "the payload", "no protobuf", "a Sparkplug B payload")])
        if whole.uuid == _COMPRESSED:
            return Said(refused=[malformed(WHOLE, "the payload", "compressed", "a plain Sparkplug B payload")])
        if len(whole.metrics) > MOST_ENTRIES:
            found = f"an array of {len(whole.metrics)} entries"
            return Said(refused=[malformed(WHOLE, "'metrics'", found, f"at most {MOST_ENTRIES}")])
        if kind.endswith("BIRTH"):
            self._births[place] = _birth(whole.metrics)
        parts = list(self._parts(place, whole.metrics))
        unread = any(isinstance(part, Refusal) and part.reason is Reason.NO_BIRTH for part in parts)
        good = [part for part in parts if isinstance(part, Value)]
        bad = [part for part in parts if isinstance(part, Refusal)]
        time = whole.timestamp if whole.HasField("timestamp") else None
        return Said(good, time, bad, ask=_rebirth(place, time) if unread else None)

    def _parts(self, place: str, metrics: Any) -> Iterator[Value | Refusal]:
        birth = self._births.get(place, _Birth({}, {}))
        for item, metric in enumerate(metrics):
            metric_name = _name(metric)
            if metric_name is None and metric.HasField("alias"):
                metric_name = birth.names.get(metric.alias)
            if metric_name is None:
                yield _no_birth(item, f"alias {metric.alias}", place)
            elif (name := place + metric_name) in self._source.meters:
                datatype = metric.datatype or birth.datatypes.get(metric_name, 0)
                value = _value(metric, datatype)
                time = metric.timestamp if metric.HasField("timestamp") else None
                # the field of an integer does not say how to read it
                unknown = not datatype and type(value) is int
                yield _no_birth(item, "the datatype", name) if unknown else Value(item, name, value, time=time)


def _birth(metrics: Any) -> _Birth:
    named = [(metric, name) for metric in metrics if (name := _name(metric)) is not None]
    return _Birth(
        {metric.alias: name for metric, name in named if metric.HasField("alias")},
        {name: metric.datatype for metric, name in named},
    )


def _rebirth(place: str, time: int | None) -> Publication:
    group, node, *_ = place.split("/")
    order = {"name": b"Node Control/Rebirth", "timestamp": time, "datatype": _BOOLEAN, "boolean_value": True}
    payload = _Payload(timestamp=time, metrics=[order])
    return Publication(f"spBv1.0/{group}/NCMD/{node}", payload.SerializeToString())


def _name(metric: Any) -> str | None:
    return metric.name.decode("utf-8", "replace") if metric.name else None


def _value(metric: Any, datatype: int) -> object:
    field = metric.WhichOneof("value")
    if field is None or metric.is_null:
        return None
    value = getattr(metric, field)
    if bits := _SIGNED_BITS.get(datatype) if type(value) is int else None:
        value &= (1 << bits) - 1
        return value - (1 << bits) if value >> (bits - 1) else value
    return value.decode("utf-8", "replace") if type(value) is bytes else value


def _no_birth(item: int, what: str, name: str) -> Refusal:
    sentence = Reason.NO_BIRTH.sentence.format(what, name.rstrip("/"), "NBIRTH or DBIRTH")
    return Refusal(item, Reason.NO_BIRTH, sentence)
