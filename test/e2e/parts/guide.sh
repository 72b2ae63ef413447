# The Python of the developer's guide, in its order, on a fresh node; then its commands, with our own tools.
if need_python kafka-python python-snappy lz4 zstandard && node_start; then
  for script in "$root"/test/python/[0-9]*.py; do
    BOOTSTRAP_SERVERS=$BOOTSTRAP check "$(basename "$script" .py)" timeout 120 "$python" -W ignore "$script"
  done
fi
