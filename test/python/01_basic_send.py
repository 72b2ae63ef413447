"""Базовая отправка сообщений: a keyed record, its result, callbacks."""

import json

from guide import BOOTSTRAP, equal, name, read
from kafka import KafkaProducer

orders = name("orders")
sent, failed = [], []

producer = KafkaProducer(
    bootstrap_servers=BOOTSTRAP,
    value_serializer=lambda v: json.dumps(v).encode("utf-8"),
    key_serializer=lambda k: k.encode("utf-8") if k else None,
)

future = producer.send(orders, key="order-123", value={"order_id": 123, "amount": 99.99})
record_metadata = future.get(timeout=10)
print(f"Partition: {record_metadata.partition}")
print(f"Offset: {record_metadata.offset}")
print(f"Timestamp: {record_metadata.timestamp}")


def on_send_success(record_metadata):
    print(f"Sent to {record_metadata.topic}")
    sent.append(record_metadata)


def on_send_error(excp):
    print(f"Error: {excp}")
    failed.append(excp)


producer.send(orders, key="order-124", value={"order_id": 124}).add_callback(on_send_success).add_errback(on_send_error)
producer.flush()
producer.close()

equal((record_metadata.topic, record_metadata.partition, record_metadata.offset), (orders, 0, 0), "where the first went")
equal([(m.topic, m.offset) for m in sent], [(orders, 1)], "callbacks")
equal(failed, [], "errbacks")
records = read(orders)
equal([(r.key, json.loads(r.value)) for r in records],
      [(b"order-123", {"order_id": 123, "amount": 99.99}), (b"order-124", {"order_id": 124})], "the topic")
equal(records[0].timestamp, record_metadata.timestamp, "the timestamp")
