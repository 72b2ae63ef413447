"""Подписка по паттерну: topics that match, and one that is created later."""

from guide import BOOTSTRAP, RUN, equal, fill, join, name
from kafka import KafkaConsumer

dev, prod, other = f"orders-{RUN}-dev", f"orders-{RUN}-prod", f"payments-{RUN}"
for t in dev, prod, other:
    fill(t, ["before the group"])

consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=name("processors"), auto_offset_reset="earliest",
                         metadata_max_age_ms=500)
consumer.subscribe(pattern=f"orders-{RUN}-.*")
join(consumer, [dev, prod])
late = f"orders-{RUN}-late"
fill(late, ["created later"])
join(consumer, [dev, prod, late])
consumer.seek_to_beginning()
received = set()
for message in consumer:
    received.add((message.topic, message.value))
    if len(received) == 3:
        break
equal(received, {(dev, b'"before the group"'), (prod, b'"before the group"'), (late, b'"created later"')}, "received")
consumer.close()
