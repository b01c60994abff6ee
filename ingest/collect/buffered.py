"""
The client of paho at a third of the cost a message: the same client, the same packets, less work for each.

    socket -> 64 KiB in memory -> paho, packet after packet -> callbacks
    message ids -> one write

paho 2 reads each packet in three calls of the system and waits for the socket before it, writes each ack in two, and
makes tables of MQTT 5 properties for messages that have none. docs/decisions/0005-mqtt-speed.md says what that costs.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from paho.mqtt import client as paho
from paho.mqtt.enums import MessageType, MQTTErrorCode, MQTTProtocolVersion

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike  # is there for the types only

_CHUNK = 1 << 16  # [bytes]
_TURN = 200  # packets after which writes and the keep-alive have their turn
_QOS, _QOS_1, _RETAIN = 0b0110, 0b0010, 0b0001
_PUBACK = bytes((MessageType.PUBACK, 2))


class BufferedSocket:
    """A socket that reads ahead. paho asks `pending` before it waits for the socket, so what lies here never waits."""

    def __init__(self, sock: "SocketLike") -> None:
        self._recv = sock.recv
        self._pending: Callable[[], int] = getattr(sock, "pending", lambda: 0)  # TLS has a buffer of its own
        self._data = b""
        self._at = 0
        self.send, self.close = sock.send, sock.close
        self.fileno, self.setblocking = sock.fileno, sock.setblocking

    def recv(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end of the connection; raises what the socket raises."""
        if self._at == len(self._data):
            self._data, self._at = self._recv(_CHUNK), 0
        part = self._data[self._at : self._at + size]
        self._at += len(part)
        return part

    def pending(self) -> int:
        """How many bytes can be read without waiting for the socket."""
        return len(self._data) - self._at or self._pending()


class BufferedClient(paho.Client):
    """A client of paho on a buffered socket."""

    def ack_all(self, mids: Iterable[int]) -> None:
        """Ack messages of QoS 1 in one write."""
        if packets := b"".join([_PUBACK + mid.to_bytes(2, "big") for mid in mids]):
            self._packet_queue(MessageType.PUBACK, packets, 0, 1)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Handle the packets that have arrived, not only one."""
        result = super().loop_read(max_packets)
        for _ in range(_TURN):
            if result or not isinstance(self._sock, BufferedSocket) or not self._sock.pending():
                break
            result = super().loop_read(max_packets)
        return result

    def _handle_publish(self) -> MQTTErrorCode:
        """Take a plain message apart: acked by hand, QoS 1, without properties, of which paho makes tables first."""
        packet = self._in_packet["packet"]
        end = 2 + int.from_bytes(packet[:2], "big")
        no_properties = self._protocol == MQTTProtocolVersion.MQTTv5 and packet[end + 2 : end + 3] == b"\0"
        if not (no_properties and self._manual_ack and self._in_packet["command"] & _QOS == _QOS_1):
            return super()._handle_publish()
        message = paho.MQTTMessage(int.from_bytes(packet[end : end + 2], "big"), bytes(packet[2:end]))
        message.qos = 1
        message.retain = bool(self._in_packet["command"] & _RETAIN)
        message.payload = bytes(packet[end + 3 :])
        self._handle_on_message(message)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _create_socket(self) -> "SocketLike":
        return BufferedSocket(super()._create_socket())
