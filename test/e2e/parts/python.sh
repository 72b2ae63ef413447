# kafka-python's newest release. The codecs are optional for it; a scenario needs them all.
if need_python kafka-python python-snappy lz4 zstandard && node_start; then
  BOOTSTRAP_SERVERS=$BOOTSTRAP results kafka-python timeout 300 "$python" -W ignore "$here/clients/kafka_python_scenarios.py"
fi
