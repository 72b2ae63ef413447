# Apache Kafka's own Java clients and tools.
topic() { echo "java-$1-$RANDOM$RANDOM"; }
at() { local tool=$1; shift; java "$tool" --bootstrap-server "$BOOTSTRAP" "$@"; }

java_topics() {
  local t out; t=$(topic topics)
  has "$(at topics --create --topic "$t" --partitions 3 --config retention.ms=604800000 --config max.message.bytes=1048576)" "Created topic $t."
  has "$(at topics --list)" "$t"
  out=$(at topics --describe --topic "$t")
  has "$out" "PartitionCount: 3"$'\t'"ReplicationFactor: 1"$'\t'"Configs:"
  has "$out" "retention.ms=604800000"
  has "$out" "Topic: $t"$'\t'"Partition: 2"$'\t'"Leader: 1"$'\t'"Replicas: 1"$'\t'"Isr: 1"
  at topics --alter --topic "$t" --partitions 12
  has "$(at topics --describe --topic "$t")" "PartitionCount: 12"
  refuses "Topic '$t' already exists." at topics --create --topic "$t"
  refuses "'no blanks' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'" at topics --create --topic 'no blanks'
  refuses "The topic $t currently has 12 partition(s); 1 would not be an increase." at topics --alter --topic "$t" --partitions 1
  refuses "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned." \
    at topics --create --topic "$(topic rf)" --replication-factor 2
  at topics --delete --topic "$t"
  lacks "$(at topics --list)" "^$t\$"
}

java_configs() {
  local t; t=$(topic configs)
  at topics --create --topic "$t"
  has "$(at configs --entity-type topics --entity-name "$t" --alter --add-config retention.ms=86400000)" "Completed updating config for topic $t."
  has "$(at configs --entity-type topics --entity-name "$t" --describe)" \
    "retention.ms=86400000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=86400000}"
  has "$(at configs --entity-type topics --entity-name "$t" --describe --all)" "cleanup.policy=delete sensitive=false synonyms={DEFAULT_CONFIG:log.cleanup.policy=delete}"
  at configs --entity-type topics --entity-name "$t" --alter --delete-config retention.ms
  lacks "$(at configs --entity-type topics --entity-name "$t" --describe)" "retention.ms"
  refuses "Invalid value soon for configuration retention.ms" at configs --entity-type topics --entity-name "$t" --alter --add-config retention.ms=soon
  refuses "Unknown topic config name: no.such" at configs --entity-type topics --entity-name "$t" --alter --add-config no.such=1
  at configs --entity-type brokers --entity-name 1 --alter --add-config log.cleaner.threads=2
  has "$(at configs --entity-type brokers --entity-name 1 --describe)" "log.cleaner.threads=2 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.cleaner.threads=2, DEFAULT_CONFIG:log.cleaner.threads=1}"
  at configs --entity-type brokers --entity-name 1 --alter --delete-config log.cleaner.threads
}

java_console() {
  local t codec i=0; t=$(topic console)
  at topics --create --topic "$t"
  for codec in none gzip snappy lz4 zstd; do
    printf 'a:1,b:2\tk%d\tvalue of %s\n' $((i += 1)) $codec >"$work/line"
    at console-producer --topic "$t" --compression-codec $codec --reader-property parse.key=true --reader-property parse.headers=true <"$work/line"
  done
  same "$(at console-consumer --topic "$t" --from-beginning --max-messages 5 --timeout-ms 30000 --formatter-property print.key=true \
    --formatter-property print.headers=true --formatter-property print.offset=true --formatter-property print.partition=true 2>"$work/stderr")" \
    "$(i=0; for codec in none gzip snappy lz4 zstd; do printf 'Partition:0\tOffset:%d\ta:1,b:2\tk%d\tvalue of %s\n' $i $((i += 1)) $codec; done)"
  has "$(<"$work/stderr")" "Processed a total of 5 messages"
  same "$(at console-consumer --topic "$t" --partition 0 --offset 3 --max-messages 1 --timeout-ms 30000 --isolation-level read_committed 2>/dev/null)" "value of lz4"
}

