#!/usr/bin/env bash
# Apache Kafka from Maven Central, to stand beside Klamm: its Java tools, and nodes of its own.
#
#   kafka.sh fetch                        bring the jars (once; needs Maven), print the class path
#   kafka.sh run TOOL ARG...              a tool of tools.txt, with or without "kafka-" before its name
#   kafka.sh java ARG...                  java with that class path
#   kafka.sh serve [--override K=V]...    one node in the foreground, with the arguments of `klamm start`: log.dirs and
#                                         listeners say where; broker and controller in one, formatted when it is empty
#   kafka.sh up DIR [-n N] [K=V...]       N nodes with their data under DIR; they answer when this returns.
#                                         The last line tells where: bootstrap=HOST:PORT,...
#   kafka.sh down DIR                     stop them (SIGTERM), wait; what lies in DIR stays
#
# Environment: KAFKA_VERSION (instead of pom.xml's), KAFKA_HEAP_OPTS (-Xmx1G -Xms1G for a node, -Xmx256M for a tool),
# JAVA_HOME (else java on PATH; 17 or newer), XDG_CACHE_HOME.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${KAFKA_VERSION:=$(sed -n 's/.*<kafka.version>\(.*\)<.*/\1/p' "$here/pom.xml")}"
jars=${XDG_CACHE_HOME:-$HOME/.cache}/klamm/apache-kafka-$KAFKA_VERSION
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

fail() { echo "kafka.sh: $*" >&2; exit 1; }

# fetch is safe against others doing the same: they wait, and a copy that broke off is not taken for whole.
fetch() {
  [[ -e $jars/complete ]] && return
  command -v mvn >/dev/null || fail "Maven (mvn) is not installed"
  command -v "$java" >/dev/null || fail "no $java: a JDK of 17 or newer is needed"
  mkdir -p "$jars"
  exec 9>"$jars/lock"
  flock 9
  [[ -e $jars/complete ]] && return
  mvn -q -B -f "$here/pom.xml" -Dkafka.version="$KAFKA_VERSION" -DincludeScope=runtime -DoutputDirectory="$jars" \
    dependency:copy-dependencies >&2 || fail "Maven could not bring Apache Kafka $KAFKA_VERSION"
  local level
  for level in info warn; do
    printf '%s\n' 'status = error' 'appender.err.type = Console' 'appender.err.name = err' 'appender.err.target = SYSTEM_ERR' \
      'appender.err.layout.type = PatternLayout' 'appender.err.layout.pattern = [%d] %p %m (%c)%n' \
      "rootLogger.level = $level" 'rootLogger.appenderRef.err.ref = err' >"$jars/log4j-$level.properties"
  done
  # A tool lives for a second, most of it loading its own classes: an archive of them halves that.
  jvm warn "-Xmx256M" "${short_lived[@]}" -XX:ArchiveClassesAtExit="$jars/tools.jsa" "$(class topics)" \
    --bootstrap-server 127.0.0.1:1 --list --command-config <(echo default.api.timeout.ms=200; echo request.timeout.ms=100) >/dev/null 2>&1 &
  wait $! || true
  touch "$jars/complete"
  exec 9>&-
}

# jvm LEVEL HEAP ARG...: becomes java
jvm() {
  local level=$1 heap=$2; shift 2
  # shellcheck disable=SC2086 # heap options are several words
  exec "$java" ${KAFKA_HEAP_OPTS:-$heap} -Djava.awt.headless=true -cp "$jars/*" \
    "-Dlog4j2.configurationFile=$jars/log4j-$level.properties" "$@"
}

class() {
  local c
  c=$(awk -v t="${1#kafka-}" '$1 == t {print $2}' "$here/tools.txt")
  [[ $c ]] || fail "no tool $1 in tools.txt"
  echo "${c/#./org.apache.kafka.}"
}
# One compiler and the serial collector; an archive of another JDK is passed over without a word.
short_lived=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xlog:disable)
run() { local c; c=$(class "$1"); shift; jvm warn "-Xmx256M" "${short_lived[@]}" -XX:SharedArchiveFile="$jars/tools.jsa" "$c" "$@"; }
node() { jvm info "-Xmx1G -Xms1G" -XX:+UseG1GC "$(class server)" "$1"; }

