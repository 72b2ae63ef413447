"""Асинхронный коммит с колбэком.

kafka-python has at most five requests on the way to a node and refuses further asynchronous commits itself, with
NodeNotReadyError; every other error would be the broker's.
"""

from guide import BOOTSTRAP, equal, fill, join, name, until
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import NodeNotReadyError

orders, group = name("orders"), name("order-processors")
fill(orders, ["before the group"])
processed, committed = [], []


def process(value):
    processed.append(value)


def on_commit(resp, err):
    print(f"Committed: {resp}")
    committed.append((resp, err))


consumer = KafkaConsumer(orders, bootstrap_servers=BOOTSTRAP, group_id=group, enable_auto_commit=False)
join(consumer)
fill(orders, list(range(10)))
for message in consumer:
    process(message.value)
    consumer.commit_async(callback=on_commit)
    if len(processed) == 10:
        break


def answered():
    consumer.poll(timeout_ms=50)
    return len(committed) == 10


until(answered, "the callbacks")
partition = TopicPartition(orders, 0)
errors = [r for _, r in committed if isinstance(r, Exception)]
equal([e for e in errors if not isinstance(e, NodeNotReadyError)], [], "commits that the broker refused")
offsets = [o[partition].offset for o, r in committed if not isinstance(r, Exception)]
equal(len(offsets) >= 5, True, f"at least five commits arrive ({len(offsets)} did)")
equal(set(offsets) <= set(range(2, 12)), True, f"committed offsets {offsets}")
consumer.commit()
equal(consumer.committed(partition), 11, "the offset at the end")
consumer.close()
