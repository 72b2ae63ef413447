# Apache Kafka's kafka-dump-log and kafka-metadata-shell read the directories that our node wrote.
dump() { java dump-log "$@" 2>&1; }
# files_of PATTERN: the node's files that match, each after a --files that takes a list
files_of() { find "$data" -path "$data/$1" | sort | paste -sd,; }

# write_everything gives the disk something of each kind: codecs, rolled segments, a group with a member's commit, deleted
# records, a deleted topic, changed configs, a compacted topic, producers with and without idempotence.
write_everything() {
  BOOTSTRAP_SERVERS=$BOOTSTRAP timeout 120 "$python" -W ignore "$here/clients/disk_content.py"
}
# clean OUTPUT: the dump says of nothing that it is wrong. ("-1 is followed by N" it says of every file that does not begin
# at offset 0; that is no complaint.)
clean() {
  lacks "$1" 'isvalid: false|[Mm]ismatch|^ *[0-9]+ is followed by|Found timestamp|Index offset|[Cc]orrupt|[Ee]xception|ERROR|Could not|trailing|out of order'
}

dump_logs() {
  local out files; files=$(files_of 'disk-*-[01]/*.log')
  out=$(dump --files "$files" --deep-iteration --print-data-log)
  clean "$out"
  same "$(grep -o 'compresscodec: [a-z0-9]*' <<<"$out" | sort -u | awk '{print $2}' | paste -sd' ')" "gzip lz4 none snappy zstd"
  # Every batch is valid, and every record that was sent is in the dump with its value.
  same "$(grep -c '^baseOffset' <<<"$out")" "$(grep -c 'isvalid: true' <<<"$out")"
  same "$(grep -o 'payload: numbered-[0-9]*' <<<"$out" | sort -u | wc -l)" 2000
  has "$out" "headerKeys: [h1,h2]"
}
dump_indexes() {
  local out count; count=$(find "$data" -path "$data/disk-rolled-0/*.index" | wc -l)
  ((count > 3)) || { echo "only $count segments"; return 1; }
  out=$(dump --files "$(files_of '*/*.index'),$(files_of '*/*.timeindex')" --index-sanity-check)
  clean "$out"
  same "$(grep -cE 'passed sanity check|index is empty' <<<"$out")" "$(find "$data" -name '*.index' -o -name '*.timeindex' | wc -l)"
  # The same again, each entry looked up in its log.
  out=$(dump --files "$(files_of 'disk-*-[01]/*.index'),$(files_of 'disk-*-[01]/*.timeindex')" --verify-index-only)
  clean "$out"
}
dump_snapshots() {
  local out; out=$(dump --files "$(files_of 'disk-*-[01]/*.snapshot')")
  clean "$out"
  has "$out" "producerId: "
}
dump_metadata() {
  local out; out=$(dump --cluster-metadata-decoder --files "$(files_of '__cluster_metadata-0/*.log')")
  clean "$out"
  for kind in REGISTER_BROKER_RECORD TOPIC_RECORD PARTITION_RECORD CONFIG_RECORD REMOVE_TOPIC_RECORD FEATURE_LEVEL_RECORD PRODUCER_IDS_RECORD; do
    has "$out" "\"type\":\"$kind\""
  done
  has "$out" "LeaderChange"
  has "$out" '"name":"disk-rolled"'
}
dump_checkpoints() {
  local out files; files=$(files_of '__cluster_metadata-0/*.checkpoint')
  files+=${files:+,}$(files_of 'bootstrap.checkpoint')
  out=$(dump --cluster-metadata-decoder --files "${files%,}")
  clean "$out"
  has "$out" "metadata.version"
}
dump_offsets() {
  local out; out=$(dump --offsets-decoder --files "$(find "$data" -path "$data/__consumer_offsets-*/*.log" -size +0 | sort | paste -sd,)")
  clean "$out"
  has "$out" '"group":"disk-group"'
  has "$out" '"offset":1000'
  has "$out" '"protocolType":"consumer"'
}
metadata_shell() {
  local out log; log=$(find "$data" -path "$data/__cluster_metadata-0/*.log" | sort | tail -1)
  shell() { java metadata-shell --snapshot "$log" "$@"; }
  # On a busy machine the shell may answer before it has read the file, with nothing, also on Apache's own directories.
  answer() {
    await "an answer to $*" said "$@" >&2
    cat "$work/said"
  }
  said() { shell "$@" >"$work/said" 2>&1 && [[ -s $work/said ]] && ! grep -q 'No such file' "$work/said"; }
  out=$(answer ls /image/topics/byName)
  has "$out" disk-rolled
  lacks "$out" disk-deleted
  has "$(answer cat /image/topics/byName/disk-rolled/0)" "PartitionRegistration(replicas=[1], "
  same "$(answer cat /image/configs/TOPIC:disk-rolled/segment.bytes)" 1048576
}
# Klamm's node goes on with what it wrote, after others read it.
starts_again() {
  "${node_command[@]}" --override "listeners=PLAINTEXT://$BOOTSTRAP" --override "log.dirs=$data" >"$work/logs/disk-again.log" 2>&1 &
  local pid=$!
  await "the node answers" answers "$BOOTSTRAP" || { cat "$work/logs/disk-again.log"; return 1; }
  kill $pid; wait $pid || true
}

if [[ ${KLAMM_E2E_BOOTSTRAP:-} ]]; then
  skip "the node's directories" "the broker is somebody else's"
elif need_java && need_python kafka-python python-snappy lz4 zstandard && node_start; then
  data=$node_dir/data
  check "something of each kind is written" write_everything
  node_stop
  check "kafka-dump-log: logs" dump_logs
  check "kafka-dump-log: indexes" dump_indexes
  check "kafka-dump-log: producer snapshots" dump_snapshots
  check "kafka-dump-log: cluster metadata" dump_metadata
  check "kafka-dump-log: checkpoints" dump_checkpoints
  check "kafka-dump-log: committed offsets" dump_offsets
  check "kafka-metadata-shell" metadata_shell
  check "the node starts again on it" starts_again
fi
