package config

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func rows(t *testing.T, name string) [][]string {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all [][]string
	s := bufio.NewScanner(f)
	for s.Scan() {
		if !strings.HasPrefix(s.Text(), "#") {
			all = append(all, strings.Split(s.Text(), "\t"))
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return all
}

// ours are the keys that Kafka does not have.
var ours = map[string]bool{
	"log.produce.validation": true, "produce.validation": true, "group.consumer.reconciling.heartbeat.interval.ms": true,
}

type fact struct {
	Scope, Name, Type, Default, Valid, Importance string
	Internal                                      bool
	Dynamic                                       string
}

// otherWords are rules that we print differently: Kafka says "non-empty list" of lists that may be empty.
var otherWords = map[string]string{
	"controller.quorum.voters":            "{id}@{host}:{port},...",
	"controller.quorum.bootstrap.servers": "{host}:{port},...",
	"authorizer.class.name":               "",
}

func TestKeysAreKafkas(t *testing.T) {
	want := map[string]fact{}
	for _, r := range rows(t, "keys.tsv") {
		f := fact{r[0], r[1], r[2], r[3], r[4], r[5], r[6] == "internal", r[7]}
		switch f.Scope {
		case "quota": // broker keys that exist as dynamic values only
			f.Scope, f.Dynamic = "broker", "cluster-wide"
		case "topic", "group":
			f.Dynamic = "read-only"
		}
		if w, ok := otherWords[f.Name]; ok {
			f.Valid = w
		}
		if f.Default == `\R` {
			f.Default = `\N`
		}
		want[f.Scope+" "+f.Name] = f
	}
	got := map[string]fact{}
	for _, s := range []Scope{Broker, Topic, Group} {
		for _, k := range Keys(s) {
			if ours[k.Name] {
				continue
			}
			f := fact{s.String(), k.Name, k.Type.String(), k.Default, k.Valid, k.Importance.String(), k.Internal, k.Dynamic.String()}
			if k.NoDefault {
				f.Default = `\N`
			}
			got[f.Scope+" "+f.Name] = f
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("keys (-Kafka +ours):\n%s", d)
	}
}

func TestKeysAreWhole(t *testing.T) {
	for _, s := range []Scope{Broker, Topic, Group} {
		keys := Keys(s)
		if !slices.IsSortedFunc(keys, func(a, b Key) int { return strings.Compare(a.Name, b.Name) }) {
			t.Fatalf("%s keys are not sorted", s)
		}
		for _, k := range keys {
			if k.Doc == "" || !strings.HasSuffix(k.Doc, ".") || strings.Count(k.Doc, ". ") > 0 {
				t.Errorf("%s: documentation is not one sentence: %q", k.Name, k.Doc)
			}
			if k.Acts != (k.Reason == "") {
				t.Errorf("%s: acts %v with reason %q", k.Name, k.Acts, k.Reason)
			}
			if k.Sensitive != (k.Type == Password) {
				t.Errorf("%s: sensitive %v", k.Name, k.Sensitive)
			}
			if !k.NoDefault {
				if v, err := k.parse(k.Default); err != nil || v.text != k.Default {
					t.Errorf("%s: default %q reads as %q, %v", k.Name, k.Default, v.text, err)
				}
			}
			for _, b := range k.BrokerKeys {
				if _, ok := Lookup(Broker, b); !ok {
					t.Errorf("%s: no broker key %s", k.Name, b)
				}
			}
			if again, ok := Lookup(s, k.Name); !ok || again.Name != k.Name {
				t.Errorf("Lookup(%s) = %v, %v", k.Name, again.Name, ok)
			}
		}
	}
	if _, ok := Lookup(Topic, "log.dirs"); ok {
		t.Error("log.dirs is no topic key")
	}
}

// Each name in the column of reasons is a key, and no key has two of them; a full name goes before a prefix.
func TestReasonsNameKeys(t *testing.T) {
	for _, s := range []Scope{Broker, Topic, Group} {
		full, prefixed := map[string]int{}, map[string]int{}
		for _, r := range inertKeys(s) {
			for _, name := range r.keys {
				prefix, wild := strings.CutSuffix(name, "*")
				hits := 0
				for _, k := range Keys(s) {
					switch {
					case k.Name == name:
						full[k.Name]++
					case wild && strings.HasPrefix(k.Name, prefix):
						prefixed[k.Name]++
					default:
						continue
					}
					hits++
				}
				if hits == 0 {
					t.Errorf("%s: no key for %s", s, name)
				}
			}
		}
		for _, k := range Keys(s) {
			if full[k.Name] > 1 || prefixed[k.Name] > 1 {
				t.Errorf("%s: %s has several reasons", s, k.Name)
			}
		}
	}
	if k, _ := Lookup(Broker, "num.io.threads"); !strings.HasPrefix(k.Reason, "has no meaning here, because ") {
		t.Errorf("num.io.threads: %q", k.Reason)
	}
}
