"""paho-mqtt against the gateway: `paho_round_trip.py HOST PORT 3|5`. Prints `fine` at the end, raises before it otherwise."""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST, PORT, VERSION = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
DEADLINE_S = 60


class Peer:
    """One client whose events are read one by one."""

    def __init__(self, name, will=None):
        protocol = mqtt.MQTTv5 if VERSION == 5 else mqtt.MQTTv311
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol)
        self.messages, self.events = queue.Queue(), queue.Queue()
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        self.client.on_connect = lambda _c, _u, flags, reason, _p: self.events.put(("connect", flags, reason))
        self.client.on_subscribe = lambda _c, _u, _mid, codes, _p: self.events.put(("subscribe", codes))
        self.client.on_unsubscribe = lambda _c, _u, _mid, codes, _p: self.events.put(("unsubscribe", codes))
        self.client.on_disconnect = lambda _c, _u, _f, reason, _p: self.events.put(("disconnect", reason))
        if will:
            self.client.will_set(*will)
        self.client.connect(HOST, PORT, keepalive=30)
        self.client.loop_start()
        _, flags, reason = self.event("connect")
        assert not reason.is_failure, reason
        assert not flags.session_present

    def event(self, kind):
        event = self.events.get(timeout=DEADLINE_S)
        assert event[0] == kind, event
        return event

    def subscribe(self, *arguments, **options):
        self.client.subscribe(*arguments, **options)
        return [code.value for code in self.event("subscribe")[1]]

    def publish(self, *arguments, **options):
        info = self.client.publish(*arguments, **options)
        info.wait_for_publish(DEADLINE_S)
        assert info.is_published()

    def message(self):
        return self.messages.get(timeout=DEADLINE_S)

    def end(self):
        self.client.disconnect()
        self.event("disconnect")
        self.client.loop_stop()


base = f"paho/{VERSION}"
publisher, subscriber = Peer(f"paho-publisher-{VERSION}"), Peer(f"paho-subscriber-{VERSION}")

# Granted in order, at most 1; several filters in one packet.
assert subscriber.subscribe([(f"{base}/order/+", 1), (f"{base}/none/#", 2), (f"{base}/zero", 0)]) == [1, 1, 0]

# 1,000 messages at each QoS that the version may publish with, in order.
for qos in (0, 1) if VERSION == 5 else (0, 1, 2):
    infos = [publisher.client.publish(f"{base}/order/{i % 5}", str(i), qos) for i in range(1000)]
    for i in range(1000):
        message = subscriber.message()
        assert (int(message.payload), message.qos) == (i, min(qos, 1)), (i, message.payload, message.qos)
    for info in infos:
        info.wait_for_publish(DEADLINE_S)

# 200 KiB there and back.
large = bytes(i % 251 for i in range(200 << 10))
publisher.publish(f"{base}/order/large", large, 1)
assert subscriber.message().payload == large

# Retained, replaced, removed.
publisher.publish(f"{base}/kept", "old", 1, True)
publisher.publish(f"{base}/kept", "new", 1, True)
assert subscriber.subscribe(f"{base}/kept", 1) == [1]
message = subscriber.message()
assert (message.payload, message.retain) == (b"new", True)
publisher.publish(f"{base}/kept", "", 1, True)
assert subscriber.message().payload == b""
late = Peer(f"paho-late-{VERSION}")
assert late.subscribe(f"{base}/kept", 1) == [1]
publisher.publish(f"{base}/kept", "live", 1)
assert late.message().payload == b"live"
assert subscriber.message().payload == b"live"
late.end()

# UNSUBSCRIBE, and RECONNECT: the session is clean, so the subscriptions are gone.
subscriber.client.unsubscribe(f"{base}/kept")
subscriber.event("unsubscribe")
publisher.publish(f"{base}/kept", "unheard", 1)
publisher.publish(f"{base}/zero", "heard", 1)
assert subscriber.message().payload == b"heard"
subscriber.end()
subscriber = Peer(f"paho-subscriber-{VERSION}")
assert subscriber.subscribe(f"{base}/will", 1) == [1]
publisher.publish(f"{base}/zero", "unheard", 1)

# A will when the socket is cut, none after disconnect().
polite = Peer(f"paho-polite-{VERSION}", (f"{base}/will", "polite", 1))
polite.end()
cut = Peer(f"paho-cut-{VERSION}", (f"{base}/will", "cut", 1))
cut.client.socket().shutdown(2)
assert subscriber.message().payload == b"cut"
cut.client.loop_stop()

if VERSION == 5:
    # Properties go through; the options of 5.0 subscriptions.
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("b", "1"), ("a", "2"), ("b", "3")]
    properties.ContentType, properties.ResponseTopic = "text/plain", "reply/to"
    properties.CorrelationData = b"\x00\xff"
    subscribed = Properties(PacketTypes.SUBSCRIBE)
    subscribed.SubscriptionIdentifier = 4711
    options = SubscribeOptions(qos=1, retainAsPublished=True)
    assert subscriber.subscribe(f"{base}/properties", options=options, properties=subscribed) == [1]
    publisher.publish(f"{base}/properties", "x", 1, True, properties)
    message = subscriber.message()
    assert message.retain
    assert message.properties.UserProperty == [("b", "1"), ("a", "2"), ("b", "3")]
    assert (message.properties.ContentType, message.properties.ResponseTopic) == ("text/plain", "reply/to")
    assert message.properties.CorrelationData == b"\x00\xff"
    assert message.properties.SubscriptionIdentifier == [4711]
    assert subscriber.subscribe("$share/group/t", 1) == [0x9E]

publisher.end()
subscriber.end()
print("fine")
