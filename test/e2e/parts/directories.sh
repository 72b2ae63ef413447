# Several log directories: Apache Kafka's kafka-log-dirs and kafka-reassign-partitions, replicas that move over kills, one directory
# that fails alone.
at() { local tool=$1; shift; java "$tool" --bootstrap-server "$BOOTSTRAP" "$@"; }

# up: the node on its two directories. Its process outlives the check that starts it, so its id stands in a file.
up() {
  "${node_command[@]}" --override "listeners=PLAINTEXT://$BOOTSTRAP" --override "log.dirs=$base/one,$base/two" \
    --override log.segment.bytes=1048576 --override log.initial.task.delay.ms=100 --override log.flush.offset.checkpoint.interval.ms=500 \
    --override replica.high.watermark.checkpoint.interval.ms=500 --override offsets.topic.num.partitions=2 \
    --override transaction.state.log.num.partitions=2 >>"$base/log" 2>&1 </dev/null &
  echo $! >"$base/pid"
  await "the node answers" answers "$BOOTSTRAP"
}
alive() { kill -0 "$(<"$base/pid")" 2>/dev/null; }
crash() { kill -9 "$(<"$base/pid")"; await "the node is gone" gone "$(<"$base/pid")"; }
down() { kill "$(<"$base/pid")"; await "the node ends" gone "$(<"$base/pid")"; lacks "$(<"$base/log")" '^(panic|fatal error):'; }

# dirs: what kafka-log-dirs says, one line a replica: DIRECTORY TOPIC-PARTITION SIZE LAG FUTURE; one line a failed directory: DIRECTORY ERROR
dirs() {
  at log-dirs --describe "$@" | grep '^{' | python3 -c '
import json, os, sys
for b in json.load(sys.stdin)["brokers"]:
    for d in b["logDirs"]:
        if d["error"]:
            print(os.path.basename(d["logDir"]), d["error"])
        for p in d["partitions"]:
            print(os.path.basename(d["logDir"]), p["partition"], p["size"], p["offsetLag"], str(p["isFuture"]).lower())'
}
place() { dirs --topic-list "$1" | awk '$5 == "false" {print $1}'; } # TOPIC: the directory of its partition 0
moved_to() { local d; d=$(dirs --topic-list "$1"); [[ $(wc -l <<<"$d") == 1 && $d == "$2 "* ]]; }
failed() { grep -q '^two .*KafkaStorage' <<<"$(dirs)"; }
leaderless() { grep -q 'Leader: none' <<<"$(at topics --describe --topic "$1")"; }
led() { grep -q 'Leader: 1' <<<"$(at topics --describe --topic "$1")"; }
numbers() { seq "$1" "$2" | awk '{printf "%d %0100d\n", $1, 0}'; }
fill() { numbers "$2" "$3" | at console-producer --topic "$1" --command-property acks=all; } # TOPIC FROM TO
# holds TOPIC N: the numbers 1 to N, each once, in order
holds() {
  at console-consumer --topic "$1" --from-beginning --max-messages "$2" --timeout-ms 20000 >"$work/held" 2>"$work/held.err" || { cat "$work/held.err"; return 1; }
  cmp "$work/held" <(numbers 1 "$2")
}
plan() { printf '{"version":1,"partitions":[{"topic":"%s","partition":0,"replicas":[1],"log_dirs":["%s"]}]}' "$1" "$base/$2" >"$work/plan.json"; }
reassign() { at reassign-partitions --reassignment-json-file "$work/plan.json" "$@"; }
other() { if [[ $1 == one ]]; then echo two; else echo one; fi; }
# two_topics PREFIX: creates topics until there is one in each directory; $good is in the first, $bad in the second
two_topics() {
  local n t; good= bad=
  for n in 1 2 3 4 5 6; do
    t=$1$n
    at topics --create --topic "$t"
    fill "$t" 1 500
    if [[ $(place "$t") == one ]]; then good=$t; else bad=$t; fi
    [[ ! $good || ! $bad ]] || return 0
  done
  return 1
}

described() {
  local t out
  for t in d1 d2 d3 d4; do at topics --create --topic $t; done
  fill d1 1 2000
  out=$(dirs --topic-list d1,d2,d3,d4)
  same "$(awk '$5 == "false" && $4 == 0 {print $2}' <<<"$out" | sort | paste -sd' ')" "d1-0 d2-0 d3-0 d4-0"
  (($(awk '$2 == "d1-0" {print $3}' <<<"$out") > 200000))
  same "$(cd "$base" && find one two -maxdepth 1 -name 'd?-0' | sed 's,/, ,' | sort)" "$(awk '{print $1, $2}' <<<"$out" | sort)"
  (($(awk '{print $1}' <<<"$out" | sort -u | wc -l) == 2)) # the logs are spread
}

# A replica moves while it is written, first at a throttle under which its copy is seen to grow, then freely.
moves() {
  local to out
  at topics --create --topic moved
  fill moved 1 20000
  to=$(other "$(place moved)")
  plan moved "$to"
  out=$(reassign --execute --replica-alter-log-dirs-throttle 100000)
  has "$out" "Successfully started moving log directory"
  numbers 20001 20001 | at console-producer --topic moved # it belongs to the move
  out=$(dirs --topic-list moved)
  same "$(awk -v d="$to" '$1 == d {print $2, $5, ($4 > 0)}' <<<"$out")" "moved-0 true 1"
  has "$(reassign --verify --preserve-throttles)" "is still in progress"
  at configs --alter --entity-type brokers --entity-name 1 --delete-config replica.alter.log.dirs.io.max.bytes.per.second
  await "the replica has moved" moved_to moved "$to"
  has "$(reassign --verify)" "completed successfully"
  holds moved 20001
}

