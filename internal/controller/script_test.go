package controller

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// TestScripts runs testdata/scripts/*. A script's commands are
//
//	new [mv=30] [elr=1] [deletion=off]   a fresh controller on an empty log, activated
//	failover [load] [torn]               a fresh controller on the same log (or on its image), which may end inside
//	                                     a transaction
//	broker id=1 [rack=a]                 registers a broker and unfences it
//	beat ids=(1,2)                       heartbeats of brokers that have read everything
//	advance d=9s                         time passes; what is due happens
//	refuse on|off                        appends fail
//	state [topic]                        brokers and partitions
//	NAME [v=N]                           a request of that kmsg name; the input is its JSON, where "id:foo" is the id
//	                                     of topic foo, "dir:7" and "life:7" are numbered ids, "epoch:3" broker 3's
//	                                     epoch, "end" the last offset
//
// and print the records written and the reply. Zero values are left out.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{}
		datadriven.RunTest(t, path, s.run)
	})
}

type script struct {
	h     *Harness
	names map[schema.UUID]string
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	if s.h != nil {
		s.h.T = t
	}
	switch d.Cmd {
	case "new":
		return s.fresh(t, d)
	case "failover":
		old := s.h
		s.h = NewHarness(t, old.Options)
		s.h.Now, s.h.Rand = old.Now, old.Rand
		if d.HasArg("load") {
			s.h.C, s.h.Log, s.h.Mirror = Load(old.C.options, old.Mirror), old.Log, old.Mirror
		} else {
			s.h.append(old.Log)
		}
		if d.HasArg("torn") {
			s.h.append([]schema.Record{&schema.BeginTransaction{}, &schema.Topic{Name: "torn", TopicID: testUUID(9)}})
		}
		return s.print(s.h.Activate(), nil)
	case "broker":
		var id int32
		rack := ""
		d.ScanArgs(t, "id", &id)
		d.MaybeScanArgs(t, "rack", &rack)
		s.h.Register(id, rack)
		return ""
	case "beat":
		var out strings.Builder
		for _, arg := range d.CmdArgs {
			for _, v := range arg.Vals {
				id, _ := strconv.Atoi(v)
				resp := s.h.Beat(int32(id))
				fmt.Fprintf(&out, "%d: fenced=%v shutdown=%v error=%d\n", id, resp.IsFenced, resp.ShouldShutdown, resp.ErrorCode)
			}
		}
		return out.String()
	case "advance":
		var text string
		d.ScanArgs(t, "d", &text)
		step, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		s.h.Now = s.h.Now.Add(step)
		return s.print(s.h.Tick(), nil)
	case "refuse":
		s.h.Refuse = d.HasArg("on")
		return ""
	case "state":
		return s.state()
	}
	return s.request(t, d)
}

func (s *script) fresh(t *testing.T, d *datadriven.TestData) string {
	mv, elr := int16(30), int16(0)
	d.MaybeScanArgs(t, "mv", &mv)
	d.MaybeScanArgs(t, "elr", &elr)
	options := Options{NodeID: 1, ClusterID: testCluster, Voters: []int32{1}, Bootstrap: bootstrap(mv, elr), DefaultReplicationFactor: 1, DefaultPartitions: 2}
	options.DisableTopicDeletion = d.HasArg("deletion")
	if d.HasArg("periodic") {
		options.MaxIdle, options.ImbalanceCheck, options.UncleanElectionCheck = 500*time.Millisecond, 30*time.Second, 30*time.Second
	}
	s.h, s.names = NewHarness(t, options), map[schema.UUID]string{}
	return s.print(s.h.Activate(), nil)
}

var reference = regexp.MustCompile(`"(id|dir|life|epoch):([^"]*)"|"end"`)

