"""Transactions that take longer than transaction.timeout.ms: the broker aborts them, and their producers are told so.

The broker must look for them often: transaction.abort.timed.out.transaction.cleanup.interval.ms=500.
"""

import time

import confluent_kafka as ck
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import InvalidProducerEpochError, KafkaError, ProducerFencedError

from scenario import BOOTSTRAP, equal, name, raises, run, scenario, until


def create():
    topic = name("timeout")
    admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()
    return topic


class Reader:
    """One partition at read_committed."""

    def __init__(self, topic):
        self.partition = TopicPartition(topic, 0)
        self.consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=None, auto_offset_reset="earliest", isolation_level="read_committed")
        self.consumer.assign([self.partition])

    def last_stable_offset(self):
        return self.consumer.end_offsets([self.partition])[self.partition]

    def values(self):
        end, values = self.last_stable_offset(), []
        self.consumer.seek(self.partition, 0)
        until(lambda: values.extend(r.value for b in self.consumer.poll(100).values() for r in b) or self.consumer.position(self.partition) >= end,
              "the last stable offset")
        return values


def aborted_by_the_broker(reader, begun):
    """Waits until the open transaction in the partition is no more."""
    equal(reader.last_stable_offset(), 0, "the last stable offset while the transaction is open")
    until(lambda: reader.last_stable_offset() > 0, "the transaction's abort", 15)
    took = time.monotonic() - begun
    equal(took >= 0.9, True, f"aborted after {took:.1f} s: after its timeout")
    equal(reader.values(), [], "at read_committed")


@scenario
def kafka_python_producer_is_fenced_after_the_timeout():
    topic, id_ = create(), name("tx")
    reader = Reader(topic)
    p = KafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=id_, transaction_timeout_ms=1000)
    p.init_transactions()
    begun = time.monotonic()
    p.begin_transaction()
    p.send(topic, b"late").get(timeout=20)
    aborted_by_the_broker(reader, begun)
    raises((ProducerFencedError, InvalidProducerEpochError), p.commit_transaction)
    raises(KafkaError, p.begin_transaction)
    again = KafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=id_)
    again.init_transactions()
    again.begin_transaction()
    again.send(topic, b"in time")
    again.commit_transaction()
    equal(reader.values(), [b"in time"], "at read_committed")


@scenario
def librdkafka_producer_is_fenced_after_the_timeout():
    topic, id_ = create(), name("tx")
    reader = Reader(topic)
    settings = {"bootstrap.servers": BOOTSTRAP, "transactional.id": id_}
    p = ck.Producer({**settings, "transaction.timeout.ms": 1000, "message.timeout.ms": 1000})
    p.init_transactions(20)
    begun = time.monotonic()
    p.begin_transaction()
    p.produce(topic, b"late")
    equal(p.flush(20), 0, "records that were not delivered")
    aborted_by_the_broker(reader, begun)
    error = raises(ck.KafkaException, p.commit_transaction, 20).args[0]
    equal((error.code(), error.fatal()), (ck.KafkaError._FENCED, True), "the commit")
    again = ck.Producer(settings)
    again.init_transactions(20)
    again.begin_transaction()
    again.produce(topic, b"in time")
    again.commit_transaction(20)
    equal(reader.values(), [b"in time"], "at read_committed")


@scenario
def writing_after_the_timeout_is_refused():
    topic = create()
    reader = Reader(topic)
    p = KafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=name("tx"), transaction_timeout_ms=1000)
    p.init_transactions()
    begun = time.monotonic()
    p.begin_transaction()
    p.send(topic, b"late").get(timeout=20)
    aborted_by_the_broker(reader, begun)
    before = reader.last_stable_offset()
    raises((ProducerFencedError, InvalidProducerEpochError), p.send(topic, b"later").get, 20)
    equal(reader.last_stable_offset(), before, "the partition's end")


@scenario
def timeout_above_the_brokers_is_refused():
    p = ck.Producer({"bootstrap.servers": BOOTSTRAP, "transactional.id": name("tx"), "transaction.timeout.ms": 900_001})
    error = raises(ck.KafkaException, p.init_transactions, 20).args[0]
    equal(error.code(), ck.KafkaError.INVALID_TRANSACTION_TIMEOUT, "the error")


run()
