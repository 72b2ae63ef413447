"""confluent-kafka (librdkafka): produce, consume, groups, transactions, administration, errors."""

import os
import threading

from confluent_kafka import (Consumer, ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, Producer,
                             TopicPartition, OFFSET_BEGINNING)
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
                                   OffsetSpec, ResourceType)

from scenario import BOOTSTRAP, equal, name, raises, run, scenario, until

admin = AdminClient({"bootstrap.servers": BOOTSTRAP})


def one(futures):
    (future,) = futures.values()
    return future.result(20)


def refused(code, futures):
    equal(raises(KafkaException, one, futures).args[0].code(), code, "the error")


def create(partitions=1, **configs):
    topic = name("ck")
    one(admin.create_topics([NewTopic(topic, partitions, 1, config=configs)]))
    return topic


def producer(**settings):
    return Producer({"bootstrap.servers": BOOTSTRAP, **{k.replace("_", "."): v for k, v in settings.items()}})


def send(topic, values, settings=None, **per_record):
    p, reports = producer(**(settings or {})), []
    for v in values:
        p.produce(topic, v, on_delivery=lambda e, m: reports.append((e, m)), **per_record)
    equal(p.flush(30), 0, "records that were not delivered")
    return reports


def consumer(group=None, **settings):
    return Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": group or name("none"), "auto.offset.reset": "earliest",
                     **{k.replace("_", "."): v for k, v in settings.items()}})


def take(c, n):
    records = []

    def got():
        for m in c.consume(n - len(records), 0.2):
            equal(m.error(), None, "the polled message's error")
            records.append(m)
        return len(records) >= n

    until(got, f"{n} records")
    return records


def read(topic, n, partitions=1):
    c = consumer()
    c.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
    records = take(c, n)
    equal(c.poll(0.3), None, "nothing more")
    c.close()
    return records


def visible(topic, isolation):
    """The values that stand in the topic's only partition for a consumer of this isolation, up to where it may read now."""
    c = consumer(isolation_level=isolation, enable_partition_eof=True)
    c.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    values = []

    def ended():
        m = c.poll(0.2)
        if m is not None and m.error() is None:
            values.append(m.value())
        return m is not None and m.error() is not None and m.error().code() == KafkaError._PARTITION_EOF

    until(ended, "the end of the partition")
    c.close()
    return values


def committed(c, topic, partition=0):
    return c.committed([TopicPartition(topic, partition)], 10)[0].offset


@scenario
def every_codec_with_headers_keys_and_nulls():
    topic, want = create(3), []
    big = os.urandom(600_000)
    for codec in "none", "gzip", "snappy", "lz4", "zstd":
        p = producer(compression_codec=codec, linger_ms=20)
        for key, value, headers in ((b"k", b"v" * 1000, [("h", b"1"), ("h", None), ("empty", b"")]), (None, b"no key", None), (b"k", None, None),
                                    (b"", b"", None), (b"big", big, None)):
            p.produce(topic, value, key, partition=1, headers=headers, timestamp=1700000000000 + len(want))
            want.append((key, value, headers, 1700000000000 + len(want), len(want)))
        equal(p.flush(30), 0, f"{codec}: records that were not delivered")
    got = [(m.key(), m.value(), m.headers(), m.timestamp()[1], m.offset()) for m in read(topic, len(want), 3)]
    equal(got, want, "what was read")


@scenario
def idempotent_and_every_acks():
    for acks, idempotent in ("0", False), ("1", False), ("all", False), ("all", True):
        topic = create()
        values = [b"%d" % i for i in range(3000)]
        reports = send(topic, values, {"acks": acks, "enable.idempotence": idempotent, "batch.num.messages": 50})
        equal([e for e, _ in reports if e], [], f"acks={acks}: failed")
        equal([m.value() for m in read(topic, 3000)], values, f"acks={acks} idempotent={idempotent}: values")