func (s *script) request(t *testing.T, d *datadriven.TestData) string {
	var req kmsg.Request
	for key := range int16(kmsg.MaxKey + 1) {
		if kmsg.NameForKey(key) == d.Cmd {
			req = kmsg.RequestForKey(key)
		}
	}
	if req == nil {
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	version := req.MaxVersion()
	d.MaybeScanArgs(t, "v", &version)
	req.SetVersion(version)
	if def, ok := req.(interface{ Default() }); ok {
		def.Default()
	}
	input := reference.ReplaceAllStringFunc(d.Input, func(ref string) string { return s.resolve(t, ref) })
	if err := json.Unmarshal([]byte(input), req); err != nil {
		d.Fatalf(t, "%v in %s", err, input)
	}
	if r, ok := req.(*kmsg.BrokerRegistrationRequest); ok {
		full := registration(r.BrokerID, 0, "", 0)
		if r.Listeners = full.Listeners; len(r.Features) == 0 {
			r.Features = full.Features
		}
		if r.ClusterID == "" {
			r.ClusterID = full.ClusterID
		}
	}
	records, resp := s.h.Request(req)
	return s.print(records, resp)
}

func (s *script) resolve(t *testing.T, ref string) string {
	if ref == `"end"` {
		return strconv.Itoa(len(s.h.Log) - 1)
	}
	kind, name, _ := strings.Cut(strings.Trim(ref, `"`), ":")
	n, _ := strconv.Atoi(name)
	var id schema.UUID
	switch kind {
	case "epoch":
		b, ok := s.h.Mirror.Broker(int32(n))
		if !ok {
			t.Fatalf("no broker %d", n)
		}
		return strconv.FormatInt(b.Epoch, 10)
	case "id":
		topic, ok := s.h.Mirror.Topic(name)
		if !ok {
			t.Fatalf("no topic %s", name)
		}
		id = topic.ID
	default:
		id = testUUID(n)
	}
	b, _ := json.Marshal([16]byte(id))
	return string(b)
}

func (s *script) print(records []schema.Record, resp kmsg.Response) string {
	var out strings.Builder
	for _, r := range records {
		if t, ok := r.(*schema.Topic); ok {
			s.names[t.TopicID] = t.Name
		}
		fmt.Fprintf(&out, "+ %s%s\n", strings.TrimPrefix(reflect.TypeOf(r).String(), "*schema."), s.format(reflect.ValueOf(r)))
	}
	if resp != nil {
		out.WriteString(s.format(reflect.ValueOf(resp)) + "\n")
	}
	return out.String()
}

// format writes a value without its zero parts.
func (s *script) format(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer:
		return s.format(v.Elem())
	case reflect.Struct:
		var parts []string
		for i := range v.NumField() {
			f, name := v.Field(i), v.Type().Field(i).Name
			quiet := name == "Version" || name == "UnknownTags" || f.IsZero() || name == "Leader" && f.Int() == int64(noLeaderChange) ||
				name == "LeaderRecoveryState" && f.Int() == -1
			if !quiet {
				parts = append(parts, name+":"+s.format(f))
			}
		}
		return "{" + strings.Join(parts, " ") + "}"
	case reflect.Array:
		var id schema.UUID
		reflect.Copy(reflect.ValueOf(&id).Elem(), v)
		if name, ok := s.names[id]; ok {
			return name
		}
		if id[0] == 0x40 && id[1] == 0 {
			return "#" + strconv.Itoa(int(id[14])<<8|int(id[15]))
		}
		return id.String()
	case reflect.Slice:
		if features, ok := v.Interface().([]schema.FeatureRange); ok && len(features) == len(metadata.SupportedFeatures()) {
			return "all"
		}
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = s.format(v.Index(i))
		}
		sep := " "
		if v.Type().Elem().Kind() == reflect.Struct && v.Len() > 1 {
			sep = "\n    "
		}
		return "[" + strings.Join(parts, sep) + "]"
	case reflect.String:
		return strconv.Quote(v.String())
	}
	return fmt.Sprint(v.Interface())
}

func (s *script) state() string {
	var out strings.Builder
	for b := range s.h.Mirror.Brokers() {
		fmt.Fprintf(&out, "broker %d epoch=%d fenced=%v shuttingdown=%v\n", b.ID, b.Epoch, b.Fenced, b.InControlledShutdown)
	}
	for t := range s.h.Mirror.Topics() {
		for id, p := range t.Partitions {
			fmt.Fprintf(&out, "%s-%d leader=%d epoch=%d/%d replicas=%v isr=%v", t.Name, id, p.Leader, p.LeaderEpoch, p.PartitionEpoch, p.Replicas, p.ISR)
			for name, ids := range map[string][]int32{" elr=": p.ELR} {
				if len(ids) > 0 {
					fmt.Fprintf(&out, "%s%v", name, ids)
				}
			}
			if len(p.LastKnownELR) > 0 {
				fmt.Fprintf(&out, " last=%v", p.LastKnownELR)
			}
			if len(p.Adding)+len(p.Removing) > 0 {
				fmt.Fprintf(&out, " adding=%v removing=%v", p.Adding, p.Removing)
			}
			if p.Recovery != 0 {
				out.WriteString(" recovering")
			}
			out.WriteString("\n")
		}
	}
	return out.String()
}
