"""Writes something of each kind that a node keeps on its disk; parts/disk.sh then lets others read it."""

import os

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, KafkaAdminClient, NewTopic

from scenario import BOOTSTRAP, equal, until

admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
small = {"segment.bytes": "1048576", "index.interval.bytes": "512"}
admin.create_topics([NewTopic("disk-rolled", 2, 1, topic_configs=small), NewTopic("disk-compacted", 1, 1, topic_configs={"cleanup.policy": "compact"}),
                     NewTopic("disk-deleted", 1, 1), NewTopic("disk-append-time", 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})])
until(lambda: {"disk-rolled", "disk-compacted", "disk-deleted", "disk-append-time"} <= set(admin.list_topics()), "the topics")

number = 0
for codec in None, "gzip", "snappy", "lz4", "zstd":
    for idempotent in True, False:
        p = KafkaProducer(bootstrap_servers=BOOTSTRAP, compression_type=codec, enable_idempotence=idempotent, linger_ms=5)
        for i in range(200):
            p.send("disk-rolled", b"numbered-%d " % number + (os.urandom(4000).hex().encode() + bytes(4000) if i % 2 else b""), key=b"%d" % i, partition=i // 2 % 2,
                   headers=[("h1", b"1"), ("h2", b"")])
            number += 1
        for topic in "disk-compacted", "disk-append-time", "disk-deleted":
            p.send(topic, b"value", key=b"key")
        p.send("disk-compacted", None, key=b"key")
        p.close()
equal(number, 2000, "records")

partition = TopicPartition("disk-rolled", 0)
c = KafkaConsumer("disk-rolled", bootstrap_servers=BOOTSTRAP, group_id="disk-group", auto_offset_reset="earliest", enable_auto_commit=False)
seen = []
until(lambda: seen.extend(r for b in c.poll(200).values() for r in b) or len(seen) == 2000, "all records")
c.commit()
equal(c.committed(partition), 1000, "the committed offset")
c.close()

admin.delete_records({partition: 100})
admin.alter_configs([ConfigResource("TOPIC", "disk-append-time", configs={"retention.ms": "86400000"})])
admin.delete_topics(["disk-deleted"])
until(lambda: "disk-deleted" not in admin.list_topics(), "the topic is gone")
admin.close()
