# What a start says when it cannot be, and that it says it in one line.
listener() { echo --override "listeners=PLAINTEXT://127.0.0.1:$(free_port)"; }

# stopped_by TEXT ARG...: the start ends with 1 and with one line of complaint, which has the text; warnings may precede it
stopped_by() {
  local text=$1 code=0 said; shift
  timeout 20 "${node_command[@]}" "$@" >"$work/out" 2>"$work/err" || code=$?
  same "$code" 1
  said=$(grep -v 'level=\(INFO\|WARN\)' "$work/err")
  same "$(wc -l <<<"$said")" 1
  has "$said" "$text"
  same "$(<"$work/out")" ""
}
fresh() { mktemp -d "$work/start.XXXXXX"; }
formatted() { # DIR: by a node that starts and ends
  local port; port=$(free_port)
  timeout 20 "${node_command[@]}" --override "log.dirs=$1" --override "listeners=PLAINTEXT://127.0.0.1:$port" >"$work/formatted.log" 2>&1 &
  await "a node on $1" answers "127.0.0.1:$port"
  kill $!; wait $! || true
}

port_in_use() {
  local port=${BOOTSTRAP##*:}
  stopped_by "$port" --override "listeners=PLAINTEXT://127.0.0.1:$port" --override "log.dirs=$(fresh)"
  has "$(<"$work/err")" "address already in use"
}
directory_locked() { stopped_by "$node_dir/data" --override "log.dirs=$node_dir/data" $(listener); }
directory_is_a_file() {
  local f; f=$(fresh)/file
  touch "$f"
  stopped_by "$f" --override "log.dirs=$f" $(listener)
}
directory_unreadable() {
  local d; d=$(fresh)
  formatted "$d"
  chmod 000 "$d"
  # The superuser reads everything: an ordinary user has to try.
  if [[ $(id -u) == 0 ]]; then
    chmod 755 "$work"
    node_command=(setpriv --reuid=65534 --regid=65534 --clear-groups "$work/klamm" start)
    cp "$root/bin/klamm" "$work/klamm"
  fi
  stopped_by "$d" --override "log.dirs=$d" $(listener)
  has "$(<"$work/err")" "permission denied"
}
other_node() {
  local d; d=$(fresh)
  formatted "$d"
  stopped_by "node.id" --override "log.dirs=$d" --override node.id=7 $(listener)
  has "$(<"$work/err")" "$d"
}
other_cluster() {
  local d e; d=$(fresh) e=$(fresh)
  formatted "$d"; formatted "$e"
  stopped_by "cluster.id" --override "log.dirs=$d,$e" $(listener)
  has "$(<"$work/err")" "$e"
}
broken_meta_properties() {
  local d; d=$(fresh)
  echo nonsense >"$d/meta.properties"
  stopped_by "$d" --override "log.dirs=$d" $(listener)
}
bad_value() {
  stopped_by "log.retention.hours" --override log.retention.hours=soon --override "log.dirs=$(fresh)" $(listener)
  has "$(<"$work/err")" "soon"
  stopped_by "compression.type" --override compression.type=zip --override "log.dirs=$(fresh)" $(listener)
  has "$(<"$work/err")" "zstd"
}
no_file() { stopped_by "$work/no-such.properties" "$work/no-such.properties"; }
unknown_key() {
  local port; port=$(free_port)
  timeout 20 "${node_command[@]}" --override no.such.key=1 --override "log.dirs=$(fresh)" --override "listeners=PLAINTEXT://127.0.0.1:$port" >"$work/out" 2>"$work/err" &
  await "the node answers" answers "127.0.0.1:$port"
  kill $!; wait $! || true
  same "$(grep -c 'no\.such\.key' "$work/err")" 1
  has "$(grep 'no\.such\.key' "$work/err")" "level=WARN"
}
properties_file() {
  local port d; port=$(free_port) d=$(fresh)
  printf '%s\n' "# a comment" "listeners=PLAINTEXT://127.0.0.1:$port" "log.dirs = $d/data" "num.partitions=6" "num.network.threads=8" \
    "num.io.threads=16" "socket.send.buffer.bytes=102400" "log.retention.check.interval.ms=300000" >"$d/server.properties"
  timeout 20 "${node_command[@]}" "$d/server.properties" >"$work/out" 2>"$work/err" &
  await "the node answers" answers "127.0.0.1:$port"
  kill $!; wait $! || true
  lacks "$(<"$work/err")" "level=WARN.*(num\.|socket|retention)"
  [[ -e $d/data/meta.properties ]]
}

if [[ ${KLAMM_E2E_BOOTSTRAP:-} || ${KLAMM_E2E_NODE:-klamm} != klamm ]]; then
  skip "what a start says" "it is Klamm's own"
elif node_start; then
  check "port in use" port_in_use
  check "directory locked by a running node" directory_locked
  check "directory is a file" directory_is_a_file
  check "directory that may not be read" directory_unreadable
  check "directory of another node" other_node
  check "directory of another cluster" other_cluster
  check "meta.properties is broken" broken_meta_properties
  check "bad value" bad_value
  check "no such file" no_file
  check "unknown key is a warning" unknown_key
  check "a properties file" properties_file
fi
