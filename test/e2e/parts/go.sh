# franz-go: client and administration.
if need_go && node_start; then
  KLAMM_E2E_BOOTSTRAP=$BOOTSTRAP results franz-go go_tests -run '^TestClient'
fi
