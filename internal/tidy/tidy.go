// Package tidy holds the house rules of docs/ARCHITECTURE.md as tests: which package may import which, what pure
// packages must not touch, and where goroutines may start. It has no product code.
package tidy
