//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// keyed is a record as far as exactly once is concerned.
type keyed struct{ key, value string }

// checkExactlyOnce says how the output differs from the input, of which it has to be a copy: the same records, each as often,
// and those of one key in the same order. The order between keys is free. The values of a key are different ones.
func checkExactlyOnce(in, out []keyed) error {
	want, got := valuesByKey(in), valuesByKey(out)
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			return fmt.Errorf("key %s: nobody wrote it", k)
		}
	}
	var wrong []string
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if err := checkKey(want[k], got[k]); err != nil {
			wrong = append(wrong, fmt.Sprintf("key %s: %v", k, err))
		}
	}
	if wrong != nil {
		return fmt.Errorf("%d of %d keys are wrong:\n%s", len(wrong), len(want), strings.Join(wrong, "\n"))
	}
	return nil
}

func valuesByKey(records []keyed) map[string][]string {
	m := map[string][]string{}
	for _, r := range records {
		m[r.key] = append(m[r.key], r.value)
	}
	return m
}

func checkKey(want, got []string) error {
	times := map[string]int{}
	for _, v := range got {
		times[v]++
	}
	for _, v := range want {
		if times[v] != 1 {
			return fmt.Errorf("value %s is there %d times (%d values, want %d)", v, times[v], len(got), len(want))
		}
	}
	for i, v := range got {
		if i >= len(want) || v != want[i] {
			return fmt.Errorf("value %s stands at place %d, which is not its own", v, i)
		}
	}
	return nil
}

// TestExactlyOnceCheck shows that the check itself can fail.
func TestExactlyOnceCheck(t *testing.T) {
	in := []keyed{{"a", "0"}, {"b", "0"}, {"a", "1"}, {"b", "1"}, {"a", "2"}}
	for name, test := range map[string]struct {
		out  []keyed
		want string // of the error; empty: none
	}{
		"the same":                  {in, ""},
		"another order of the keys": {[]keyed{{"b", "0"}, {"b", "1"}, {"a", "0"}, {"a", "1"}, {"a", "2"}}, ""},
		"lost":                      {[]keyed{{"a", "0"}, {"b", "0"}, {"b", "1"}, {"a", "2"}}, "key a: value 1 is there 0 times"},
		"lost at the end":           {in[:4], "key a: value 2 is there 0 times"},
		"lost, all of a key":        {[]keyed{{"a", "0"}, {"a", "1"}, {"a", "2"}}, "key b: value 0 is there 0 times"},
		"doubled":                   {append(slices.Clone(in), keyed{"b", "0"}), "key b: value 0 is there 2 times"},
		"doubled instead of lost":   {[]keyed{{"a", "0"}, {"b", "0"}, {"a", "0"}, {"b", "1"}, {"a", "2"}}, "key a: value 0 is there 2 times"},
		"swapped":                   {[]keyed{{"a", "1"}, {"b", "0"}, {"a", "0"}, {"b", "1"}, {"a", "2"}}, "key a: value 1 stands at place 0"},
		"invented value":            {append(slices.Clone(in), keyed{"a", "9"}), "key a: value 9 stands at place 3"},
		"invented key":              {append(slices.Clone(in), keyed{"c", "0"}), "key c: nobody wrote it"},
		"nothing":                   {nil, "2 of 2 keys are wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkExactlyOnce(in, test.out)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
		})
	}
}
