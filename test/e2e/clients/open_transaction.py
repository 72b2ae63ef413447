"""A producer that dies in the middle of a transaction: `open_transaction.py TOPIC TRANSACTIONAL_ID TIMEOUT_MS VALUE...`

The values are in partition 0 when it ends; it says nothing to the coordinator. With UNKNOWN=1 the coordinator never hears of
the partition either, and the records bear the time of an hour ago: what a broken client leaves behind, where the broker does not
verify.
"""

import os
import sys
import time

from kafka import KafkaProducer, TopicPartition

topic, transactional_id, timeout, *values = sys.argv[1:]
unknown = os.environ.get("UNKNOWN") == "1"
producer = KafkaProducer(bootstrap_servers=os.environ["BOOTSTRAP_SERVERS"], transactional_id=transactional_id, transaction_timeout_ms=int(timeout))
producer.init_transactions()
producer.begin_transaction()
if unknown:
    producer._transaction_manager._partitions_in_transaction.add(TopicPartition(topic, 0))
when = int(time.time() * 1000) - (3600_000 if unknown else 0)
for future in [producer.send(topic, v.encode(), partition=0, timestamp_ms=when) for v in values]:
    future.get(timeout=20)
os._exit(0)
