"""Best practices: an idempotent compressed producer, errors handled, batches; commits after the work, one error survived."""

import logging

from guide import BOOTSTRAP, equal, name
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

logger = logging.getLogger("guide")
topic, group = name("topic"), name("order-processors")
data, items = b"data", [b"%d" % i for i in range(100)]

producer = KafkaProducer(enable_idempotence=True, acks="all", compression_type="lz4", bootstrap_servers=BOOTSTRAP)

future = producer.send(topic, value=data)
try:
    metadata = future.get(timeout=10)
except KafkaError as e:
    logger.error(f"Failed to send: {e}")
    raise
equal(metadata.offset, 0, "the first offset")

for item in items:
    producer.send(topic, item).get()

for item in items:
    producer.send(topic, item)
producer.flush()
producer.close()

processed = []


def process(message):
    processed.append(message.value)
    if message.value == b"50" and processed.count(b"50") == 1:
        raise ValueError("one that cannot be processed")


def work(upto):
    consumer = KafkaConsumer(topic, enable_auto_commit=False, bootstrap_servers=BOOTSTRAP, group_id=group,
                             auto_offset_reset="earliest")
    try:
        for message in consumer:
            process(message)
            consumer.commit()
            if message.offset == upto:
                break
    except ValueError as e:
        logger.error(f"Error: {e}")
        consumer.commit()
    finally:
        consumer.close(autocommit=False)


work(upto=200)  # ends at the error, which it skips
equal(len(processed), 52, "processed up to the error")
work(upto=200)
equal(processed, [data, *items, *items], "each processed once")

consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=group)
equal(consumer.committed(TopicPartition(topic, 0)), 201, "the committed offset")
consumer.close()
