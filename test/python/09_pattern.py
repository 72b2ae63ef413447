"""Подписка по паттерну: the topics that match, and no other."""

from guide import BOOTSTRAP, RUN, equal, fill, join, name
from kafka import KafkaConsumer

dev, prod, other = f"orders-{RUN}-dev", f"orders-{RUN}-prod", f"payments-{RUN}"
for t in dev, prod, other:
    fill(t, ["before the group"])

consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=name("processors"))
consumer.subscribe(pattern=f"orders-{RUN}-.*")
join(consumer, [dev, prod])
for t in dev, prod, other:
    fill(t, [t])
received = {(m.topic, m.value.decode()) for m in (next(consumer), next(consumer))}
equal(received, {(t, f'"{t}"') for t in (dev, prod)}, "received")
equal(consumer.poll(timeout_ms=300), {}, "nothing from the topic that does not match")
consumer.close()
