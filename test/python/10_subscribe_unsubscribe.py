"""Динамическая подписка."""

from guide import BOOTSTRAP, equal, fill, join, name
from kafka import KafkaConsumer

topic1, topic2, topic3 = (name(f"topic{i}") for i in (1, 2, 3))
for t in topic1, topic2, topic3:
    fill(t, ["before the group"])

consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=name("processors"))
consumer.subscribe([topic1])
join(consumer, [topic1])
consumer.unsubscribe()
equal(consumer.assignment(), set(), "the assignment after unsubscribe")
consumer.subscribe([topic2, topic3])
join(consumer, [topic2, topic3])
for t in topic1, topic2, topic3:
    fill(t, [t])
received = {(m.topic, m.value.decode()) for m in (next(consumer), next(consumer))}
equal(received, {(t, f'"{t}"') for t in (topic2, topic3)}, "received")
equal(consumer.poll(timeout_ms=300), {}, "nothing more comes, from topic1 least of all")
consumer.close()
