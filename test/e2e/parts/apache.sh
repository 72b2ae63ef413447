# Directories of Apache Kafka: one that it wrote, stopped cleanly or killed, is Klamm's from then on, with every record, offset,
# producer, transaction, group and configuration; and what Klamm leaves behind is Apache's again.
directory() { timeout 150 "$kafka" java "$here/clients/Directory.java" "$BOOTSTRAP" "$@" 2>"$base/err" || { cat "$base/err"; return 1; }; }

# up apache|klamm: a node on the directory. It outlives the check that starts it, so its id stands in a file.
up() {
  local -a command=("$root/bin/klamm" start)
  [[ $1 == klamm ]] || command=(env ${release:+"KAFKA_VERSION=$release"} "$kafka" serve)
  "${command[@]}" --override "listeners=PLAINTEXT://$BOOTSTRAP" --override "log.dirs=$base/data" --override log.cleaner.backoff.ms=300 \
    --override log.initial.task.delay.ms=100 --override log.flush.start.offset.checkpoint.interval.ms=300 \
    --override offsets.topic.num.partitions=3 --override transaction.state.log.num.partitions=3 >>"$base/$1.log" 2>&1 </dev/null &
  echo $! >"$base/pid"
  await "$1 answers" answers "$BOOTSTRAP"
}
alive() { kill -0 "$(<"$base/pid")" 2>/dev/null; }
# down clean|killed
down() {
  if [[ $1 == clean ]]; then kill "$(<"$base/pid")"; else kill -9 "$(<"$base/pid")"; fi
  await "the node ends" gone "$(<"$base/pid")"
}

apache_writes() {
  rm -rf "$base"/data
  up apache
  directory write 1
  BOOTSTRAP_SERVERS=$BOOTSTRAP timeout 120 "$python" -W ignore "$here/clients/disk_content.py"
  sleep 1 # the start that DeleteRecords moved is in its checkpoint
  directory portrait >"$base/before"
  directory quotas >"$base/quotas"
  has "$(<"$base/before")" "transaction tx-open Ongoing"
  # The cleaner left gaps between segments, or this shows less than it should.
  gaps "$base/data/was-compacted-0"
}
# gaps DIRECTORY: between two of its segments offsets are missing
gaps() {
  python3 - "$1" <<'END'
import glob, os, struct, sys
end = None
for name in sorted(glob.glob(sys.argv[1] + "/*.log")):
    if end is not None and int(os.path.basename(name)[:20]) > end:
        sys.exit(0)
    data, at = open(name, "rb").read(), 0
    while at + 61 <= len(data):
        first, size = struct.unpack_from(">qi", data, at)
        end = first + struct.unpack_from(">i", data, at + 23)[0] + 1
        at += 12 + size
sys.exit("no offsets are missing between the segments")
END
}
klamm_takes_over() { # clean|killed
  if [[ $1 == killed ]]; then # everything is looked at anew, and nothing says what was compacted
    rm -f "$base"/data/{recovery-point,cleaner}-offset-checkpoint
  fi
  up klamm
  directory portrait >"$base/after"
  diff "$base/before" "$base/after"
}
klamm_writes() {
  directory write 2
  directory portrait >"$base/before"
  diff "$base/after" "$base/before" >"$base/written" || true
  has "$(<"$base/written")" "topic phase-2"
}
apache_takes_over() {
  up apache
  directory portrait >"$base/after"
  diff "$base/before" "$base/after"
  same "$(directory quotas)" "$(<"$base/quotas")"
  directory write 3
  down clean
}

if [[ ${KLAMM_E2E_BOOTSTRAP:-} || ${KLAMM_E2E_NODE:-klamm} != klamm ]]; then
  skip "Apache Kafka's directories" "both brokers are needed"
elif need_java && need_python kafka-python python-snappy lz4 zstandard; then
  for how in ${KLAMM_E2E_APACHE:-clean killed 3.9.1}; do
    release='' stop=$how
    unset CLASSIC
    if [[ $how == [0-9]* ]]; then # an older release, stopped cleanly
      release=$how stop=clean
      export CLASSIC=1
      if ! KAFKA_VERSION=$release "$kafka" fetch >>"$work/logs/install.log" 2>&1; then
        skip "Apache Kafka $release" "Maven does not bring it"
        continue
      fi
    fi
    base=$(mktemp -d "$work/$part-$how.XXXXXX") BOOTSTRAP=127.0.0.1:$(free_port)
    check "Apache Kafka writes ($how)" apache_writes
    check "Apache Kafka ends ($how)" down "$stop"
    check "Klamm has all of it ($how)" klamm_takes_over $how
    check "Klamm writes more ($how)" klamm_writes
    check "Klamm ends ($how)" down "$stop"
    check "Apache Kafka has all of it ($how)" apache_takes_over
    [[ ! -e $base/pid ]] || ! alive || kill -9 "$(<"$base/pid")"
  done
fi
