//go:build e2e

// Package e2e holds the black box tests that are written in Go. ../run starts them:
//
//   - client: franz-go's client and its administration against the broker that KLAMM_E2E_BOOTSTRAP names;
//   - durability: a node of their own (KLAMM_E2E_NODE_COMMAND), which they kill and start again under load, also on a disk that loses
//     power with it;
//   - share: both;
//   - exactly once: a node of their own, and processes that copy a topic in transactions. Nodes and processes are killed.
package e2e
