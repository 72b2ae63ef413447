"""Подписка на несколько топиков."""

from guide import BOOTSTRAP, equal, fill, join, name
from kafka import KafkaConsumer

topics = [name("orders"), name("payments"), name("shipments")]
for t in topics:
    fill(t, ["before the group"])

consumer = KafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, group_id=name("processors"))
join(consumer, topics)
for t in topics:
    fill(t, [t, "second"])
received = {t: [] for t in topics}
for message in consumer:
    received[message.topic].append(message.value.decode())
    if sum(map(len, received.values())) == 6:
        break
equal(received, {t: [f'"{t}"', '"second"'] for t in topics}, "received")
equal(consumer.subscription(), set(topics), "the subscription")
consumer.close()