@scenario
def message_near_the_limit():
    topic = create(**{"max.message.bytes": str(8 << 20)})
    value = os.urandom(7 << 20)
    (report,) = send(topic, [value], {"message.max.bytes": 8 << 20})
    equal(report[0], None, "the delivery")
    c = consumer(fetch_message_max_bytes=1000, receive_message_max_bytes=100 << 20)
    c.assign([TopicPartition(topic, 0, 0)])
    equal(take(c, 1)[0].value(), value, "the value, in spite of a small fetch size")
    c.close()


@scenario
def log_append_time():
    topic = create(**{"message.timestamp.type": "LogAppendTime"})
    ((_, report),) = send(topic, [b"x"], timestamp=1000)
    (record,) = read(topic, 1)
    equal(record.timestamp()[0], 2, "the kind of timestamp")
    equal(record.timestamp()[1] > 1700000000000, True, "the broker's time")
    equal(report.timestamp(), record.timestamp(), "the report's timestamp")


@scenario
def offsets_by_kind_and_time():
    topic = create()
    p = producer()
    for i in 5, 9, 2:
        p.produce(topic, b"x", timestamp=1700000000000 + i)
    p.flush(10)
    t = TopicPartition(topic, 0)
    for spec, want in ((OffsetSpec.earliest(), 0), (OffsetSpec.latest(), 3), (OffsetSpec.max_timestamp(), 1),
                       (OffsetSpec.for_timestamp(1700000000006), 1), (OffsetSpec.for_timestamp(1800000000000), -1)):
        for isolation in IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED:
            equal(one(admin.list_offsets({t: spec}, isolation_level=isolation)).offset, want, f"{spec._value} {isolation}")


@scenario
def members_join_and_leave_with_every_assignor():
    for strategy in "range", "roundrobin", "cooperative-sticky":
        topic, group = create(6), name("g")
        members = [consumer(group, partition_assignment_strategy=strategy, session_timeout_ms=6000, heartbeat_interval_ms=300) for _ in range(3)]

        def shares(live):
            for m in live:
                m.poll(0.05)
            return sorted(len(m.assignment()) for m in live)

        for m in members:
            m.subscribe([topic])
        until(lambda: shares(members) == [2, 2, 2], f"{strategy}: two each")
        members[0].close()
        until(lambda: shares(members[1:]) == [3, 3], f"{strategy}: three each")
        for m in members[1:]:
            m.close()


@scenario
def pattern_finds_a_topic_created_later():
    prefix = name("ck-pattern")
    first, second = prefix + "-a", prefix + "-b"
    send(first, [b"1"])
    c = consumer(name("g"), topic_metadata_refresh_interval_ms=300)
    c.subscribe([f"^{prefix}-.*"])
    equal(take(c, 1)[0].topic(), first, "the first topic")
    send(second, [b"2"])
    equal(take(c, 1)[0].topic(), second, "the topic created later")
    c.close()


@scenario
def static_members():
    topic, group = create(2), name("g")

    def start(instance):
        c = consumer(group, group_instance_id=instance, session_timeout_ms=30000)
        c.subscribe([topic])
        return c

    a, b = start("a"), start("b")
    until(lambda: (a.poll(0.05), b.poll(0.05)) and len(a.assignment()) == len(b.assignment()) == 1, "one partition each")
    mine = b.assignment()[0].partition
    b.close()
    b = start("b")
    until(lambda: (a.poll(0.05), b.poll(0.05)) and b.assignment(), "the same member again")
    equal(b.assignment()[0].partition, mine, "the partition over a restart")
    fenced = threading.Event()
    again = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": group, "group.instance.id": "b", "session.timeout.ms": 30000})
    again.subscribe([topic])

    def fences():
        again.poll(0.05)
        try:
            m = b.poll(0.05)
        except KafkaException as e:
            m = e.args[0]
        error = m.error() if hasattr(m, "error") else m
        if error is not None and error.code() == KafkaError._FATAL:
            fenced.set()
        return fenced.is_set()

    until(fences, "the older of two members with one instance id is fenced")
    for c in a, b, again:
        c.close()


