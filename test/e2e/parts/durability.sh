# kill -9 under load, power cuts, and what outlives a restart. The tests start and kill their nodes themselves.
if [[ ${KLAMM_E2E_BOOTSTRAP:-} ]]; then
  skip "kills and restarts" "the broker is somebody else's"
elif need_go; then
  KLAMM_E2E_NODE_COMMAND="${node_command[*]}" results restarts go_tests -run '^Test(KillUnderLoad|KillAtFormat|Restart|Forgetful.*)$'
fi
