# What the parts share: checks that are counted, nodes that are started and stopped, clients that are brought.
# shellcheck shell=bash disable=SC2034,SC2154 # variables of run and of the parts

passed=0 failed=0 skipped=0 ended=
node_pid='' node_dir='' node_log='' BOOTSTRAP=''

# --- checks

pass() { passed=$((passed + 1)); printf '   ok    %s%s\n' "$part: $1" "${2:+ ($2 s)}"; }
skip() { skipped=$((skipped + 1)); printf '   SKIP  %s (%s)\n' "$part: $1" "$2"; }
fail() { # NAME [LOG]
  failed=$((failed + 1))
  printf '   FAIL  %s\n' "$part: $1"
  [[ -z ${2:-} ]] || tail -25 "$2" | sed 's/^/         | /'
}

# check NAME COMMAND...: passes when the command (a program or a function) does; its output is the log. A function runs in
# a shell of its own that ends at the first command that fails. Whatever may hang in there runs under `timeout`.
check() {
  local name=$1 log=$work/logs/$part-${1//[^A-Za-z0-9._-]/_}.log begin=$SECONDS; shift
  # Not `if (...)`: there, set -e would mean nothing.
  (set -e -o pipefail; "$@") >"$log" 2>&1 </dev/null
  if (($? == 0)); then pass "$name" $((SECONDS - begin)); return; fi
  fail "$name" "$log"
  [[ ! -s $node_log ]] || { echo "         | the node's last lines:"; tail -5 "$node_log" | sed 's/^/         | /'; }
}

# results NAME COMMAND...: the command (which ends by itself in time) prints lines "PASS name", "FAIL name: why", "SKIP name: why", which are counted
results() {
  local name=$1 log=$work/logs/$part-$1.log word rest before=$failed; shift
  "$@" >"$log" 2>&1 </dev/null
  local code=$?
  while read -r word rest; do
    case $word in
      PASS) pass "$rest" ;;
      FAIL) fail "$rest" ;;
      SKIP) skip "${rest%%: *}" "${rest#*: }" ;;
    esac
  done < <(grep -E '^(PASS|FAIL|SKIP) ' "$log")
  if ((failed > before)); then
    echo "         | the whole output: $log"
    grep -vE '^(PASS|SKIP) ' "$log" | tail -40 | sed 's/^/         | /'
  elif ((code)); then
    fail "$name ended with $code" "$log"
  elif ! grep -q '^PASS ' "$log"; then
    fail "$name showed nothing" "$log"
  fi
}

# For the functions that are checked: what must hold.
same() { [[ $1 == "$2" ]] || { printf 'got:\n%s\nwant:\n%s\n' "$1" "$2"; return 1; }; }
has() { grep -qF -- "$2" <<<"$1" || { printf 'got:\n%s\nwhich has not:\n%s\n' "$1" "$2"; return 1; }; }
lacks() { ! grep -qE -- "$2" <<<"$1" || { printf 'got:\n%s\nwhich has:\n%s\n' "$1" "$2"; return 1; }; }
refuses() { # TEXT COMMAND...: the command fails and says so
  local text=$1 out; shift
  if out=$("$@" 2>&1); then printf 'it should have failed: %s\n%s\n' "$*" "$out"; return 1; fi
  has "$out" "$text"
}
# await WHAT COMMAND...: until the command succeeds, at most 60 s
await() {
  local what=$1 end=$((SECONDS + 60)); shift
  until "$@"; do
    ((SECONDS < end)) || { echo "waited 60 s in vain for: $what"; return 1; }
    sleep 0.05
  done
}

summary() {
  ended=yes
  echo "$passed passed, $failed failed, $skipped skipped"
  ((failed == 0))
}
finish() {
  local code=$?
  node_stop
  [[ $ended ]] || code=$((code ? code : 1))
  if ((failed || code)) || [[ ${KEEP:-} == 1 ]]; then echo "logs and data: $work" >&2; else rm -rf "$work"; fi
  exit "$code"
}

# --- nodes

