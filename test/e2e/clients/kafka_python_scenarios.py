"""kafka-python: produce, consume, groups, administration, errors."""

import os
import threading

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as E
from kafka.admin import ConfigResource, KafkaAdminClient, NewTopic
from kafka.structs import OffsetAndMetadata

from scenario import BOOTSTRAP, equal, name, raises, run, scenario, until

admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


def create(partitions=1, **configs):
    topic = name("kp")
    admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs or None)])
    return topic


def producer(**settings):
    return KafkaProducer(bootstrap_servers=BOOTSTRAP, **settings)


def consumer(*topics, **settings):
    return KafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, **({"auto_offset_reset": "earliest"} | settings))


def read(topic, partitions=1):
    c = consumer(group_id=None)
    ps = [TopicPartition(topic, p) for p in range(partitions)]
    c.assign(ps)
    ends, records = c.end_offsets(ps), []
    until(lambda: records.extend(r for b in c.poll(200).values() for r in b) or all(c.position(p) >= ends[p] for p in ps), "the end")
    c.close()
    return records


def send(topic, values, **settings):
    p = producer(**settings)
    futures = [p.send(topic, v) for v in values]
    p.close()
    return [f.get(10) for f in futures]


@scenario
def every_codec_with_headers_keys_and_nulls():
    topic = create(3)
    big = os.urandom(600_000)
    want = []
    for codec in None, "gzip", "snappy", "lz4", "zstd":
        p = producer(compression_type=codec, linger_ms=20)
        for key, value, headers in ((b"k", b"v" * 1000, [("h", b"1"), ("h", b"2"), ("empty", b"")]), (None, b"no key", []), (b"k", None, []),
                                    (b"", b"", []), (b"big", big, [])):
            m = p.send(topic, value, key=key, headers=headers, partition=1, timestamp_ms=1700000000000 + len(want))
            want.append((key, value, headers, 1700000000000 + len(want), len(want)))
        p.close()
        equal(m.get(10).offset, len(want) - 1, f"{codec}: the last offset")
    equal([(r.key, r.value, list(r.headers), r.timestamp, r.offset) for r in read(topic, 3)], want, "what was read")


@scenario
def seek_and_offsets_for_times():
    topic, p = create(), None
    p = producer()
    for i in range(100):
        p.send(topic, b"%d" % i, timestamp_ms=1700000000000 + i * 1000)
    p.close()
    t = TopicPartition(topic, 0)
    c = consumer(group_id=None)
    c.assign([t])
    equal((c.beginning_offsets([t])[t], c.end_offsets([t])[t]), (0, 100), "the two ends")
    found = c.offsets_for_times({t: 1700000041500})[t]
    equal((found.offset, found.timestamp), (42, 1700000042000), "the offset for a time")
    equal(c.offsets_for_times({t: 1800000000000})[t], None, "the offset for a time to come")
    c.seek(t, 42)
    equal(next(c).value, b"42", "after seek")
    c.seek_to_end(t)
    equal(c.position(t), 100, "after seek_to_end")
    c.close()


@scenario
def two_members_share_and_the_second_leaves():
    topic, group = create(4), name("g")
    send(topic, [b"%d" % i for i in range(40)])
    parts, stop, seen = [set(), set()], [threading.Event(), threading.Event()], []

    def member(i):
        c = consumer(topic, group_id=group, session_timeout_ms=10000, heartbeat_interval_ms=500)
        while not stop[i].is_set():
            seen.extend(r.value for b in c.poll(100).values() for r in b)
            parts[i] = set(c.assignment())
        c.close()
        parts[i] = set()

    threads = [threading.Thread(target=member, args=(i,)) for i in (0, 1)]
    try:
        for t in threads:
            t.start()
        until(lambda: [len(p) for p in parts] == [2, 2] and not parts[0] & parts[1], "two partitions each")
        until(lambda: set(seen) == {b"%d" % i for i in range(40)}, "all records")
        stop[1].set()
        until(lambda: len(parts[0]) == 4, "all partitions for the one that stays")
    finally:
        for s in stop:
            s.set()
        for t in threads:
            t.join()


@scenario
def static_member_keeps_its_partitions_over_a_restart():
    topic, group = create(2), name("g")
    send(topic, [b"x"])

    def start():
        c = consumer(topic, group_id=group, group_instance_id="one", session_timeout_ms=30000)
        until(lambda: c.poll(100) is not None and c.assignment(), "an assignment")
        return c, c._coordinator.generation_if_stable() or c._coordinator._generation

    c, before = start()
    c.close()
    c, after = start()
    equal(after.generation_id, before.generation_id, "the generation, which a static member's return does not raise")
    c.close()


