# The Python of the developer's guide, in its order, on a fresh node; then its commands, with our own tools.
if need_python kafka-python python-snappy lz4 zstandard && node_start; then
  for script in "$root"/test/python/[0-9]*.py; do
    [[ $script != *faust.py ]] || need_python faust-streaming || continue
    BOOTSTRAP_SERVERS=$BOOTSTRAP check "$(basename "$script" .py)" timeout 120 "$python" -W ignore "$script"
  done
fi

# Its commands as it has them, on a node that was formatted and started by them: relative names in a release tree, bare
# names on PATH. Only the port and the directories are others. The factors 2 and 3 of its examples need more brokers.
guide_start() {
  local port=$1 dir=$2 controller KAFKA_CLUSTER_ID
  controller=$(free_port)
  sed -e "s/:9092/:$port/g; s/:9093/:$controller/g; s|^log.dirs=.*|log.dirs=$dir/data|" config/kraft/server.properties >"$dir/server.properties"
  KAFKA_CLUSTER_ID="$(bin/kafka-storage.sh random-uuid)"
  has "$(bin/kafka-storage.sh format -t "$KAFKA_CLUSTER_ID" -c "$dir/server.properties")" "with metadata.version 4.3-IV0."
  has "$(bin/kafka-storage.sh info -c "$dir/server.properties")" "cluster.id=$KAFKA_CLUSTER_ID"
  refuses "is already formatted" bin/kafka-storage.sh format -t "$KAFKA_CLUSTER_ID" -c "$dir/server.properties"
}
guide_topics() {
  has "$(kafka-topics --bootstrap-server "$server" --create --topic orders --partitions 6 --replication-factor 1 \
    --config retention.ms=604800000 --config max.message.bytes=1048576)" "Created topic orders."
  has "$(kafka-topics --bootstrap-server "$server" --list)" orders
  has "$(kafka-topics --bootstrap-server "$server" --describe --topic orders)" "PartitionCount: 6"
  kafka-topics --bootstrap-server "$server" --alter --topic orders --partitions 12
  has "$(kafka-topics --bootstrap-server "$server" --describe --topic orders)" "PartitionCount: 12"
  refuses "would not be an increase" kafka-topics --bootstrap-server "$server" --alter --topic orders --partitions 3
  kafka-topics --bootstrap-server "$server" --delete --topic orders
  same "$(kafka-topics --bootstrap-server "$server" --list)" ""
}
guide_console() {
  kafka-topics --bootstrap-server "$server" --create --topic orders
  seq 3 | kafka-console-producer --bootstrap-server "$server" --topic orders
  same "$(kafka-console-consumer --bootstrap-server "$server" --topic orders --group order-processors --from-beginning --max-messages 3 2>/dev/null)" $'1\n2\n3'
  has "$(kafka-topics --bootstrap-server "$server" --list)" "__consumer_offsets"
}
guide_configs() {
  has "$(kafka-configs --bootstrap-server "$server" --entity-type topics --entity-name orders --alter --add-config retention.ms=86400000)" \
    "Completed updating config for topic orders."
  has "$(kafka-configs --bootstrap-server "$server" --entity-type topics --entity-name orders --describe)" "retention.ms=86400000"
}
guide_groups() {
  has "$(kafka-consumer-groups --bootstrap-server "$server" --list)" order-processors
  has "$(kafka-consumer-groups --bootstrap-server "$server" --group order-processors --describe 2>&1)" orders
  kafka-consumer-groups --bootstrap-server "$server" --group order-processors --reset-offsets --to-earliest --execute --topic orders
  kafka-consumer-groups --bootstrap-server "$server" --group order-processors --reset-offsets --to-datetime 2025-11-19T00:00:00.000 --execute --topic orders
  same "$(kafka-consumer-groups --bootstrap-server "$server" --group order-processors --describe 2>/dev/null | awk '$2 == "orders" {print $6}')" 3
}
guide_election() {
  kafka-leader-election --bootstrap-server "$server" --election-type preferred --all-topic-partitions
}
# with_tool TOOL NAME FUNCTION: checks, where this build has the tool
with_tool() { if [[ -e $root/bin/$1 ]]; then check "$2" "$3"; else skip "$2" "there is no bin/$1 yet"; fi; }

if [[ ${KLAMM_E2E_BOOTSTRAP:-} || ${KLAMM_E2E_NODE:-klamm} != klamm ]]; then
  skip "the guide's commands" "they are Klamm's own"
else
  node_stop
  cd "$root" && export PATH=$root/bin:$PATH
  guide_dir=$(mktemp -d "$work/guide.XXXXXX") server=localhost:$(free_port)
  check "kafka-storage" guide_start "${server#*:}" "$guide_dir"
  node_log=$work/logs/guide-node.log
  bin/kafka-server-start.sh "$guide_dir/server.properties" >>"$node_log" 2>&1 </dev/null &
  node_pid=$! BOOTSTRAP=$server
  check "kafka-server-start" await "the node answers" answers "$server"
  check "kafka-topics" guide_topics
  check "console producer and consumer" guide_console
  with_tool kafka-configs "kafka-configs" guide_configs
  with_tool kafka-consumer-groups "kafka-consumer-groups" guide_groups
  with_tool kafka-leader-election "kafka-leader-election" guide_election
fi
