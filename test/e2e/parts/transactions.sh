# Transactions: Apache Kafka's tools and Kafka Streams, timeouts, hanging transactions, exactly once over kill -9.
topic() { echo "transactions-$1-$RANDOM$RANDOM"; }
at() { local tool=$1; shift; java "$tool" --bootstrap-server "$BOOTSTRAP" "$@"; }
# visible TOPIC [read_uncommitted]: the values that a consumer may see now
visible() { BOOTSTRAP_SERVERS=$BOOTSTRAP timeout 90 "$python" -W ignore "$here/clients/visible.py" "$@"; }
open_transaction() { BOOTSTRAP_SERVERS=$BOOTSTRAP timeout 60 "$python" -W ignore "$here/clients/open_transaction.py" "$@"; }
# cell TABLE HEADER: the column of the table that a tool printed, of its last row
cell() { awk -F'\t' -v h="$2" 'NR == 1 {for (i = 1; i <= NF; i++) {name = $i; gsub(/ /, "", name); if (name == h) c = i}} {v = $c; gsub(/ /, "", v)} END {print v}' <<<"$1"; }
# open_since TOPIC: where the open transactions in its partition begin
open_since() { at transactions describe-producers --topic "$1" --partition 0 | awk -F'\t' 'NR > 1 && $6 + 0 == $6 {print $6 + 0}'; }
described() { cell "$(at transactions describe --transactional-id "$1")" "$2"; }

# Each transaction has some hundred records; in front of and behind them stands what was never committed.
transactions_perf() {
  local t ends; t=$(topic perf)
  at topics --create --topic "$t" --partitions 3
  open_transaction "$t" "$t-aborted" 60000 never1 never2
  at transactions forceTerminateTransaction --transactionalId "$t-aborted"
  has "$(at producer-perf-test --topic "$t" --num-records 20000 --record-size 100 --throughput 10000 --transactional-id "$t" --transaction-duration-ms 30)" "20000 records sent"
  open_transaction "$t" "$t-open" 600000 never3
  at console-consumer --topic "$t" --from-beginning --timeout-ms 8000 --isolation-level read_committed >"$work/committed"
  same "$(wc -l <"$work/committed")" 20000
  lacks "$(<"$work/committed")" never
  same "$(visible "$t" read_uncommitted | wc -l)" 20003
  # Beside the records the partitions have the transactions' markers, several in each.
  ends=$(at get-offsets --topic "$t" | awk -F: '{n += $3} END {print n}')
  ((ends > 20003 + 30)) || { echo "$ends offsets for 20003 records: too few transactions"; return 1; }
  same "$(described "$t" TransactionState)" CompleteCommit
  at transactions forceTerminateTransaction --transactionalId "$t-open"
}

# A producer died in a transaction of ten minutes: who reads committed records waits behind it, until it is aborted by hand.
transactions_of_the_dead() {
  local t id out start; t=$(topic dead) id=$t-id
  at topics --create --topic "$t"
  echo before | at console-producer --topic "$t"
  open_transaction "$t" "$id" 600000 dead1 dead2
  echo after | at console-producer --topic "$t"
  same "$(visible "$t")" before
  same "$(visible "$t" read_uncommitted)" $'before\ndead1\ndead2\nafter'
  out=$(at transactions list)
  same "$(awk -v id="$id" '$1 == id {print $4}' <<<"$out")" Ongoing
  lacks "$(at transactions list --duration-filter 600000)" "$id"
  has "$(at transactions list --duration-filter 1)" "$id"
  has "$(at transactions list --transactional-id-pattern "$t-.*")" "$id"
  lacks "$(at transactions list --transactional-id-pattern "other-.*")" "$id"
  out=$(at transactions describe --transactional-id "$id")
  same "$(cell "$out" TransactionState) $(cell "$out" TransactionTimeoutMs) $(cell "$out" TopicPartitions)" "Ongoing 600000 $t-0"
  # It is open, but not hanging: its coordinator knows it.
  lacks "$(at transactions find-hanging --topic "$t" --partition 0 --max-transaction-timeout 0)" "$t"
  start=$(open_since "$t")
  same "$start" 1
  refuses "Could not find any open transactions starting at offset 0" at transactions abort --topic "$t" --partition 0 --start-offset 0
  at transactions abort --topic "$t" --partition 0 --start-offset "$start"
  same "$(open_since "$t")" ""
  same "$(visible "$t")" $'before\nafter'
  same "$(described "$id" TransactionState)" Ongoing
  at transactions forceTerminateTransaction --transactionalId "$id"
  same "$(described "$id" TransactionState)" Empty
  same "$(visible "$t")" $'before\nafter'
  refuses "transactional-id \`$t-unknown\`" at transactions describe --transactional-id "$t-unknown"
}

