package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUpToDate fails when the definitions and the generated files have come apart.
func TestUpToDate(t *testing.T) {
	files, err := generate("../defs")
	if err != nil {
		t.Fatal(err)
	}
	have, err := filepath.Glob("../*_gen.go")
	if err != nil || len(have) != len(files) {
		t.Fatalf("%d generated files, %d wanted: %v", len(have), len(files), err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Fatalf("%s is stale, run go generate (-want +got):\n%s", name, diff)
		}
	}
}

func TestBadDefinitions(t *testing.T) {
	for text, want := range map[string]string{
		"  Lonely int8\n":                                "before any definition",
		"table 1 X 0 flexible=none\n":                    "unknown kind",
		"metadata 1\n":                                   "without a name",
		"metadata 1 X\n":                                 "wants versions",
		"metadata 1 X v flexible=none\n":                 "bad versions",
		"struct X\n  F\n":                                "no type",
		"struct X\n  F int8 1-x\n":                       "bad versions",
		"struct X\n  F Y\n":                              "unknown type Y",
		"struct X\n  F int8\nstruct X\n  F int8 tag=0\n": "defined twice",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x.txt"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := generate(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%q: got %v, want an error with %q", text, err, want)
		}
	}
}
