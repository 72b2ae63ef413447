"""Синхронная отправка, пакетная отправка."""

import json

from guide import BOOTSTRAP, equal, name, read
from kafka import KafkaProducer

orders = name("orders")
data = {"id": "first"}

producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, value_serializer=lambda v: json.dumps(v).encode("utf-8"))

result = producer.send(orders, value=data).get()

for i in range(100):
    producer.send(orders, value={"id": i})
producer.flush()
producer.close()

equal(result.offset, 0, "the synchronous send's offset")
records = read(orders)
equal([json.loads(r.value)["id"] for r in records], ["first", *range(100)], "the values in order")
equal([r.offset for r in records], list(range(101)), "the offsets")
