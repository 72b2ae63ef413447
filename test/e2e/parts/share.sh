# Share groups: Apache Kafka's share consumers, franz-go's, kill -9 of the node.
topic() { echo "share-$1-$RANDOM$RANDOM"; }
at() { local tool=$1; shift; java "$tool" --bootstrap-server "$BOOTSTRAP" "$@"; }
share_topic() { # PARTITIONS: makes $t, and $g that begins at its start
  t=$(topic t) g=$(topic g)
  at topics --create --topic "$t" --partitions "$1"
  at configs --entity-type groups --entity-name "$g" --alter --add-config share.auto.offset.reset=earliest
}
# taken ARG...: what the console consumer gets until nothing more comes, or as many as it may
taken() { at console-share-consumer --topic "$t" --group "$g" --timeout-ms "${patience:-30000}" "$@" 2>"$work/stderr" || true; }

# Accepted and rejected records do not come again, released ones do.
share_console() {
  local t g
  share_topic 3
  seq 1000 | at console-producer --topic "$t"
  same "$(taken --max-messages 1000 | sort -n)" "$(seq 1000)"
  has "$(<"$work/stderr")" "Processed a total of 1000 messages"
  seq 2001 2010 | at console-producer --topic "$t"
  same "$(taken --max-messages 10 --release | sort -n)" "$(seq 2001 2010)"
  same "$(taken --max-messages 10 --reject | sort -n)" "$(seq 2001 2010)"
  same "$(patience=6000 taken)" ""
  # Nothing is left to be delivered: the lag is 0, or unknown where a partition has no records.
  lacks "$(at share-groups --describe --group "$g" --offsets | awk -v t="$t" '$2 == t {print $5}')" '[1-9]'
}

# Two consumers of one partition have everything between them, once.
share_two() {
  local t g
  share_topic 1
  (taken --max-messages 1500 >"$work/one") & (patience=15000 taken >"$work/two") &
  sleep 4
  seq 3000 | at console-producer --topic "$t"
  wait
  same "$(sort -n "$work/one" "$work/two")" "$(seq 3000)"
}

share_verifiable() {
  local t g out
  t=$(topic v) g=$(topic g)
  at topics --create --topic "$t" --partitions 2
  at producer-perf-test --topic "$t" --num-records 500 --record-size 100 --throughput -1
  for mode in auto sync async; do
    out=$(at verifiable-share-consumer --topic "$t" --group-id "$g-$mode" --max-messages 500 --acknowledgement-mode $mode --offset-reset-strategy earliest)
    same "$(grep '"offsets_acknowledged"' <<<"$out" | grep -c '"success":false' || true)" 0
    same "$(grep '"offsets_acknowledged"' <<<"$out" | sed -E 's/.*"name":"offsets_acknowledged","count":([0-9]+).*/\1/' | awk '{n += $1} END {print n}')" 500
    has "$out" shutdown_complete
  done
}

share_perf() {
  local t g out
  share_topic 3
  at producer-perf-test --topic "$t" --num-records 200000 --record-size 200 --throughput -1
  out=$(at share-consumer-perf-test --topic "$t" --group "$g" --num-records 200000 --timeout 30000 --threads 2)
  echo "$out"
  # The last line is figures, the sixth of them the number of records: as many as asked for, and what came with them.
  (($(awk -F', *' 'END {printf "%d", $6}' <<<"$out") >= 200000))
}

if need_java && node_start; then
  for scenario in console two verifiable perf; do check "$scenario" share_$scenario; done
  if need_go; then
    KLAMM_E2E_BOOTSTRAP=$BOOTSTRAP results franz-go go_tests -run '^TestShare(Client|DeliveryLimit)$'
    if [[ ! ${KLAMM_E2E_BOOTSTRAP:-} ]]; then
      node_stop
      KLAMM_E2E_NODE_COMMAND="${node_command[*]}" KLAMM_E2E_KAFKA=$kafka results kills go_tests -run '^TestShareKills'
    fi
  fi
fi
