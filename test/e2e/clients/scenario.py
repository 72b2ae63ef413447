"""Scenarios of one client: functions that are run one after the other, each on topics and groups of its own."""

import faulthandler
import os
import sys
import time
import traceback
import uuid

BOOTSTRAP = os.environ["BOOTSTRAP_SERVERS"]
_scenarios = []


def scenario(f):
    _scenarios.append(f)
    return f


def run(limit=90):
    """Prints a line PASS or FAIL for each scenario. One that hangs ends the program, and shows where it hung."""
    failed = 0
    for f in _scenarios:
        name = f.__name__.replace("_", " ")
        faulthandler.dump_traceback_later(limit, exit=True)
        try:
            f()
            print("PASS", name, flush=True)
        except Exception as e:
            traceback.print_exc()
            print(f"FAIL {name}: {type(e).__name__}: {str(e)[:500]}", flush=True)
            failed += 1
        faulthandler.cancel_dump_traceback_later()
    sys.stdout.flush()
    os._exit(1 if failed else 0)  # a client that was left open by a failure must not hold the program


def name(word):
    return f"{word}-{uuid.uuid4().hex[:8]}"


def until(condition, what, limit=60.0):
    deadline = time.monotonic() + limit
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit:.0f} s in vain for: {what}")
        time.sleep(0.01)


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def raises(errors, f, *args, **kwargs):
    try:
        got = f(*args, **kwargs)
    except errors as e:
        return e
    raise AssertionError(f"no error, but {got!r}")
