package wire

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func lines(t *testing.T, name string) []string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if l := strings.TrimSpace(s.Text()); l != "" && !strings.HasPrefix(l, "#") {
			all = append(all, l)
		}
	}
	return all
}

// The table is Apache 4.3.1's: key, name, stable versions, first flexible version, listeners, cluster action.
func TestAPIsAreApaches(t *testing.T) {
	want := lines(t, "testdata/apache-4.3.1-apis.txt")
	var got []string
	for i, a := range APIs() {
		if int(a.Key) != i {
			t.Fatalf("entry %d has key %d", i, a.Key)
		}
		if a.Absent == later {
			continue
		}
		var listeners []string
		if a.Broker {
			listeners = append(listeners, "broker")
		}
		if a.Controller {
			listeners = append(listeners, "controller")
		}
		dash := func(s string) string {
			if s == "" {
				return "-"
			}
			return s
		}
		flexible, action := "-", "-"
		if a.FirstFlexible != never {
			flexible = strconv.Itoa(int(a.FirstFlexible))
		}
		if a.ClusterAction {
			action = "clusterAction"
		}
		got = append(got, fmt.Sprintf("%d %s %d %d %s %s %s", a.Key, a.Name, a.Min, a.Max, flexible, dash(strings.Join(listeners, ",")), action))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("table of APIs (-Apache +ours):\n%s", d)
	}
}

// What a 4.3.1 broker announces, as kafka-broker-api-versions prints it, is what we announce for every key served.
func TestAdvertisedVersionsAreApaches(t *testing.T) {
	line := regexp.MustCompile(`^(\w+)\((\d+)\): (?:(\d+)(?: to (\d+))? \[usable: \d+\]|UNSUPPORTED),?$`)
	apache := map[int16]string{}
	for _, l := range lines(t, "testdata/apache-4.3.1-broker-api-versions.txt") {
		m := line.FindStringSubmatch(l)
		if m == nil {
			t.Fatalf("cannot read %q", l)
		}
		key, _ := strconv.Atoi(m[2])
		if m[4] == "" {
			m[4] = m[3]
		}
		if m[3] != "" {
			apache[int16(key)] = m[1] + " " + m[3] + "-" + m[4]
		}
	}
	for _, a := range APIs() {
		min, max, ok := a.Advertised(false)
		if ok != (a.Served() && a.Broker) {
			t.Errorf("%s: advertised %t", a.Name, ok)
		}
		if !ok {
			// Apache announces it, or it is not a broker's, or needs a plug-in of Apache's.
			if _, there := apache[a.Key]; !there && a.Broker && a.Absent != telemetry {
				t.Errorf("%s is absent here and at Apache, yet the table calls it a broker's", a.Name)
			}
			continue
		}
		if got := fmt.Sprintf("%s %d-%d", a.Name, min, max); got != apache[a.Key] {
			t.Errorf("advertised %q, Apache %q", got, apache[a.Key])
		}
	}
	if a, _ := Lookup(KeyProduce); a.Accepts(2) || !a.Accepts(3) {
		t.Fatal("Produce 0 to 2 are announced and must be refused")
	}
}

func TestLookup(t *testing.T) {
	for _, key := range []int16{-1, int16(len(apis)), 32767, -32768} {
		if _, ok := Lookup(key); ok {
			t.Errorf("key %d found", key)
		}
	}
	all := APIs()
	all[3].Name = "changed"
	if a, _ := Lookup(3); a.Name != "Metadata" {
		t.Fatal("APIs gives out its own table")
	}
	if !slices.IsSortedFunc(APIs(), func(a, b API) int { return int(a.Key) - int(b.Key) }) {
		t.Fatal("not sorted")
	}
}

// kmsg must know each version that is accepted, with the same idea of flexible.
func TestKmsgKnowsEveryVersion(t *testing.T) {
	for _, a := range APIs() {
		r := kmsg.RequestForKey(a.Key)
		if r == nil || r.MaxVersion() < a.Max {
			t.Fatalf("%s: kmsg has %v", a.Name, r)
		}
		for v := a.Min; v <= a.Max; v++ {
			r.SetVersion(v)
			if r.IsFlexible() != a.flexible(v) {
				t.Errorf("%s version %d: flexible %t, kmsg %t", a.Name, v, a.flexible(v), r.IsFlexible())
			}
		}
	}
}
