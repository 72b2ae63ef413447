"""Транзакционные консьюмеры: consume, transform, produce, with the offsets in the same transaction; one failure on the way.

`consumer.position(message.topic)` and `consumer.group_id` do not exist in kafka-python: the offsets are given as
{TopicPartition: OffsetAndMetadata}, the group as its id. The consumer begins at the earliest record, and the loop ends.
"""

import json

from guide import BOOTSTRAP, create, equal, fill, name, read, until
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

orders, processed, group = name("orders"), name("processed-orders"), name("order-processors")
create(orders, 3)
create(processed, 1)
fill(orders, list(range(20)))
failures = [7]  # orders whose first processing fails


def process(value):
    order = json.loads(value)
    producer.send(processed, b"half of %d" % order)
    if order in failures:
        producer.flush()
        failures.remove(order)
        raise RuntimeError(f"order {order} cannot be processed at first")
    return b"%d" % order


def start():
    return KafkaConsumer(
        orders,
        bootstrap_servers=BOOTSTRAP,
        group_id=group,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )


def committed():
    watcher = KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=group, enable_auto_commit=False)
    offsets = [watcher.committed(TopicPartition(orders, p)) or 0 for p in range(3)]
    watcher.close()
    return sum(offsets)


producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=name("processor-1"))
producer.init_transactions()

consumer, done, aborted = start(), 0, 0
while done < 20:
    for message in consumer:
        try:
            producer.begin_transaction()
            result = process(message.value)
            producer.send(processed, result)
            producer.send_offsets_to_transaction(
                {TopicPartition(message.topic, message.partition): OffsetAndMetadata(message.offset + 1, "", -1)},
                group,
            )
            producer.commit_transaction()
            done += 1
        except RuntimeError:
            # What was aborted has to be read again: a consumer that is started anew goes on at the committed offsets.
            producer.abort_transaction()
            aborted += 1
            equal(committed(), done, "the offsets after an abort")
            consumer.close()
            consumer = start()
            break
        if done == 20:
            break
consumer.close()
producer.close()

equal(aborted, 1, "aborted")
equal(committed(), 20, "the committed offsets")
got = [r.value.decode() for r in read(processed, isolation_level="read_committed")]
equal(sorted(v for v in got if not v.startswith("half")), sorted(str(i) for i in range(20)), "results, each once")
equal(len(got), 40, "records at read_committed")
equal(len(read(processed)), 41, "records at read_uncommitted")

# Another member of the group finds nothing left to do.
last = start()
until(lambda: last.poll(timeout_ms=100) or last.assignment(), "an assignment")
equal(last.poll(timeout_ms=500), {}, "what is left")
last.close()
