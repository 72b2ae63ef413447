"""Consumer group: three consumers on six partitions get two each; when one leaves, three each."""

import threading

from guide import BOOTSTRAP, create, equal, fill, name, until
from kafka import KafkaConsumer

orders, group = name("orders"), name("order-processors")
create(orders, 6)
stop = [threading.Event() for _ in range(3)]
assigned, received, lock = [set(), set(), set()], [], threading.Lock()


def member(i):
    consumer = KafkaConsumer(orders, group_id=group, bootstrap_servers=BOOTSTRAP, auto_offset_reset="earliest")
    while not stop[i].is_set():
        batches = consumer.poll(timeout_ms=100)
        with lock:
            assigned[i] = {p.partition for p in consumer.assignment()}
            received.extend((i, r.partition, r.value) for b in batches.values() for r in b)
    consumer.close()
    with lock:
        assigned[i] = set()


def shares():
    with lock:
        return sorted(map(len, assigned)), sorted(p for a in assigned for p in a)


threads = [threading.Thread(target=member, args=(i,)) for i in range(3)]
try:
    for t in threads:
        t.start()
    until(lambda: shares() == ([2, 2, 2], [0, 1, 2, 3, 4, 5]), "two partitions for each of three")
    fill(orders, list(range(60)))
    until(lambda: len(received) >= 60, "sixty records")
    with lock:
        equal(sorted(int(v) for _, _, v in received), list(range(60)), "each record once")
        equal({(i, p) for i, p, _ in received} - {(i, p) for i in range(3) for p in assigned[i]}, set(), "only from one's own")
    stop[0].set()
    until(lambda: shares() == ([0, 3, 3], [0, 1, 2, 3, 4, 5]), "three partitions for each of two")
finally:
    for s in stop:
        s.set()
    for t in threads:
        t.join()
