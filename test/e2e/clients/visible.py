"""Prints the values of a topic as a consumer of an isolation level may read them now: `visible.py TOPIC [read_uncommitted]`."""

import os
import sys
import time

from kafka import KafkaConsumer, TopicPartition

topic, isolation = (sys.argv[1:] + ["read_committed"])[:2]
consumer = KafkaConsumer(bootstrap_servers=os.environ["BOOTSTRAP_SERVERS"], group_id=None, auto_offset_reset="earliest", isolation_level=isolation)
partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
consumer.assign(partitions)
ends = consumer.end_offsets(partitions)  # at read_committed: the last stable offsets
deadline = time.monotonic() + 60
while any(consumer.position(p) < ends[p] for p in partitions):
    for batch in consumer.poll(timeout_ms=100).values():
        for record in batch:
            print(record.value.decode())
    if time.monotonic() > deadline:
        sys.exit("the end is not reached within a minute")
sys.stdout.flush()
os._exit(0)
