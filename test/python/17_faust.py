"""Faust: an agent that reads orders, a timer that sends them; killed and started again it goes on where it was.

The guide's `Order.topic('orders')` and `Order.send(...)` are no functions of a Faust record: `app.topic` makes the topic, and that sends.
The timer runs each half second rather than each ten. Without arguments the script runs the application and watches it.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile

import faust
from guide import BOOTSTRAP, create, equal, name

GROUP = os.environ.get("FAUST_APP") or name("order-processor")


class Order(faust.Record):
    order_id: int
    amount: float
    customer_id: str


app = faust.App(GROUP, broker=f"kafka://{BOOTSTRAP[0]}", datadir=os.environ.get("FAUST_DATA"), web_enabled=False,
               broker_session_timeout=10, broker_heartbeat_interval=1)
orders_topic = app.topic(f"{GROUP}-orders", value_type=Order, partitions=2)
totals = app.Table("totals", default=int, partitions=2)
sent = 0


@app.agent(orders_topic)
async def process_orders(orders):
    async for order in orders.group_by(Order.customer_id, partitions=2):
        totals[order.customer_id] += 1
        print(json.dumps({"order": order.order_id, "total": totals[order.customer_id]}), flush=True)
        if order.amount > 1000:
            print(f"High value order from {order.customer_id}", flush=True)


@app.timer(interval=0.5)
async def example_producer():
    global sent
    sent += 1
    amount = 99.99 if sent % 3 else 1999.99
    await orders_topic.send(value=Order(order_id=sent, amount=amount, customer_id="cust-1"))


def run(data, seen, end):
    """Runs the application until it has counted so many orders, then ends it; returns what it printed, which Faust logs."""
    env = {**os.environ, "FAUST_APP": GROUP, "FAUST_DATA": data}
    child = subprocess.Popen([sys.executable, __file__, "worker", "-l", "warn"], env=env, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
    totals, high = [], 0
    for line in child.stdout:
        high += "High value order from cust-1" in line
        if (at := line.find('{"order"')) >= 0:
            totals.append(json.loads(line[at:])["total"])
            if totals[-1] >= seen:
                break
    child.send_signal(end)
    child.communicate()
    return totals, high


if __name__ == "__main__":
    if len(sys.argv) > 1:
        app.main()
    else:
        create(f"{GROUP}-orders", 2)
        with tempfile.TemporaryDirectory() as data:
            first, high = run(data, 7, signal.SIGKILL)
            equal(first, list(range(1, 8)), "the counts before the kill")
            equal(high, 2, "the orders of high value")
            # At least once: what was not committed when it was killed may be counted again, nothing is left out.
            again, _ = run(data, 14, signal.SIGTERM)
            equal(1 <= again[0] <= 8, True, f"it goes on with {again[0]}")
            equal(again, list(range(again[0], again[0] + len(again))), "the counts after the kill")
