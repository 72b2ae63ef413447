# What a node may cost: from its start to the first record, in memory, on the disk. The test starts its nodes itself.
if [[ ${KLAMM_E2E_BOOTSTRAP:-} || ${KLAMM_E2E_NODE:-klamm} != klamm ]]; then
  skip "figures" "they are Klamm's own"
elif need_go; then
  KLAMM_E2E_NODE_COMMAND="${node_command[*]}" results figures go_tests -run '^TestFigures$'
  sed -n 's/^FIGURE /         /p' "$work/logs/$part-figures.log"
fi
