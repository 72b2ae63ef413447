# Streams groups: Kafka Streams' word count by the streams protocol, over kill -9 of the node and of an instance, and Apache
# Kafka's tool for these groups. Run with KLAMM_E2E_NODE=apache to see that nothing here is Klamm's own.
at() { local tool=$1; shift; java "$tool" --bootstrap-server "$BOOTSTRAP" "$@"; }
group=streams-wordcount
groups() { at streams-groups --group "$group" "$@"; }
overrides=(group.streams.min.session.timeout.ms=1000 group.streams.min.heartbeat.interval.ms=200 group.streams.initial.rebalance.delay.ms=500)

# instance NAME: an instance of the application with its own state, in the background; its process id is in $instance
instance() {
  printf '%s\n' "bootstrap.servers=$BOOTSTRAP" group.protocol=streams processing.guarantee=exactly_once_v2 "state.dir=$work/streams-$1" \
    "client.id=$1" "application.server=localhost:$2" commit.interval.ms=100 >"$work/streams-$1.properties"
  KAFKA_HEAP_OPTS=-Xmx192M "$kafka" java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$streams" \
    org.apache.kafka.streams.examples.wordcount.WordCountDemo "$work/streams-$1.properties" &
  instance=$!
  instances+=("$instance")
}
# counts: each count of each word that was committed
counts() {
  at console-consumer --topic streams-wordcount-output --partition 0 --offset earliest --timeout-ms 4000 --isolation-level read_committed --formatter-property print.key=true \
    --formatter-property value.deserializer=org.apache.kafka.common.serialization.LongDeserializer 2>/dev/null
}
counted() { [[ $(at get-offsets --topic streams-wordcount-output | cut -d: -f3) -gt $1 ]]; }
words() { seq "$1" | sed 's/$/\tKlamm counts klamm/' | at console-producer --topic streams-plaintext-input --reader-property parse.key=true; } # HOW_OFTEN
# state: the group's, and the number of members
state() { groups --describe --state 2>/dev/null | awk -v g="$group" '$1 == g {print $(NF - 1), $NF}'; }
is() { [[ $(state) == "$1" ]]; }

again() { # the node after kill -9, on the same data; the killed one's port is free only when it is gone, and it is nobody's child here
  kill -9 "$node_pid"
  await "the killed node's end" gone "$node_pid"
  local -a set=()
  local kv
  for kv in "${overrides[@]}"; do set+=(--override "$kv"); done
  "${node_command[@]}" --override "listeners=PLAINTEXT://$BOOTSTRAP" --override "log.dirs=$node_dir/data" "${set[@]}" >>"$node_log" 2>&1 </dev/null &
  node_pid=$!
  echo "$node_pid" >"$work/streams-node.pid"
  await "the node again" answers "$BOOTSTRAP"
}

streams_by_protocol() {
  local out first instances
  instances=()
  trap 'kill -9 "${instances[@]}" 2>/dev/null || true' EXIT
  at topics --create --topic streams-plaintext-input --partitions 2
  at topics --create --topic streams-wordcount-output --partitions 1
  at configs --entity-type groups --entity-name "$group" --alter \
    --add-config streams.num.standby.replicas=1,streams.session.timeout.ms=6000,streams.heartbeat.interval.ms=300
  words 300
  instance one 1; first=$instance
  await "the first counts" counted 50
  instance two 2
  await "two members" is "Stable 2"
  tool_and_members
  words 300
  [[ ${KLAMM_E2E_BOOTSTRAP:-} ]] || again
  words 300
  kill -9 "$first"
  wait "$first" || true
  await "one member" is "Stable 1"
  words 100
  complete() { [[ $(counts | wc -l) -ge 3000 ]]; }
  await "all the counts" complete
  kill "$instance"
  wait "$instance" || true
  out=$(counts)
  same "$(grep '^counts' <<<"$out" | cut -f2)" "$(seq 1000)"
  same "$(grep '^klamm' <<<"$out" | cut -f2)" "$(seq 2000)"
  same "$(wc -l <<<"$out")" 3000
}

# plain: a tool's table, sorted, with one space between columns and without what differs from run to run
plain() {
  sed -E 's/(^| )[A-Za-z0-9_-]{22}( |$)/\1MEMBER\2/g; s/[0-9a-f]{8}-[0-9a-f-]{27}/PROCESS/g; s/[0-9.]+:[0-9]+ +\([0-9]+\)/NODE/; s/ +/ /g; s/ $//; /^$/d' | LC_ALL=C sort
}
repartition=$group-KSTREAM-AGGREGATE-STATE-STORE-0000000003-repartition