java_groups() {
  local t g out; t=$(topic groups) g=$(topic g)
  at topics --create --topic "$t" --partitions 2
  seq 10 | at console-producer --topic "$t"
  at console-consumer --topic "$t" --group "$g" --from-beginning --max-messages 10 --timeout-ms 30000
  has "$(at consumer-groups --list)" "$g"
  out=$(at consumer-groups --group "$g" --describe 2>&1)
  has "$out" "Consumer group '$g' has no active members."
  same "$(awk -v t="$t" '$2 == t {current += $4; end += $5; lag += $6} END {print current, end, lag}' <<<"$out")" "10 10 0"
  at consumer-groups --group "$g" --reset-offsets --to-earliest --execute --topic "$t"
  same "$(at consumer-groups --group "$g" --describe 2>/dev/null | awk -v t="$t" '$2 == t {lag += $6} END {print lag}')" 10
  at consumer-groups --group "$g" --reset-offsets --to-datetime 2025-11-19T00:00:00.000 --execute --topic "$t"
  has "$(at consumer-groups --group "$g" --describe --state 2>/dev/null)" Empty
  has "$(at consumer-groups --group "$g" --delete-offsets --topic "$t")" "Request succeeded for deleting offsets from group $g."
  has "$(at consumer-groups --group "$g" --delete)" "Deletion of requested consumer groups ('$g') was successful."
  has "$(at consumer-groups --group "$g" --describe 2>&1 || true)" "Group $g not found."
}

# One live member, so that there is something to describe and to refuse.
java_group_with_members() {
  local t g; t=$(topic members) g=$(topic g)
  at topics --create --topic "$t" --partitions 2
  timeout 60 "$kafka" run console-consumer --bootstrap-server "$BOOTSTRAP" --topic "$t" --group "$g" &
  local consumer=$!
  stable() { at consumer-groups --group "$g" --describe --state 2>/dev/null | grep -q "Stable .* 1"; }
  await "a stable group" stable
  has "$(at consumer-groups --group "$g" --describe --members --verbose)" "$t:0,1"
  has "$(at consumer-groups --group "$g" --reset-offsets --to-earliest --execute --topic "$t")" \
    "Assignments can only be reset if the group '$g' is inactive, but the current state is Stable."
  kill $consumer; wait $consumer || true
}

java_offsets_and_deletion() {
  local t; t=$(topic offsets)
  at topics --create --topic "$t"
  seq 10 | at console-producer --topic "$t"
  same "$(at get-offsets --topic "$t")" "$t:0:10"
  same "$(at get-offsets --topic "$t" --time -2)" "$t:0:0"
  printf '{"version":1,"partitions":[{"topic":"%s","partition":0,"offset":4}]}' "$t" >"$work/offsets.json"
  has "$(at delete-records --offset-json-file "$work/offsets.json")" "partition: $t-0"$'\t'"low_watermark: 4"
  same "$(at get-offsets --topic "$t" --time earliest)" "$t:0:4"
  same "$(at console-consumer --topic "$t" --from-beginning --max-messages 1 --timeout-ms 30000 2>/dev/null)" 5
}

java_verifiable() {
  local t g out; t=$(topic verifiable) g=$(topic g)
  at topics --create --topic "$t" --partitions 3
  out=$(at verifiable-producer --topic "$t" --max-messages 2000 --acks -1)
  same "$(grep -c producer_send_success <<<"$out")" 2000
  has "$out" '"acked":2000'
  out=$(at verifiable-consumer --topic "$t" --group-id "$g" --max-messages 2000 --reset-policy earliest --verbose)
  same "$(grep -o '"name":"record_data"' <<<"$out" | wc -l)" 2000
  same "$(grep '"name":"record_data"' <<<"$out" | grep -o '"value":"[0-9]*"' | sort -u | wc -l)" 2000
  has "$out" '"name":"offsets_committed"'
  has "$out" '"success":true'
}

java_perf() {
  local t; t=$(topic perf)
  at topics --create --topic "$t" --partitions 4
  has "$(at producer-perf-test --topic "$t" --num-records 200000 --record-size 100 --throughput -1 --command-property acks=1 compression.type=lz4)" \
    "200000 records sent"
  same "$(at consumer-perf-test --topic "$t" --num-records 200000 --timeout 30000 --hide-header | awk -F', ' '{print ($5 >= 200000)}')" 1
}

java_cluster() {
  has "$(at broker-api-versions)" "Produce(0): 0 to 13 [usable: 13]"
  has "$(java cluster cluster-id --bootstrap-server "$BOOTSTRAP")" "Cluster ID: "
  has "$(java features --bootstrap-server "$BOOTSTRAP" describe)" "metadata.version"
  has "$(at log-dirs --describe)" '"brokers":[{"broker":1'
  has "$(java metadata-quorum --bootstrap-server "$BOOTSTRAP" describe --status)" "LeaderId:               1"
}

if need_java && node_start; then
  check "kafka-topics" java_topics
  check "kafka-configs" java_configs
  check "console producer and consumer" java_console
  check "kafka-consumer-groups" java_groups
  check "a group with a member" java_group_with_members
  check "kafka-get-offsets, kafka-delete-records" java_offsets_and_deletion
  check "verifiable producer and consumer" java_verifiable
  check "performance tools" java_perf
  check "the cluster's own tools" java_cluster
fi
