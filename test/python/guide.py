"""What the scripts of the guide share: where the broker is, names of their own, loops that end, checks.

BOOTSTRAP_SERVERS tells the broker (default localhost:9092). Every run uses topics and groups of its own, so that a script
can be run again and again on the same broker.
"""

import json
import os
import time
import uuid

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

BOOTSTRAP = os.environ.get("BOOTSTRAP_SERVERS", "localhost:9092").split(",")
RUN = uuid.uuid4().hex[:8]
LIMIT = 60.0  # seconds that anything here may take


def name(word):
    """The guide's topic or group, as this run calls it."""
    return f"{word}.{RUN}"


def create(topic, partitions):
    admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    admin.create_topics([NewTopic(topic, partitions, 1)])
    admin.close()


def fill(topic, values, **settings):
    """Sends the values as JSON and returns what the broker answered to each."""
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, value_serializer=lambda v: json.dumps(v).encode(), **settings)
    futures = [producer.send(topic, value=v) for v in values]
    producer.flush()
    producer.close()
    return [f.get(timeout=10) for f in futures]


def read(*topics, **settings):
    """Everything that stands in the topics, in order per partition, without a group. At read_committed that is all in front
    of the first open transaction."""
    consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, auto_offset_reset="earliest", group_id=None, **settings)
    until(lambda: all(consumer.partitions_for_topic(t) for t in topics), "topics appear")
    assigned = [TopicPartition(t, p) for t in topics for p in consumer.partitions_for_topic(t)]
    consumer.assign(assigned)
    ends = consumer.end_offsets(assigned)
    records = []

    def done():
        for batch in consumer.poll(timeout_ms=200).values():
            records.extend(batch)
        return all(consumer.position(p) >= ends[p] for p in assigned)

    until(done, "the end of the topics")
    consumer.close()
    return records


def join(consumer, topics=None):
    """Polls until the group gave partitions (of all the topics) to the consumer and their positions are known; at the end
    of a partition (auto_offset_reset='latest') what is sent afterwards is what it receives."""
    def ready():
        consumer.poll(timeout_ms=200, max_records=1)
        got = consumer.assignment()
        return got and (topics is None or {p.topic for p in got} == set(topics))

    until(ready, "an assignment")
    for p in consumer.assignment():
        consumer.position(p)


def until(condition, what):
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {LIMIT:.0f} s in vain for: {what}")
        time.sleep(0.01)


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")