# What the tool shows of a group at work; that Apache's own coordinator gives the same shows a run with KLAMM_E2E_NODE=apache.
tool_and_members() {
  same "$(at streams-groups --list)" "$group"
  same "$(at streams-groups --list --state | plain)" $'GROUP STATE\n'"$group Stable"
  same "$(at streams-groups --list --state Stable | plain)" $'GROUP STATE\n'"$group Stable"
  lacks "$(at streams-groups --list --state Empty,Reconciling)" "$group"
  has "$(at groups --list | plain)" "$group Streams streams"
  same "$(groups --describe --state | plain)" $'GROUP COORDINATOR (ID) STATE #MEMBERS\n'"$group NODE Stable 2"
  same "$(groups --describe --state --verbose | plain | sed -E 's/ [0-9]+ [0-9]+ 2$/ E E 2/')" \
    $'GROUP COORDINATOR (ID) STATE GROUP-EPOCH TARGET-ASSIGNMENT-EPOCH #MEMBERS\n'"$group NODE Stable E E 2"
  # Each has half of the tasks; that with state is a standby at the other.
  same "$(groups --describe --members | plain)" "GROUP MEMBER PROCESS CLIENT-ID ASSIGNMENTS
$group MEMBER PROCESS one-StreamThread-1-consumer ACTIVE: 0:[0]; 1:[0]; STANDBY: 1:[1];
$group MEMBER PROCESS two-StreamThread-1-consumer ACTIVE: 0:[1]; 1:[1]; STANDBY: 1:[0];"
  same "$(groups --describe --members --verbose | plain | sed -E 's/ [0-9]+ 0 MEMBER streams [0-9]+ / E 0 MEMBER streams E /')" \
    "GROUP TARGET-ASSIGNMENT-EPOCH TOPOLOGY-EPOCH MEMBER MEMBER-PROTOCOL MEMBER-EPOCH PROCESS CLIENT-ID ASSIGNMENTS
$group E 0 MEMBER streams E PROCESS one-StreamThread-1-consumer ACTIVE: 0:[0]; 1:[0]; STANDBY: 1:[1]; TARGET-ACTIVE: 0:[0]; 1:[0]; TARGET-STANDBY: 1:[1];
$group E 0 MEMBER streams E PROCESS two-StreamThread-1-consumer ACTIVE: 0:[1]; 1:[1]; STANDBY: 1:[0]; TARGET-ACTIVE: 0:[1]; 1:[1]; TARGET-STANDBY: 1:[0];"
  same "$(groups --describe --offsets | plain | sed -E 's/ [0-9]+$/ LAG/')" "GROUP TOPIC PARTITION OFFSET-LAG
$group streams-plaintext-input 0 LAG
$group streams-plaintext-input 1 LAG
$group $repartition 0 LAG
$group $repartition 1 LAG"
  has "$(groups --describe --offsets --verbose | plain)" "GROUP TOPIC PARTITION CURRENT-OFFSET LEADER-EPOCH LOG-END-OFFSET OFFSET-LAG"
  has "$(groups --delete 2>&1)" "Streams group '$group' is not EMPTY"
  has "$(groups --reset-offsets --all-input-topics --to-earliest --execute 2>&1)" "Assignments can only be reset if the group '$group' is inactive, but the current state is Stable."
}

# committed PARTITION: the offset of the input
committed() { groups --reset-offsets --all-input-topics --to-current --dry-run | awk -v p="$1" '$2 == "streams-plaintext-input" && $3 == p {print $4}'; }

# What it does to one that nobody works for.
tool_alone() {
  local out
  is "Empty 0" || await "nobody" is "Empty 0"
  same "$(at streams-groups --list --state Empty | plain)" $'GROUP STATE\n'"$group Empty"
  same "$(groups --describe --members 2>/dev/null | plain)" ""
  ((1000 == $(at get-offsets --topic streams-plaintext-input | awk -F: '{n += $3} END {print n}')))
  same "$(groups --reset-offsets --all-input-topics --to-earliest --dry-run | plain)" "GROUP TOPIC PARTITION NEW-OFFSET
$group streams-plaintext-input 0 0
$group streams-plaintext-input 1 0"
  ((1000 == $(committed 0) + $(committed 1)))
  groups --reset-offsets --input-topic streams-plaintext-input:0 --shift-by -5 --execute
  ((995 == $(committed 0) + $(committed 1)))
  groups --reset-offsets --all-input-topics --to-earliest --execute
  same "$(committed 0) $(committed 1)" "0 0"
  groups --delete-offsets --input-topic streams-plaintext-input:1
  same "$(committed 0) $(committed 1)" "0 "
  has "$(groups --delete --delete-all-internal-topics)" "Deletion of requested streams groups ('$group') was successful."
  same "$(at streams-groups --list)" ""
  lacks "$(at topics --list)" KSTREAM
  has "$(groups --describe --state 2>&1 || true)" "Group $group not found."
}

# What the coordinator wrote can be read by Apache's tool.
dump() {
  local out type
  out=$(java dump-log --offsets-decoder --files "$(find "$node_dir/data" -path '*/__consumer_offsets-*/*.log' -size +0 | sort | paste -sd,)" 2>&1)
  lacks "$out" 'isvalid: false|[Mm]ismatch|[Cc]orrupt|[Ee]xception|ERROR|Could not|out of order'
  # Each kind of record, with a value and removed; Apache counts state 1 for stable, 2 for one that has to give up.
  for type in 17 19 20 21 22 23; do
    has "$(grep -F "\"type\":\"$type\",\"data\":{\"groupId\":\"$group\"" <<<"$out")" 'payload: {"version":"0"'
    has "$(grep -F "\"type\":\"$type\",\"data\":{\"groupId\":\"$group\"" <<<"$out")" 'payload: <DELETE>'
  done
  has "$out" '"key":"num.standby.replicas","value":"1"'
  has "$out" '"state":1,'
  has "$out" '"state":2,'
}

if need_java && need_streams && node_start "${overrides[@]}"; then
  # What goes to /dev/null is the shell's word that its child was killed.
  { check "Kafka Streams' word count by the streams protocol: exactly_once_v2, two instances, a standby, kill -9" streams_by_protocol; } 2>/dev/null
  check "kafka-streams-groups of a group without members" tool_alone
  if [[ -e $work/streams-node.pid ]]; then
    node_pid=
    kill "$(<"$work/streams-node.pid")"
    check "the node stops" await "the node's end" gone "$(<"$work/streams-node.pid")"
    check "kafka-dump-log: records of streams groups" dump
    ! grep -q '^panic:\|^fatal error:' "$node_log" || fail "the node does not panic" "$node_log"
  fi
fi