@scenario
def committed_offsets_with_metadata_and_resets():
    topic, group = create(), name("g")
    send(topic, [b"%d" % i for i in range(10)])
    t = TopicPartition(topic, 0)
    c = consumer(topic, group_id=group, enable_auto_commit=False)
    equal(next(c).value, b"0", "the first")
    equal(c.committed(t), None, "no offset yet")
    c.commit({t: OffsetAndMetadata(7, "why", -1)})
    c.close()
    c = consumer(topic, group_id=group, enable_auto_commit=False)
    equal(next(c).value, b"7", "from the committed offset")
    got = c.committed(t, metadata=True)
    equal((got.offset, got.metadata), (7, "why"), "offset and metadata")
    c.close()
    groups = [g for g in admin.list_groups() if (g.get("group_id") if isinstance(g, dict) else g[0]) == group]
    equal(len(groups), 1, "the group in the list")
    admin.alter_group_offsets(group, {t: OffsetAndMetadata(2, "", -1)})
    c = consumer(topic, group_id=group, enable_auto_commit=False)
    equal(next(c).value, b"2", "from the altered offset")
    c.close()
    admin.delete_groups([group])
    c = consumer(group_id=group)
    equal(c.committed(t), None, "no offset after the group's deletion")
    c.close()


@scenario
def commit_of_a_member_that_was_put_out():
    topic, group = create(), name("g")
    send(topic, [b"x"])
    t = TopicPartition(topic, 0)
    c = consumer(topic, group_id=group, enable_auto_commit=False)
    next(c)
    c.commit()
    other = consumer(group_id=group)
    other.assign([t])
    raises(E.KafkaError, other.commit, {t: OffsetAndMetadata(0, "", -1)})
    equal(c.committed(t), 1, "the offset, untouched")
    other.close(autocommit=False)
    c.close()


@scenario
def topics_partitions_and_configs():
    topic = create(2, **{"retention.ms": "3600000"})
    equal(topic in admin.list_topics(), True, "listed")
    admin.create_partitions({topic: 5})
    until(lambda: len(admin.describe_topics([topic])[0]["partitions"]) == 5, "five partitions")
    resource = ConfigResource("TOPIC", topic)
    admin.alter_configs([ConfigResource("TOPIC", topic, configs={"cleanup.policy": "compact"})])
    text = until(lambda: (lambda s: s if "compact" in s else None)(str(admin.describe_configs([resource]))), "the changed config")
    equal("3600000" in text, True, "the config of the creation stays")
    admin.delete_topics([topic])
    until(lambda: topic not in admin.list_topics(), "the topic is gone")


@scenario
def delete_records():
    topic = create()
    send(topic, [b"%d" % i for i in range(10)])
    t = TopicPartition(topic, 0)
    admin.delete_records({t: 4})
    equal([r.value for r in read(topic)], [b"%d" % i for i in range(4, 10)], "what is left")
    c = consumer(group_id=None)
    equal(c.beginning_offsets([t])[t], 4, "the beginning")
    c.close()


@scenario
def errors_of_administration():
    topic = create()
    raises(E.TopicAlreadyExistsError, admin.create_topics, [NewTopic(topic, 1, 1)])
    raises(E.InvalidTopicError, admin.create_topics, [NewTopic("no blanks", 1, 1)])
    raises(E.InvalidPartitionsError, admin.create_topics, [NewTopic(name("t"), 0, 1)])
    raises(E.InvalidReplicationFactorError, admin.create_topics, [NewTopic(name("t"), 1, 3)])
    raises(E.InvalidConfigurationError, admin.create_topics, [NewTopic(name("t"), 1, 1, topic_configs={"retention.ms": "soon"})])
    raises(E.UnknownTopicOrPartitionError, admin.delete_topics, [name("t")])
    raises(E.InvalidPartitionsError, admin.create_partitions, {topic: 1})


@scenario
def errors_of_producing():
    topic = create(**{"max.message.bytes": "2000"})
    refused = producer()
    raises(E.MessageSizeTooLargeError, refused.send(topic, b"x" * 5000).get, 10)
    refused.close()
    equal(send(topic, [b"fits"])[0].offset, 0, "the next one")
    compacted = create(**{"cleanup.policy": "compact"})
    refused = producer()
    raises(E.KafkaError, refused.send(compacted, b"no key").get, 10)
    refused.close()


run()