@scenario
def commits_and_where_a_group_begins():
    topic, group = create(), name("g")
    send(topic, [b"%d" % i for i in range(10)])
    c = consumer(group, enable_auto_commit=False)
    c.subscribe([topic])
    take(c, 4)
    equal(committed(c, topic), -1001, "no offset yet")
    c.commit(offsets=[TopicPartition(topic, 0, 4, "meta")], asynchronous=False)
    equal(c.committed([TopicPartition(topic, 0)])[0].metadata, "meta", "the metadata")
    c.close()
    c = consumer(group, enable_auto_commit=False)
    c.subscribe([topic])
    equal(take(c, 1)[0].value(), b"4", "from the committed offset")
    c.close()
    c = consumer(name("g"), auto_offset_reset="error")
    c.subscribe([topic])
    m = until(lambda: c.poll(0.2), "the missing offset is told")
    equal(m.error().code(), KafkaError._AUTO_OFFSET_RESET, "auto.offset.reset=error")
    c.close()


@scenario
def groups_are_listed_described_altered_deleted():
    topic, group = create(2), name("g")
    send(topic, [b"x"] * 5)
    c = consumer(group)
    c.subscribe([topic])
    take(c, 5)
    described = one(admin.describe_consumer_groups([group]))
    equal((described.state.name, described.partition_assignor, len(described.members)), ("STABLE", "range", 1), "state, assignor, members")
    equal(sorted(p.partition for p in described.members[0].assignment.topic_partitions), [0, 1], "the assignment")
    refused(KafkaError.NON_EMPTY_GROUP, admin.delete_consumer_groups([group]))
    c.close()
    equal(one(admin.describe_consumer_groups([group])).state.name, "EMPTY", "the state when all have left")
    listed = admin.list_consumer_groups().result(20)
    equal([(g.state.name, g.is_simple_consumer_group) for g in listed.valid if g.group_id == group], [("EMPTY", False)], "listed")
    one(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 3)])]))
    got = one(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])]))
    equal(got.topic_partitions[0].offset, 3, "the altered offset")
    one(admin.delete_consumer_groups([group]))
    refused(KafkaError.GROUP_ID_NOT_FOUND, admin.delete_consumer_groups([group]))
    equal(group in [g.group_id for g in admin.list_consumer_groups().result(20).valid], False, "still listed")


@scenario
def topics_partitions_configs_cluster():
    topic = create(2, **{"retention.ms": "3600000"})
    one(admin.create_partitions([NewPartitions(topic, 4)]))
    until(lambda: len(admin.list_topics(topic, 10).topics[topic].partitions) == 4, "four partitions")
    described = one(admin.describe_topics(__import__("confluent_kafka").TopicCollection([topic])))
    equal((described.name, len(described.partitions), described.is_internal), (topic, 4, False), "described")
    resource = ConfigResource(ResourceType.TOPIC, topic)
    configs = one(admin.describe_configs([resource]))
    equal((configs["retention.ms"].value, configs["retention.ms"].source, configs["cleanup.policy"].is_default), ("3600000", 1, True), "configs")
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[
        ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE),
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND)])
    one(admin.incremental_alter_configs([change]))
    until(lambda: one(admin.describe_configs([resource]))["cleanup.policy"].value == "delete,compact", "the appended policy")
    equal(one(admin.describe_configs([resource]))["retention.ms"].value, "604800000", "the default is back")
    broker = one(admin.describe_configs([ConfigResource(ResourceType.BROKER, "1")]))
    equal(broker["node.id"].value, "1", "the broker's id")
    cluster = admin.describe_cluster().result(20)
    equal((len(cluster.nodes), cluster.controller is not None), (1, True), "the cluster")
    one(admin.delete_topics([topic]))
    until(lambda: topic not in admin.list_topics(timeout=10).topics, "the topic is gone")


