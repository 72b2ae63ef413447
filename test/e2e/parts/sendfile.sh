# What a consumer gets is not read by the node, seen by strace. The test starts its node itself.
if [[ ${KLAMM_E2E_BOOTSTRAP:-} || ${KLAMM_E2E_NODE:-klamm} != klamm ]]; then
  skip "sendfile" "it is Klamm's own"
elif [[ $(uname) != Linux ]] || ! command -v strace >/dev/null; then
  skip "sendfile" "strace is not installed"
elif need_go; then
  KLAMM_E2E_NODE_COMMAND="${node_command[*]}" results sendfile go_tests -run '^TestSendfile$'
  sed -n 's/^FIGURE /         /p' "$work/logs/$part-sendfile.log"
fi
