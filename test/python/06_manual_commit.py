"""Ручной коммит: what was not committed comes again."""

from guide import BOOTSTRAP, equal, join, name, fill
from kafka import KafkaConsumer, TopicPartition

orders, group = name("orders"), name("order-processors")
fill(orders, ["before the group"])
processed = []


def process(value):
    if len(processed) == 3:
        raise ValueError("the fourth cannot be processed")
    processed.append(value)


consumer = KafkaConsumer(orders, bootstrap_servers=BOOTSTRAP, group_id=group, enable_auto_commit=False)
join(consumer)
fill(orders, [f"order {i}" for i in range(5)])
try:
    for message in consumer:
        process(message.value)
        consumer.commit()
except ValueError as e:
    print(f"Error: {e}")
finally:
    consumer.close()
equal(processed, [b'"order 0"', b'"order 1"', b'"order 2"'], "processed")

consumer = KafkaConsumer(orders, bootstrap_servers=BOOTSTRAP, group_id=group, enable_auto_commit=False)
equal(consumer.committed(TopicPartition(orders, 0)), 4, "the committed offset")
again = [next(consumer).value for _ in range(2)]
consumer.close()
equal(again, [b'"order 3"', b'"order 4"'], "what comes again")