@scenario
def transactional_producer():
    one_, two, id_ = create(), create(), name("tx")
    p = producer(transactional_id=id_)
    p.init_transactions(20)
    for n, commit in enumerate((True, False, True)):
        p.begin_transaction()
        p.produce(one_, b"%d" % n)
        p.produce(two, b"%d" % n)
        if commit:
            p.commit_transaction(20)
        else:
            equal(p.flush(20), 0, "records that were not delivered")
            p.abort_transaction(20)
    for topic in one_, two:
        equal(visible(topic, "read_committed"), [b"0", b"2"], "at read_committed")
        equal(visible(topic, "read_uncommitted"), [b"0", b"1", b"2"], "at read_uncommitted")
    latest = {i: one(admin.list_offsets({TopicPartition(one_, 0): OffsetSpec.latest()}, isolation_level=i)).offset
              for i in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)}
    equal(set(latest.values()), {6}, "three records and three markers")
    p.begin_transaction()
    p.produce(one_, b"3")
    equal(p.flush(20), 0, "records that were not delivered")
    send(one_, [b"4"])
    equal(visible(one_, "read_committed"), [b"0", b"2"], "behind an open transaction")
    equal(one(admin.list_offsets({TopicPartition(one_, 0): OffsetSpec.latest()}, isolation_level=IsolationLevel.READ_COMMITTED)).offset, 6,
          "the last stable offset")
    p.commit_transaction(20)
    equal(visible(one_, "read_committed"), [b"0", b"2", b"3", b"4"], "when it has ended")


@scenario
def second_producer_of_a_transactional_id_fences_the_first():
    topic, id_ = create(), name("tx")
    first, second = producer(transactional_id=id_), producer(transactional_id=id_)
    first.init_transactions(20)
    first.begin_transaction()
    first.produce(topic, b"lost")
    equal(first.flush(20), 0, "records that were not delivered")
    second.init_transactions(20)
    second.begin_transaction()
    second.produce(topic, b"kept")
    second.commit_transaction(20)
    error = raises(KafkaException, first.commit_transaction, 20).args[0]
    equal((error.code(), error.fatal()), (KafkaError._FENCED, True), "the first producer's commit")
    equal(visible(topic, "read_committed"), [b"kept"], "at read_committed")


@scenario
def consume_transform_produce():
    source, target, group = create(3), create(), name("g")
    send(source, [b"%d" % i for i in range(60)])
    p = producer(transactional_id=name("tx"))
    p.init_transactions(20)
    done = aborted = 0
    while done < 60:
        c = consumer(group, isolation_level="read_committed", enable_auto_commit=False)
        c.subscribe([source])
        while done < 60:
            batch = until(lambda: c.consume(10, 0.5), "records of the source")
            p.begin_transaction()
            for m in batch:
                equal(m.error(), None, "the polled message's error")
                p.produce(target, b"result of " + m.value())
            p.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), 20)
            if done >= 30 and not aborted:
                p.abort_transaction(20)
                aborted = len(batch)
                break  # what was aborted has to be read again
            p.commit_transaction(20)
            done += len(batch)
        c.close()
    equal(sorted(visible(target, "read_committed")), sorted(b"result of %d" % i for i in range(60)), "results, each once")
    c = consumer(group)
    equal(sum(o.offset for o in c.committed([TopicPartition(source, q) for q in range(3)], 20)), 60, "the committed offsets")
    c.close()


