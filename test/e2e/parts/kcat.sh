# kcat: librdkafka's command line.
loud() { timeout 60 "$kcat" -b "$BOOTSTRAP" "$@"; }
kc() { loud -q "$@"; }
topic() { echo "kcat-$1-$RANDOM$RANDOM"; }

kcat_codecs() {
  local t codec want='' i=0
  t=$(topic codecs)
  for codec in none gzip snappy lz4 zstd; do
    printf 'k%d:%s\n' $i "$codec one" $((i + 1)) "$codec two" | kc -P -t "$t" -p 0 -K: -z "$codec" -H h1=v1 -H h2
    want+="0 $i k$i h1=v1,h2=NULL $codec one"$'\n'"0 $((i + 1)) k$((i + 1)) h1=v1,h2=NULL $codec two"$'\n'
    i=$((i + 2))
  done
  same "$(kc -C -t "$t" -e -o beginning -f '%p %o %k %h %s\n')" "${want%$'\n'}"
}
kcat_nulls() {
  local t; t=$(topic nulls)
  printf ':value\nkey:\n' | kc -P -t "$t" -p 0 -K: -Z
  same "$(kc -C -t "$t" -e -o beginning -Z -K: -f '%K %k %S %s\n')" $'-1 NULL 5 value\n3 key -1 NULL'
}
kcat_offsets() {
  local t; t=$(topic offsets)
  seq 0 9 | kc -P -t "$t" -p 0
  same "$(kc -C -t "$t" -p 0 -o -3 -e)" $'7\n8\n9'
  same "$(kc -C -t "$t" -p 0 -o 4 -c 2)" $'4\n5'
  same "$(kc -Q -t "$t:0:-2")" "$t [0] offset 0"
  same "$(kc -Q -t "$t:0:-1")" "$t [0] offset 10"
}
kcat_metadata() {
  local t out; t=$(topic metadata)
  echo x | kc -P -t "$t" -p 0
  out=$(kc -L -t "$t")
  has "$out" "topic \"$t\" with 1 partitions:"
  has "$out" "partition 0, leader 1, replicas: 1, isrs: 1"
  has "$out" "at $BOOTSTRAP (controller)"
}
kcat_group() {
  local t g; t=$(topic group) g=$(topic g)
  seq 0 99 | kc -P -t "$t" -p 0
  same "$(kc -G "$g" -c 40 -X auto.offset.reset=earliest -X heartbeat.interval.ms=500 "$t")" "$(seq 0 39)"
  same "$(kc -G "$g" -e -X auto.offset.reset=earliest "$t")" "$(seq 40 99)"
}
kcat_errors() {
  local t; t=$(topic errors)
  refuses 'Unknown topic or partition' loud -C -t "$t" -p 7 -e -o beginning -X allow.auto.create.topics=false -X topic.metadata.propagation.max.ms=100
  head -c 1500000 /dev/zero | tr '\0' a >"$work/big"
  refuses 'Message size too large' loud -P -t "$t" -p 0 -X message.max.bytes=4000000 "$work/big"
}

if need_kcat && node_start; then
  check "every codec, keys, headers" kcat_codecs
  check "null keys and values" kcat_nulls
  check "offsets and times" kcat_offsets
  check "metadata" kcat_metadata
  check "a group goes on where it was" kcat_group
  check "errors" kcat_errors
fi
