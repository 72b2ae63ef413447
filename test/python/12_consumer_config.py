"""Конфигурация консьюмера: every setting shown, with either isolation level and each auto_offset_reset that reads."""

from guide import BOOTSTRAP, equal, fill, join, name
from kafka import KafkaConsumer

orders = name("orders")
fill(orders, list(range(1000)))


def consumer(**other):
    return KafkaConsumer(orders, **(dict(
        bootstrap_servers=BOOTSTRAP,
        group_id=name("order-processors"),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_min_bytes=1,
        fetch_max_bytes=52428800,
        fetch_max_wait_ms=500,
        max_partition_fetch_bytes=1048576,
        session_timeout_ms=30000,
        heartbeat_interval_ms=10000,
        max_poll_interval_ms=300000,
        max_poll_records=500,
        isolation_level="read_committed",
    ) | other))


for isolation in "read_committed", "read_uncommitted":
    c = consumer(isolation_level=isolation, group_id=name(isolation))
    values = [int(next(c).value) for _ in range(1000)]
    equal(values, list(range(1000)), isolation)
    c.close()

c = consumer(max_partition_fetch_bytes=100, group_id=name("small-fetches"))  # below one batch: it comes all the same
equal([int(next(c).value) for _ in range(1000)], list(range(1000)), "small fetches")
c.close()

c = consumer(auto_offset_reset="latest", group_id=name("latest"))
join(c)
fill(orders, ["new"])
equal(next(c).value, b'"new"', "latest")
c.close()
