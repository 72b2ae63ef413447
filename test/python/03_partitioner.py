"""Partitioning: a partitioner of one's own, with and without a key.

A key is bytes here, for the guide's producer has no key_serializer. kafka-python 3 wants the partitioner as an object: the
guide's function is put into one.
"""

from guide import BOOTSTRAP, create, equal, name, read
from kafka import KafkaProducer
from kafka.partitioner import Partitioner

orders = name("orders")
create(orders, 6)
data = b"{}"
asked = []


def partitioner(key, all_partitions, available_partitions):
    asked.append((key, all_partitions, available_partitions))
    return hash(key) % len(all_partitions)


class Function(Partitioner):
    def partition(self, topic, key, serialized_key, value, serialized_value, cluster):
        return partitioner(serialized_key, sorted(cluster.partitions_for_topic(topic)),
                           list(cluster.available_partitions_for_topic(topic)))


producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, partitioner=Function())

keyed = [producer.send(orders, key=b"user-100", value=data) for _ in range(20)]
unkeyed = [producer.send(orders, value=data) for _ in range(20)]
producer.flush()
producer.close()

for _, everything, available in asked:
    equal(sorted(everything), list(range(6)), "the partitions that the partitioner may choose from")
    equal(sorted(available), list(range(6)), "the partitions that have a leader")
equal({f.get().partition for f in keyed}, {hash(b"user-100") % 6}, "the partition of user-100")
equal({f.get().partition for f in unkeyed}, {hash(None) % 6}, "the partition without a key")
records = read(orders)
equal(sorted({(r.key, r.partition) for r in records}, key=str),
      sorted({(b"user-100", hash(b"user-100") % 6), (None, hash(None) % 6)}, key=str), "keys and partitions read back")
equal(len(records), 40, "records")

# Without a partitioner: keys by murmur2 as in every client, no key spread over the partitions.
producer = KafkaProducer(bootstrap_servers=BOOTSTRAP)
first, second = (producer.send(orders, key=b"user-100", value=data).get().partition for _ in range(2))
equal((first, second), (0, 0), "murmur2 of user-100 over six partitions")
spread = {producer.send(orders, value=data).get().partition for _ in range(100)}
producer.close()
equal(len(spread) > 1, True, "records without a key are spread")
