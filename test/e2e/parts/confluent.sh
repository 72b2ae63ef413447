# confluent-kafka: librdkafka under Python.
if need_python confluent-kafka && node_start; then
  BOOTSTRAP_SERVERS=$BOOTSTRAP results confluent-kafka timeout 300 "$python" -W ignore "$here/clients/confluent_scenarios.py"
fi
