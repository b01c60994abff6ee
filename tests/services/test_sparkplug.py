"""A Sparkplug node on a real mosquitto: asked for its births, it sends them, and its data can be read from then on."""

import tomllib
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from ingest.collect.publish import publish
from ingest.collect.subscription import Subscription
from ingest.decode.topics import filters
from ingest.model import Publication
from ingest.registry import Facility, Registry
from ingest.store.lake.adapter import Lake

pytest.importorskip("google.protobuf", reason="the extra sparkplug is not installed")

from ingest.decode.sparkplug import _Payload

pytestmark = pytest.mark.server

FILE = Path(__file__).parents[1] / "ingest" / "registry_cases" / "good" / "gateways.toml"
REGISTRY = Registry({"formats": Facility.model_validate(tomllib.loads(FILE.read_text("utf-8")))})
NODE = "peakwatch/v1/formats/node/spBv1.0/plant"
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
MILLISECONDS = int(NOW.timestamp() * 1000)


def data(minute: int) -> Publication:
    """A value by alias, one each minute before NOW."""
    metric = {"alias": 7, "double_value": 1000.0 - minute, "timestamp": MILLISECONDS - 60_000 * minute}
    return Publication(
        f"{NODE}/DDATA/line-1/meter-1", _Payload(timestamp=MILLISECONDS, metrics=[metric]).SerializeToString()
    )


class Node:
    """An edge node that births again when it is told to."""

    def __init__(self, port: int) -> None:
        self.births = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_command
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"{NODE}/NCMD/line-1", 1)
        self._client.loop_start()

    def _on_command(self, _, __, message) -> None:
        [order] = _Payload.FromString(message.payload).metrics
        assert (order.name, order.boolean_value) == (b"Node Control/Rebirth", True)
        self.births += 1
        metric = {"name": b"Energy/Total", "alias": 7, "datatype": 10, "double_value": 1001.0}
        payload = _Payload(timestamp=MILLISECONDS, metrics=[metric]).SerializeToString()
        self._client.publish(f"{NODE}/DBIRTH/line-1/meter-1", payload, qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.mark.parametrize("group", ["", "g"])
def test_a_node_whose_births_were_missed_is_asked_for_them(group, mosquitto, collecting, tmp_path, wait_until):
    node, lake = Node(mosquitto.port), Lake(tmp_path / "lake")
    with ExitStack() as stack:
        stack.callback(node.close)
        collectors = [
            stack.enter_context(
                collecting(
                    Subscription(mosquitto.broker, f"c-{n}", clock=lambda: NOW, filters=filters(REGISTRY), group=group),
                    lake,
                    REGISTRY,
                )
            )
            for n in range(2 if group else 1)
        ]
        publish(mosquitto.broker, [data(1)], client_id="bridge")
        # the birth is stored: every collector that shares the messages has it, or will before what comes after it
        wait_until(lambda: lake.read("readings").height == 1)
        wait_until(lambda: all(one.tally.received for one in collectors))
        publish(mosquitto.broker, [data(minute) for minute in range(2, 12)], client_id="bridge")
        wait_until(lambda: lake.read("readings").height == 11)
    assert node.births == 1
    assert lake.read("quarantine")["reason"].to_list() == ["no_birth"]
    assert sorted(lake.read("readings")["value"]) == [float(value) for value in (*range(989, 999), 1001)]
