"""Идемпотентный продюсер: five requests on the way, as many retries as there can be, each record once and in order."""

from guide import BOOTSTRAP, create, equal, name, read
from kafka import KafkaProducer

orders = name("orders")
create(orders, 3)

producer = KafkaProducer(
    bootstrap_servers=BOOTSTRAP,
    enable_idempotence=True,
    acks="all",
    retries=2147483647,
    max_in_flight_requests_per_connection=5,
    batch_size=1024,
)
results = [producer.send(orders, key=b"%d" % (i % 7), value=b"%d" % i) for i in range(5000)]
producer.flush()
producer.close()

sent = sorted((r.get().partition, r.get().offset, i) for i, r in enumerate(results))
equal([(r.partition, r.offset, int(r.value)) for r in sorted(read(orders), key=lambda r: (r.partition, r.offset))], sent,
      "partition, offset and value of each")
for p in range(3):
    values = [i for q, _, i in sent if q == p]
    equal(values, sorted(values), f"the order in partition {p}")