@scenario
def transactions_of_a_member_that_was_put_out():
    source, target, group = create(), create(), name("g")
    send(source, [b"x"])
    zombie = consumer(group, session_timeout_ms=6000, enable_auto_commit=False)
    zombie.subscribe([source])
    take(zombie, 1)
    mine = zombie.consumer_group_metadata()
    zombie.close()
    heir = consumer(group, enable_auto_commit=False)
    heir.subscribe([source])
    take(heir, 1)
    p = producer(transactional_id=name("tx"))
    p.init_transactions(20)
    p.begin_transaction()
    p.produce(target, b"x")
    error = raises(KafkaException, p.send_offsets_to_transaction, [TopicPartition(source, 0, 1)], mine, 20).args[0]
    equal((error.txn_requires_abort(), error.fatal()), (True, False), f"what is to be done about {error}")
    p.abort_transaction(20)
    p.begin_transaction()
    p.produce(target, b"y")
    p.send_offsets_to_transaction([TopicPartition(source, 0, 1)], heir.consumer_group_metadata(), 20)
    p.commit_transaction(20)
    equal(visible(target, "read_committed"), [b"y"], "at read_committed")
    equal(committed(heir, source), 1, "the committed offset")
    heir.close()


@scenario
def delete_records():
    topic = create()
    send(topic, [b"%d" % i for i in range(10)])
    equal(one(admin.delete_records([TopicPartition(topic, 0, 4)])).low_watermark, 4, "the low watermark")
    equal([m.offset() for m in read(topic, 6)], list(range(4, 10)), "what is left")
    refused(KafkaError.OFFSET_OUT_OF_RANGE, admin.delete_records([TopicPartition(topic, 0, 400)]))


@scenario
def errors_of_administration():
    topic = create()
    refused(KafkaError.TOPIC_ALREADY_EXISTS, admin.create_topics([NewTopic(topic, 1, 1)]))
    refused(KafkaError.TOPIC_EXCEPTION, admin.create_topics([NewTopic("no blanks", 1, 1)]))
    refused(KafkaError.TOPIC_EXCEPTION, admin.create_topics([NewTopic("x" * 250, 1, 1)]))
    refused(KafkaError.INVALID_REPLICATION_FACTOR, admin.create_topics([NewTopic(name("t"), 1, 3)]))
    refused(KafkaError.INVALID_CONFIG, admin.create_topics([NewTopic(name("t"), 1, 1, config={"no.such.key": "1"})]))
    refused(KafkaError.INVALID_CONFIG, admin.create_topics([NewTopic(name("t"), 1, 1, config={"cleanup.policy": "burn"})]))
    refused(KafkaError.UNKNOWN_TOPIC_OR_PART, admin.delete_topics([name("t")]))
    refused(KafkaError.INVALID_PARTITIONS, admin.create_partitions([NewPartitions(topic, 1)]))
    refused(KafkaError.INVALID_CONFIG, admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[
        ConfigEntry("retention.ms", "soon", incremental_operation=AlterConfigOpType.SET)])]))
    one(admin.create_topics([NewTopic(only_asked := name("t"), 1, 1)], validate_only=True))
    equal(only_asked in admin.list_topics(timeout=10).topics, False, "a topic that was only validated")


@scenario
def errors_of_producing_and_consuming():
    topic = create(**{"max.message.bytes": "2000"})
    ((error, _),) = send(topic, [b"x" * 5000])
    equal(error.code(), KafkaError.MSG_SIZE_TOO_LARGE, "too large")
    compacted = create(**{"cleanup.policy": "compact"})
    ((error, _),) = send(compacted, [b"no key"])
    equal(error.code(), KafkaError.INVALID_RECORD, "a record without a key on a compacted topic")
    ((error, _),) = send(topic, [b"x"], timestamp=9999999999999)
    equal(error.code(), KafkaError.INVALID_TIMESTAMP, "a timestamp years ahead")
    c = consumer(allow_auto_create_topics=False)
    c.subscribe([name("nowhere")])
    m = until(lambda: c.poll(0.2), "the unknown topic is told")
    equal(m.error().code(), KafkaError.UNKNOWN_TOPIC_OR_PART, "the unknown topic")
    c.close()
    c = consumer(auto_offset_reset="error")
    c.assign([TopicPartition(topic, 0, 1000)])
    m = until(lambda: c.poll(0.2), "the offset out of range is told")
    equal(m.error().code(), KafkaError._AUTO_OFFSET_RESET, "the offset out of range")
    c.close()


run()
