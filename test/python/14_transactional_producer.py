"""Транзакции: the records of a transaction on two topics appear together, when it commits; an aborted one's never do.

The guide's producer is given serializers, which the values need. Its transaction is run three times: as it stands, with an
error between its records, and again, since a producer goes on after an abort.
"""

import json

from guide import BOOTSTRAP, create, equal, name, read
from kafka import KafkaProducer

orders, inventory = name("orders"), name("inventory")
create(orders, 1)
create(inventory, 1)

producer = KafkaProducer(
    bootstrap_servers=BOOTSTRAP,
    transactional_id=name("order-processor-1"),
    enable_idempotence=True,
    value_serializer=lambda v: json.dumps(v).encode("utf-8"),
)
producer.init_transactions()


class OutOfStock(Exception):
    pass


def transaction(order, stock):
    """True when it was committed."""
    try:
        producer.begin_transaction()
        producer.send(orders, {"order_id": order})
        if not stock:
            producer.flush()  # so that the broker has something to abort
            raise OutOfStock
        producer.send(inventory, {"product_id": 100, "qty": -1})
        producer.commit_transaction()
        return True
    except OutOfStock:
        producer.abort_transaction()
        return False


def values(topic, isolation):
    return [json.loads(r.value) for r in read(topic, isolation_level=isolation)]


equal([transaction(1, True), transaction(2, False), transaction(3, True)], [True, False, True], "committed")
equal(values(orders, "read_committed"), [{"order_id": 1}, {"order_id": 3}], "orders at read_committed")
equal(values(orders, "read_uncommitted"), [{"order_id": 1}, {"order_id": 2}, {"order_id": 3}], "orders at read_uncommitted")
equal(values(inventory, "read_committed"), [{"product_id": 100, "qty": -1}] * 2, "inventory at read_committed")

# Until its end nobody who reads committed records only sees anything of a transaction, nor of what came behind it.
producer.begin_transaction()
producer.send(orders, {"order_id": 4}).get(timeout=10)
other = KafkaProducer(bootstrap_servers=BOOTSTRAP)
other.send(orders, b'{"order_id": 5}').get(timeout=10)
equal([v["order_id"] for v in values(orders, "read_committed")], [1, 3], "orders while a transaction is open")
producer.commit_transaction()
equal([v["order_id"] for v in values(orders, "read_committed")], [1, 3, 4, 5], "orders when it has ended")

# A second producer of the same transactional id takes over: the first is fenced.
second = KafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=producer.config["transactional_id"])
producer.begin_transaction()
producer.send(orders, {"order_id": 6}).get(timeout=10)
second.init_transactions()
try:
    producer.commit_transaction()
    raise AssertionError("the first producer commits although it was fenced")
except AssertionError:
    raise
except Exception as e:
    print("fenced:", repr(e))
equal([v["order_id"] for v in values(orders, "read_committed")], [1, 3, 4, 5], "orders after the fencing")
for p in producer, other, second:
    p.close()