# free_port prints one below the range from which the system takes the ports of outgoing connections: a client that
# keeps dialling a node that is down could otherwise be connected with itself.
free_port() {
  local p
  while p=$((20000 + RANDOM % 12000)); (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; do :; done
  echo "$p"
}

# properties NODE CLIENT_PORT CONTROLLER_PORT VOTERS DATA prints a broker's and controller's server.properties
properties() {
  cat <<END
process.roles=broker,controller
node.id=$1
listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$3
advertised.listeners=PLAINTEXT://127.0.0.1:$2
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=$4
log.dirs=$5
END
}
replication() { # FACTOR MIN_ISR: of the internal topics
  printf '%s\n' offsets.topic.replication.factor="$1" transaction.state.log.replication.factor="$1" \
    transaction.state.log.min.isr="$2" share.coordinator.state.topic.replication.factor="$1" share.coordinator.state.topic.min.isr="$2"
}
# format CLUSTER_ID FILE: formats what is empty
format() { (run storage format --ignore-formatted -t "$1" -c "$2") >"$2.format" 2>&1 || fail "format: $(cat "$2.format")"; }
cluster_id() { head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d =; }

serve() {
  local data= listener= file controller
  local -a more=()
  while (($#)); do
    [[ $1 == --override ]] || fail "serve: $1 is not --override"
    case $2 in log.dirs=*) data=${2#*=} ;; listeners=*) listener=${2##*:} ;; *) more+=("$2") ;; esac
    shift 2
  done
  [[ $data && $listener ]] || fail "serve: log.dirs and listeners are needed"
  mkdir -p "$data"
  file=$data.properties
  controller=$(free_port)
  { properties 1 "$listener" "$controller" "1@127.0.0.1:$controller" "$data"; replication 1 1; } >"$file"
  ((${#more[@]} == 0)) || printf '%s\n' "${more[@]}" >>"$file"
  [[ -e $data/meta.properties ]] || format "$(cluster_id)" "$file"
  node "$file"
}

alive() { [[ -e $1/pid ]] && kill -0 "$(<"$1/pid")" 2>/dev/null; }
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

up() {
  dir=$1 # not local: the trap reads it
  local n=1 i voters= bootstrap= id
  shift
  if [[ ${1:-} == -n ]]; then n=$2; shift 2; fi
  [[ ! -e $dir/1 ]] || fail "$dir holds nodes already"
  trap '[[ $? == 0 ]] || down "$dir"' EXIT
  local -a client controller
  for ((i = 1; i <= n; i++)); do
    client[i]=$(free_port) controller[i]=$(free_port)
    voters+=${voters:+,}$i@127.0.0.1:${controller[i]} bootstrap+=${bootstrap:+,}127.0.0.1:${client[i]}
  done
  id=$(cluster_id)
  for ((i = 1; i <= n; i++)); do
    mkdir -p "$dir/$i"
    {
      properties "$i" "${client[i]}" "${controller[i]}" "$voters" "$dir/$i/data"
      replication $((n < 3 ? n : 3)) $((n < 2 ? 1 : 2))
      (($# == 0)) || printf '%s\n' "$@"
    } >"$dir/$i/server.properties"
    format "$id" "$dir/$i/server.properties"
    (node "$dir/$i/server.properties") >"$dir/$i/log" 2>&1 </dev/null &
    echo $! >"$dir/$i/pid"
  done
  for ((i = 1; i <= n; i++)); do
    until grep -q 'Kafka Server started' "$dir/$i/log" && answers "${client[i]}"; do
      alive "$dir/$i" || fail "node $i ended: $(tail -3 "$dir/$i/log")"
      ((SECONDS < 120)) || fail "node $i does not answer: $dir/$i/log"
      sleep 0.1
    done
  done
  echo "bootstrap=$bootstrap"
}

down() {
  local d
  for d in "$1"/*/; do ! alive "$d" || kill "$(<"$d/pid")"; done
  SECONDS=0
  for d in "$1"/*/; do
    while alive "$d"; do
      ((SECONDS < 60)) || kill -9 "$(<"$d/pid")"
      sleep 0.1
    done
  done
}

command=${1:-}
shift || true
case $command in
  fetch) fetch; echo "$jars/*" ;;
  run) fetch; run "$@" ;;
  java) fetch; jvm warn "-Xmx256M" "$@" ;;
  serve) fetch; serve "$@" ;;
  up) fetch; up "$@" ;;
  down) down "$@" ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
