# Share groups (KIP-932): Apache Kafka's share consumers, kafka-share-groups in all it does, and its reader of what was written.
topic() { echo "share-$1-$RANDOM$RANDOM"; }
at() { local tool=$1; shift; java "$tool" --bootstrap-server "$BOOTSTRAP" "$@"; }
sg() { at share-groups "$@"; }
earliest() { at configs --alter --entity-type groups --entity-name "$1" --add-config share.auto.offset.reset=earliest; }
# plain TEXT: without blank lines and blanks at the ends of lines; several blanks are one
plain() { sed -E 's/[[:space:]]+/ /g; s/ $//; /^$/d' <<<"$1"; }

# Two share consumers take the records of one partition between them: each record once, since both acknowledge.
share_consumers() {
  local t g; t=$(topic consumers) g=$t-group
  at topics --create --topic "$t"
  earliest "$g"
  seq 500 | at console-producer --topic "$t"
  timeout 80 "$kafka" run console-share-consumer --bootstrap-server "$BOOTSTRAP" --topic "$t" --group "$g" --timeout-ms 20000 >"$work/one" 2>/dev/null &
  local one=$!
  timeout 80 "$kafka" run console-share-consumer --bootstrap-server "$BOOTSTRAP" --topic "$t" --group "$g" --timeout-ms 20000 >"$work/two" 2>/dev/null &
  local two=$!
  both() { sg --describe --group "$g" --state 2>/dev/null | grep -q "Stable .* 2"; }
  await "two members" both
  seq 501 2000 | at console-producer --topic "$t"
  wait $one || true
  wait $two || true
  same "$(sort -n "$work/one" "$work/two")" "$(seq 2000)"
  same "$(plain "$(sg --describe --group "$g")" | awk 'NR == 2 {print $5}')" 0
}

share_groups_tool() {
  local t g out; t=$(topic tool) g=$t-group
  at topics --create --topic "$t"
  has "$(sg --describe --group "$g" 2>&1)" "Group $g not found."
  has "$(sg --delete --group "$g" 2>&1)" "Group '$g' could not be deleted due to: java.lang.IllegalArgumentException: Group '$g' is not a share group."
  seq 20 | at console-producer --topic "$t"
  # Setting its offsets makes the group.
  same "$(plain "$(sg --reset-offsets --group "$g" --topic "$t" --to-earliest --execute)")" $'GROUP TOPIC PARTITION NEW-OFFSET\n'"$g $t 0 0"
  same "$(plain "$(sg --describe --group "$g")")" $'GROUP TOPIC PARTITION START-OFFSET LAG\n'"$g $t 0 0 20"
  same "$(at console-share-consumer --topic "$t" --group "$g" --max-messages 20 --timeout-ms 30000 2>/dev/null | sort -n)" "$(seq 20)"
  out=$(plain "$(sg --describe --group "$g" --verbose)")
  has "$out" "GROUP TOPIC PARTITION LEADER-EPOCH START-OFFSET LAG"
  same "$(awk 'NR == 2 {print $4, $6}' <<<"$out")" "0 0"
  has "$(sg --describe --group "$g" --members 2>&1)" "Share group '$g' has no active members."
  has "$(plain "$(sg --describe --group "$g" --state)")" "$g $BOOTSTRAP (1) Empty 0"
  has "$(sg --list)" "$g"
  has "$(plain "$(sg --list --state)")" "$g Empty"
  lacks "$(sg --list --state Stable)" "$g"
  has "$(plain "$(at groups --list --share)")" "$g Share share"
  same "$(plain "$(sg --reset-offsets --group "$g" --topic "$t" --to-latest --dry-run)")" $'GROUP TOPIC PARTITION NEW-OFFSET\n'"$g $t 0 20"
  same "$(plain "$(sg --reset-offsets --group "$g" --all-topics --to-datetime 2020-01-01T00:00:00.000 --execute)")" $'GROUP TOPIC PARTITION NEW-OFFSET\n'"$g $t 0 0"
  same "$(plain "$(sg --describe --group "$g")" | tail -1)" "$g $t 0 0 20"
  has "$(sg --reset-offsets --group "$g" --topic "$t-none" --to-latest --execute 2>&1)" "This server does not host this topic-partition."
  same "$(at console-share-consumer --topic "$t" --group "$g" --max-messages 20 --timeout-ms 30000 2>/dev/null | sort -n)" "$(seq 20)"
  has "$(plain "$(sg --delete-offsets --group "$g" --topic "$t-none")")" "$t-none Error: This server does not host this topic-partition."
  has "$(plain "$(sg --delete-offsets --group "$g" --topic "$t")")" "$t Successful"
  has "$(plain "$(sg --delete-offsets --group "$g" --topic "$t")")" "$t Error: There is no offset information to delete."
  has "$(sg --describe --group "$g" 2>&1)" "Share group '$g' has no offset information."
  has "$(sg --delete --group "$g")" "Deletion of requested share groups ('$g') was successful."
  lacks "$(sg --list)" "$g"
}

