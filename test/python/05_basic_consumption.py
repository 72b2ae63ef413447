"""Базовое потребление: a group that commits by itself, and what auto_offset_reset='none' does."""

import json

from guide import BOOTSTRAP, equal, name, until
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import NoOffsetForPartitionError

orders, group = name("orders"), name("order-processors")
producer = KafkaProducer(bootstrap_servers=BOOTSTRAP)
for i in range(10):
    producer.send(orders, key=b"order-%d" % i if i % 2 else None, value=b'{"order_id": %d}' % i)
producer.close()

consumer = KafkaConsumer(
    orders,
    bootstrap_servers=BOOTSTRAP,
    value_deserializer=lambda m: json.loads(m.decode("utf-8")),
    key_deserializer=lambda k: k.decode("utf-8") if k else None,
    group_id=group,
    auto_offset_reset="earliest",
    enable_auto_commit=True,
    auto_commit_interval_ms=1000,
)

received = []
for message in consumer:
    print(f"Received: {message.key} -> {message.value}")
    print(f"Partition: {message.partition}, Offset: {message.offset}")
    received.append((message.offset, message.key, message.value))
    if len(received) == 10:
        break

equal(received, [(i, f"order-{i}" if i % 2 else None, {"order_id": i}) for i in range(10)], "received")
partition = TopicPartition(orders, 0)
watcher = KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=group, enable_auto_commit=False)


def committed():
    consumer.poll(timeout_ms=100)
    return watcher.committed(partition) == 10


until(committed, "the automatic commit")
consumer.close()
watcher.close()

# earliest, latest: elsewhere in the guide. none: a group without offsets is told so.
consumer = KafkaConsumer(orders, bootstrap_servers=BOOTSTRAP, group_id=name("no-offsets"), auto_offset_reset="none")
refused = []


def polled():
    try:
        return consumer.poll(timeout_ms=100)
    except NoOffsetForPartitionError as e:
        refused.append(e)
        return True


until(polled, "an answer to the missing offset")
equal(len(refused), 1, "auto_offset_reset='none' refuses")
consumer.close(autocommit=False)
