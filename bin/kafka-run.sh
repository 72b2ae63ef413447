#!/usr/bin/env bash
# Apache Kafka's command names for the klamm binary beside this file.
#
# The other names in this directory are links to this script; it runs the program that its own name tells:
#   kafka-TOOL[.sh] ARGS                                       klamm TOOL ARGS
#   kafka-server-start[.sh] [-daemon] [server.properties] [--override key=value]...
#                                                              klamm start ...; -daemon: in the background, with its
#                                                              output in $LOG_DIR/kafkaServer.out (LOG_DIR: ../logs)
#   kafka-server-stop[.sh] [--process-role=ROLE] [--node-id=N] SIGTERM to this user's klamm start processes; ROLE and N
#                                                              select by the server.properties they were started with
set -euo pipefail
self=$(readlink -f "${BASH_SOURCE[0]}")
bin=$(dirname "$self")
klamm=${KLAMM:-$bin/klamm}
name=$(basename "$0" .sh)

if [[ $name != kafka-server-stop && ! -x $klamm ]]; then
  echo "$name: $klamm is not there: build it with 'make build'" >&2
  exit 1
fi

server_start() {
  local daemon=
  if [[ ${1:-} == -daemon ]]; then daemon=yes; shift; fi
  if [[ -z $daemon ]]; then exec "$klamm" start "$@"; fi
  local logs=${LOG_DIR:-$(dirname "$bin")/logs}
  mkdir -p "$logs"
  nohup "$klamm" start "$@" >"$logs/kafkaServer.out" 2>&1 </dev/null &
}

# selected PID PROPERTY VALUE ARGS...: whether the process with these arguments (from "start" on) has the property
selected() {
  local pid=$1 property=$2 value=$3 word file= have=; shift 4
  while (($#)); do
    word=$1; shift
    case $word in
      --override) [[ ${1:-} == "$property="* ]] && have=${1#*=}; shift || true ;;
      --override="$property="*) have=${word##*"$property="} ;;
      -*) ;;
      *) file=$word ;;
    esac
  done
  if [[ -n $file && $file != /* && -e /proc/$pid/cwd ]]; then file=/proc/$pid/cwd/$file; fi
  if [[ -z $have && -n $file && -r $file ]]; then
    have=$(sed -n "s/^[[:space:]]*${property//./\\.}[[:space:]]*[=:][[:space:]]*//p" "$file" | tail -1)
  fi
  [[ ,${have//[[:space:]]/}, == *",$value,"* ]]
}

server_stop() {
  local role= node= word pid args found=
  for word in "$@"; do
    case $word in
      --process-role=*) role=${word#*=} ;;
      --node-id=*) node=${word#*=} ;;
      *) echo "Usage: $name.sh [--process-role=value] [--node-id=value]" >&2; exit 1 ;;
    esac
  done
  while read -r pid args; do
    # shellcheck disable=SC2086 # the arguments of a process come as one string
    set -- $args
    [[ $(basename -- "${1:-}") == klamm && ${2:-} == start ]] || continue
    shift
    if [[ -n $role ]] && ! selected "$pid" process.roles "$role" "$@"; then continue; fi
    if [[ -n $node ]] && ! selected "$pid" node.id "$node" "$@"; then continue; fi
    kill -s TERM "$pid" && found=yes
  done < <(ps -u "$(id -u)" -o pid=,args=)
  if [[ -z $found ]]; then
    echo "No kafka server to stop"
    exit 1
  fi
}

case $name in
  kafka-server-start) server_start "$@" ;;
  kafka-server-stop) server_stop "$@" ;;
  kafka-run) sed -n '2,/^set /p' "$self" | sed -n 's/^# \{0,1\}//p' >&2; exit 1 ;;
  kafka-*) exec "$klamm" "${name#kafka-}" "$@" ;;
  *) echo "$name: no name of Kafka's" >&2; exit 1 ;;
esac