# A transaction that its coordinator does not know can come from a client only where nobody verifies.
transactions_hanging() {
  local t out start; t=$(topic hanging)
  at topics --create --topic "$t"
  UNKNOWN=1 refuses InvalidTxnStateError open_transaction "$t" "$t-refused" 600000 refused
  at configs --entity-type brokers --entity-default --alter --add-config transaction.partition.verification.enable=false
  UNKNOWN=1 open_transaction "$t" "$t-id" 600000 hanging
  at configs --entity-type brokers --entity-default --alter --delete-config transaction.partition.verification.enable
  echo after | at console-producer --topic "$t"
  same "$(visible "$t")" ""
  out=$(at transactions find-hanging --broker-id 1)
  same "$(cell "$out" Topic) $(cell "$out" StartOffset) $(cell "$out" 'Duration(min)')" "$t 0 60"
  at transactions abort --topic "$t" --partition 0 --start-offset "$(cell "$out" StartOffset)"
  lacks "$(at transactions find-hanging --broker-id 1)" "$t"
  same "$(visible "$t")" after
}

transactions_dump() {
  local out; out=$(java dump-log --transaction-log-decoder --files "$(find "$node_dir/data" -path '*/__transaction_state-*/*.log' -size +0 | sort | paste -sd,)" 2>&1)
  lacks "$out" 'isvalid: false|[Mm]ismatch|^ *[0-9]+ is followed by|[Cc]orrupt|[Ee]xception|ERROR|Could not|trailing|out of order'
  same "$(grep -c '^baseOffset' <<<"$out")" "$(grep -c 'isvalid: true' <<<"$out")"
  local state
  for state in 0 1 2 3 4 5; do has "$out" "\"transactionStatus\":$state,"; done # each state that there is
  has "$out" '"clientTransactionVersion":2'
}

# Kafka Streams' own word count. It is killed on its way and started again; without a cache each word's count is written at
# each step, so that exactly once means: 1, 2, 3, ... for each word, no step left out, none twice.
streams_application() {
  KAFKA_HEAP_OPTS=-Xmx256M "$kafka" java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$streams" \
    org.apache.kafka.streams.examples.wordcount.WordCountDemo "$work/streams.properties" &
  application=$!
}
streams_counts() {
  at console-consumer --topic streams-wordcount-output --partition 0 --offset earliest --timeout-ms 3000 --isolation-level read_committed --formatter-property print.key=true \
    --formatter-property value.deserializer=org.apache.kafka.common.serialization.LongDeserializer 2>/dev/null
}
streams_words() { # HOW_OFTEN: so many lines with three words
  seq "$1" | sed 's/.*/Klamm counts klamm/' | at console-producer --topic streams-plaintext-input
}
streams_word_count() {
  local out
  at topics --create --topic streams-plaintext-input --partitions 2
  at topics --create --topic streams-wordcount-output --partitions 1
  printf '%s\n' "bootstrap.servers=$BOOTSTRAP" processing.guarantee=exactly_once_v2 "state.dir=$work/streams" commit.interval.ms=100 \
    session.timeout.ms=6000 >"$work/streams.properties"
  trap 'kill -9 ${application:-} 2>/dev/null || true' EXIT
  streams_words 500
  streams_application
  counted() { [[ $(at get-offsets --topic streams-wordcount-output | cut -d: -f3) -gt $1 ]]; }
  await "the first counts" counted 100
  kill -9 "$application"
  wait "$application" || true
  streams_words 500
  streams_application
  complete() { [[ $(streams_counts | wc -l) -ge 3000 ]]; }
  await "all the counts" complete
  kill "$application"
  wait "$application" || true
  out=$(streams_counts)
  same "$(grep '^counts' <<<"$out" | cut -f2)" "$(seq 1000)"
  same "$(grep '^klamm' <<<"$out" | cut -f2)" "$(seq 2000)"
  same "$(wc -l <<<"$out")" 3000
}

if need_java && need_python kafka-python python-snappy lz4 zstandard confluent-kafka &&
  node_start transaction.abort.timed.out.transaction.cleanup.interval.ms=500 group.initial.rebalance.delay.ms=0; then
  BOOTSTRAP_SERVERS=$BOOTSTRAP results timeouts timeout 300 "$python" -W ignore "$here/clients/transaction_timeouts.py"
  check "producer-perf-test with transactions" transactions_perf
  check "a producer that died: list, describe, describe-producers, abort" transactions_of_the_dead
  check "a transaction that no coordinator knows: find-hanging, abort" transactions_hanging
  if need_streams; then check "Kafka Streams' word count, exactly_once_v2, killed on its way" streams_word_count; fi
  if [[ ${KLAMM_E2E_BOOTSTRAP:-} ]]; then
    skip "kafka-dump-log: transaction log" "the broker is somebody else's"
  else
    node_stop
    check "kafka-dump-log: transaction log" transactions_dump
  fi
fi
if [[ ${KLAMM_E2E_BOOTSTRAP:-} ]]; then
  skip "exactly once" "the broker is somebody else's"
  skip "histories" "the broker is somebody else's"
elif need_go; then
  KLAMM_E2E_NODE_COMMAND="${node_command[*]}" results exactly-once go_tests -run '^TestExactlyOnce'
  sed -nE 's/^.*go:[0-9]+: ([0-9]+ records, .*)/         \1/p' "$work/logs/$part-exactly-once.log"
  KLAMM_E2E_NODE_COMMAND="${node_command[*]}" results histories go_tests -run '^TestHist'
  sed -nE 's/^.*go:[0-9]+: ([0-9]+ ops .*)/         \1/p' "$work/logs/$part-histories.log"
fi