# With a member there is something to describe and to refuse.
share_group_with_a_member() {
  local t g out; t=$(topic member) g=$t-group
  at topics --create --topic "$t" --partitions 2
  timeout 80 "$kafka" run console-share-consumer --bootstrap-server "$BOOTSTRAP" --topic "$t" --group "$g" &
  local consumer=$!
  assigned() { sg --describe --group "$g" --members 2>/dev/null | grep -q "$t:0,1"; }
  await "a member with both partitions" assigned
  out=$(plain "$(sg --describe --group "$g" --members --verbose)")
  has "$out" "GROUP CONSUMER-ID HOST CLIENT-ID #PARTITIONS MEMBER-EPOCH ASSIGNMENT"
  has "$out" "/127.0.0.1 console-share-consumer 2 3 $t:0,1"
  same "$(plain "$(sg --describe --group "$g" --state --verbose)")" \
    $'GROUP COORDINATOR (ID) STATE GROUP-EPOCH ASSIGNMENT-EPOCH #MEMBERS\n'"$g $BOOTSTRAP (1) Stable 3 3 1"
  has "$(sg --reset-offsets --group "$g" --topic "$t" --to-earliest --execute 2>&1 || true)" "Share group '$g' is not empty."
  has "$(sg --delete-offsets --group "$g" --topic "$t" 2>&1 || true)" "Error: The group is not empty."
  has "$(sg --delete --group "$g" 2>&1 || true)" "Group '$g' could not be deleted due to: org.apache.kafka.common.errors.GroupNotEmptyException: Share group '$g' is not EMPTY."
  kill $consumer; wait $consumer || true
}

# What the coordinators write is what Apache Kafka reads: by its own decoders, from the files of a node that has stopped.
share_written() {
  local t g dir out; t=$(topic written) g=$t-group
  at topics --create --topic "$t"
  earliest "$g"
  seq 10 | at console-producer --topic "$t"
  same "$(at console-share-consumer --topic "$t" --group "$g" --max-messages 10 --timeout-ms 30000 2>/dev/null | wc -l)" 10
  kill "$node_pid"
  await "the node stops" gone "$node_pid"
  out=$(for dir in "$node_dir"/data/__share_group_state-*; do
    [[ ! -s $dir/00000000000000000000.log ]] || java dump-log --files "$dir/00000000000000000000.log" --share-group-state-decoder; done | grep -vE '^(Dumping|Log)')
  has "$out" "key: {\"type\":\"0\",\"data\":{\"groupId\":\"$g\""
  has "$out" "key: {\"type\":\"1\",\"data\":{\"groupId\":\"$g\""
  has "$out" '"stateBatches":[{"firstOffset":0,"lastOffset":9,"deliveryState":2,"deliveryCount":1}]'
  lacks "$out" 'isvalid: false|rror|xception'
  out=$(for dir in "$node_dir"/data/__consumer_offsets-*; do
    [[ ! -s $dir/00000000000000000000.log ]] || java dump-log --files "$dir/00000000000000000000.log" --offsets-decoder; done | grep -F "$g")
  for kind in 10 11 12 13 14 15; do has "$out" "key: {\"type\":\"$kind\",\"data\":{\"groupId\":\"$g\""; done
  has "$out" '"subscribedTopicNames":["'"$t"'"]'
  has "$out" "\"initializedTopics\":[{\"topicId\":"
  lacks "$out" 'rror|xception'
}

if need_java && node_start; then
  check "kafka-share-groups" share_groups_tool
  check "two share consumers" share_consumers
  check "a group with a member" share_group_with_a_member
  if [[ ! ${KLAMM_E2E_BOOTSTRAP:-} ]]; then
    check "what the coordinators write" share_written
    node_pid=
  fi
fi