# free_port prints one below the range of outgoing connections: a client that keeps dialling a node that is down could
# otherwise be connected with itself.
free_port() {
  local p
  while p=$((20000 + RANDOM % 12000)); (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; do :; done
  echo "$p"
}
gone() { ! kill -0 "$1" 2>/dev/null; } # PID
answers() { (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; }

# node_start [KEY=VALUE...]: a fresh node, answering when this returns; BOOTSTRAP, node_pid, node_dir, node_log tell of it
node_start() {
  node_stop
  if [[ ${KLAMM_E2E_BOOTSTRAP:-} ]]; then BOOTSTRAP=$KLAMM_E2E_BOOTSTRAP; return; fi
  node_dir=$(mktemp -d "$work/$part.XXXXXX")
  local -a overrides=()
  local kv
  for kv in "$@"; do overrides+=(--override "$kv"); done
  node_log=$work/logs/$part-node.log
  BOOTSTRAP=127.0.0.1:$(free_port)
  "${node_command[@]}" --override "listeners=PLAINTEXT://$BOOTSTRAP" --override "log.dirs=$node_dir/data" \
    ${overrides[@]+"${overrides[@]}"} >>"$node_log" 2>&1 </dev/null &
  node_pid=$!
  local end=$((SECONDS + 60))
  until answers "$BOOTSTRAP"; do
    kill -0 "$node_pid" 2>/dev/null && ((SECONDS < end)) || { fail "the node starts" "$node_log"; node_stop; return 1; }
    sleep 0.05
  done
}
# node_stop ends the node that this run started, if any, and counts a failure if it does not end well
node_stop() {
  [[ $node_pid ]] || return 0
  local pid=$node_pid end=$((SECONDS + 60)) code
  node_pid=
  kill "$pid" 2>/dev/null || { fail "the node had ended before its stop" "$node_log"; return 1; }
  while kill -0 "$pid" 2>/dev/null; do
    if ((SECONDS > end)); then kill -9 "$pid"; fail "the node stops within a minute" "$node_log"; fi
    sleep 0.05
  done
  wait "$pid"; code=$?
  if grep -q '^panic:\|^fatal error:' "$node_log"; then fail "the node does not panic" "$node_log"; return 1; fi
  ((code == 0 || code == 143)) || { fail "the node stops with $code" "$node_log"; return 1; }
}

# --- clients

# missing NAME REGISTRY_COMMAND...: a client could not be brought. That is no fault of ours where nobody answers.
missing() {
  local name=$1; shift
  if [[ ${CI:-} == true ]] && "$@" >/dev/null 2>&1; then
    fail "$name cannot be installed although its registry answers" "$work/logs/install.log"
  else
    skip "$name" "cannot be installed here"
  fi
}
# need_python PACKAGE...: a virtual environment with them; $python runs it
need_python() {
  python=$cache/python/bin/python
  command -v python3 >/dev/null || { missing python3 true; return 1; }
  [[ -x $python ]] || python3 -m venv "$cache/python" >>"$work/logs/install.log" 2>&1 || { missing "python3's venv" true; return 1; }
  local package
  for package in "$@"; do
    [[ -e $cache/python/.$package ]] || "$python" -m pip install -q "$package" >>"$work/logs/install.log" 2>&1 ||
      { missing "$package" "$python" -m pip download -q --no-deps -d "$work/registry" pip; return 1; }
    touch "$cache/python/.$package"
  done
}
need_kcat() {
  kcat=$(command -v kcat || command -v kafkacat) && return
  local -a root_=()
  [[ $(id -u) == 0 ]] || root_=(sudo -n)
  { command -v apt-get && "${root_[@]}" apt-get update -q && "${root_[@]}" apt-get install -y -q kcat; } >>"$work/logs/install.log" 2>&1 </dev/null
  kcat=$(command -v kcat) || { missing kcat "${root_[@]}" apt-get update; return 1; }
}
need_java() {
  "$kafka" fetch >>"$work/logs/install.log" 2>&1 && return
  missing "Apache Kafka's Java tools" mvn -q -B -U org.apache.maven.plugins:maven-dependency-plugin:3.6.1:get -Dartifact=org.slf4j:slf4j-api:2.0.17:pom
  return 1
}
# need_streams: the class path for Kafka Streams and its examples, of the version that the Java tools have; $streams is it
need_streams() {
  local jars dir
  jars=$("$kafka" fetch 2>>"$work/logs/install.log") || { missing "Apache Kafka's Java tools" false; return 1; }
  local version=${jars#*apache-kafka-}
  dir=$cache/kafka-streams-${version%/*}
  [[ -e $dir/complete ]] || { mvn -q -B -f "$here/clients/streams.xml" -Dkafka.version="${version%/*}" -DoutputDirectory="$dir" \
    -DincludeArtifactIds=kafka-streams,kafka-streams-examples,rocksdbjni org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies &&
    touch "$dir/complete"; } >>"$work/logs/install.log" 2>&1 || {
    missing "Kafka Streams" mvn -q -B -U org.apache.maven.plugins:maven-dependency-plugin:3.6.1:get -Dartifact=org.slf4j:slf4j-api:2.0.17:pom
    return 1
  }
  streams=$jars:$dir/*
}
# go_tests ARG...: the tests of e2e/go, with their results as lines that `results` counts
go_tests() {
  local out code
  out=$(cd "$root" && timeout $((290 + 20 * ${KLAMM_E2E_SEEDS:-0} + 8 * (${KLAMM_E2E_FORGETS:-0} + ${KLAMM_E2E_KILLS:-0}))) go test -timeout 60m -tags e2e -count=1 -v ./test/e2e/go "$@" 2>&1); code=$?
  echo "$out"
  # Why a test was skipped stands in its last line before the result.
  awk '/^ *[^ ]+\.go:[0-9]+: / { why = $0; sub(/^ *[^ ]+ /, "", why) }
    /^ *--- (PASS|FAIL|SKIP): / { result = $2; sub(/:$/, "", result); print result, $3 (result == "SKIP" ? ": " why : "") }' <<<"$out"
  return "$code"
}
need_go() { command -v go >/dev/null || { missing go true; return 1; }; }
java() { timeout 90 "$kafka" run "$@"; }