# The node is killed while its replica moves, several times: it goes on moving, and nothing is lost.
moves_over_kills() {
  local n to sent=20000
  at topics --create --topic killed
  fill killed 1 $sent
  for n in 1 2 3; do
    to=$(other "$(place killed)")
    plan killed "$to"
    reassign --execute --replica-alter-log-dirs-throttle $((n * 700000))
    crash
    up
    at configs --alter --entity-type brokers --entity-name 1 --delete-config replica.alter.log.dirs.io.max.bytes.per.second
    fill killed $((sent + 1)) $((sent + 100))
    sent=$((sent + 100))
    await "the replica has moved" moved_to killed "$to"
    holds killed $sent
  done
  same "$(find "$base"/one "$base"/two -maxdepth 1 -name '*-future')" ""
}

cordoned() {
  local t
  at configs --alter --entity-type brokers --entity-name 1 --add-config "cordoned.log.dirs=$base/two"
  for t in c1 c2 c3; do
    at topics --create --topic $t
    same "$(place $t)" one
  done
  plan c1 two
  reassign --execute || true
  same "$(dirs --topic-list c1 | awk '{print $1}')" one
  at configs --alter --entity-type brokers --entity-name 1 --delete-config cordoned.log.dirs
  reassign --execute
  await "the replica has moved" moved_to c1 two
}

# A directory is taken away from the running node: its replicas have no leader, the others are served, the node lives. A directory
# that is missing at the start likewise. When it is back, so are its records.
directory_goes() {
  two_topics g
  mv "$base/two" "$base/away"
  await "the directory is seen to fail" failed
  await "its replicas have no leader" leaderless "$bad"
  fill "$good" 501 1000
  holds "$good" 1000
  at topics --create --topic gnew
  same "$(place gnew)" one
  down
  if [[ ${KLAMM_E2E_NODE:-klamm} == klamm ]]; then # Apache Kafka does not start without it
    up
    holds "$good" 1000
    await "its replicas have no leader" leaderless "$bad"
    failed
    [[ ! -e $base/two ]]
    down
  fi
  mv "$base/away" "$base/two"
  up
  await "its replicas are led again" led "$bad"
  holds "$bad" 500
  holds "$good" 1000
}

# The disk gives errors: strace makes one system call on the files of one log fail.
disk_errors() { # SYSCALL ERROR
  local tracer
  two_topics "e$2"
  strace -f -qq -p "$(<"$base/pid")" -P "$base/two/$bad-0/00000000000000000000.log" -e trace="$1" -e inject="$1:error=$2" -o "$work/strace" 2>"$work/strace.err" &
  tracer=$!
  sleep 1
  numbers 501 501 | timeout 60 "$kafka" run console-producer --bootstrap-server "$BOOTSTRAP" --topic "$bad" --command-property delivery.timeout.ms=5000 \
    --command-property request.timeout.ms=3000 --command-property linger.ms=0 >"$work/refused" 2>&1 || true
  await "the directory is seen to fail" failed
  kill $tracer 2>/dev/null || true
  wait $tracer 2>/dev/null || true
  has "$(<"$work/strace")" INJECTED
  fill "$good" 501 600
  holds "$good" 600
  down
  up
  await "its replicas are led again" led "$bad"
  holds "$bad" 500
}

# Without the metadata's directory the node ends, and says why in one line.
metadata_directory_goes() {
  mv "$base/one" "$base/away"
  await "the node ends" gone "$(<"$base/pid")"
  if [[ ${KLAMM_E2E_NODE:-klamm} == klamm ]]; then
    has "$(tail -3 "$base/log")" "the metadata log directory $base/one has failed"
  fi
  mv "$base/away" "$base/one"
  up
  holds moved 20001
  down
}

if [[ ${KLAMM_E2E_BOOTSTRAP:-} ]]; then
  skip "several directories" "the broker is somebody else's"
elif need_java; then
  base=$(mktemp -d "$work/$part.XXXXXX") BOOTSTRAP=127.0.0.1:$(free_port)
  check "a node with two directories" up
  check "kafka-log-dirs" described
  check "kafka-reassign-partitions moves a replica" moves
  check "a replica moves over kills" moves_over_kills
  check "cordoned.log.dirs" cordoned
  check "a directory goes" directory_goes
  for word in pwrite64:EIO pwrite64:EROFS; do
    if [[ ${KLAMM_E2E_NODE:-klamm} == klamm && $(uname) == Linux ]] && command -v strace >/dev/null; then
      check "the disk says ${word#*:}" disk_errors "${word%:*}" "${word#*:}"
    else
      skip "the disk says ${word#*:}" "strace is not there, or it is not Klamm"
    fi
  done
  check "the metadata's directory goes" metadata_directory_goes
  [[ ! -e $base/pid ]] || ! alive || crash
fi
