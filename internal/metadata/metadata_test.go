package metadata

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-io/klamm/internal/schema"
)

var (
	idA = schema.UUID{0xa}
	idB = schema.UUID{0xb}
	idC = schema.UUID{0xc}
)

func partition(topic schema.UUID, id int32) *schema.Partition {
	return &schema.Partition{TopicID: topic, PartitionID: id, Replicas: []int32{1, 2}, ISR: []int32{1, 2}, Leader: 1,
		LeaderEpoch: 5, PartitionEpoch: 7, Directories: []schema.UUID{{1}, {2}}}
}

func someImage(t *testing.T) *Image {
	t.Helper()
	d := NewDelta(Empty())
	retention := "5"
	mustApply(t, d, &schema.FeatureLevel{Name: MetadataVersionFeature, FeatureLevel: 30},
		&schema.RegisterBroker{BrokerID: 1, BrokerEpoch: 10, Fenced: true, Features: []schema.FeatureRange{{Name: "z"}, {Name: "a", MaxSupportedVersion: 1}, {Name: "a", MaxSupportedVersion: 2}},
			Endpoints: []schema.Endpoint{{Name: "PLAINTEXT", Port: 9092}}},
		&schema.Topic{Name: "b", TopicID: idB}, partition(idB, 0), partition(idB, 1),
		&schema.Topic{Name: "a", TopicID: idA}, partition(idA, 0),
		&schema.Config{ResourceType: TopicConfig, ResourceName: "a", Name: "retention.ms", Value: &retention})
	return d.Image(8, 1)
}

func TestRecordsThatDoNotFit(t *testing.T) {
	change := func(edit func(*schema.PartitionChange)) *schema.PartitionChange {
		r := schema.NewPartitionChange()
		r.TopicID, r.PartitionID = idA, 0
		edit(r)
		return r
	}
	for _, tc := range []struct {
		r    schema.Record
		want string
	}{
		{&schema.Topic{Name: "a", TopicID: idC}, `TopicRecord: topic "a" exists with id`},
		{&schema.Topic{Name: "c", TopicID: idA}, `belongs to topic "a"`},
		{&schema.RemoveTopic{TopicID: idC}, "RemoveTopicRecord: no topic has id " + idC.String()},
		{partition(idC, 0), "PartitionRecord: no topic has id"},
		{partition(idA, -1), "partition -1"},
		{&schema.Partition{TopicID: idA, PartitionID: 1, Replicas: []int32{1}, Directories: make([]schema.UUID, 2)}, "2 directories for 1 replicas"},
		{change(func(r *schema.PartitionChange) { r.PartitionID = 1 }), `topic "a" has no partition 1`},
		{change(func(r *schema.PartitionChange) { r.TopicID = idC }), "no topic has id"},
		{change(func(r *schema.PartitionChange) { r.Replicas = []int32{1, 2, 3} }), "2 directories for 3 replicas"},
		{change(func(r *schema.PartitionChange) { r.LeaderRecoveryState = 2 }), "leader recovery state 2"},
		{change(func(r *schema.PartitionChange) { r.Leader = -3 }), "leader -3"},
		{&schema.ClearElr{TopicName: "c"}, `no topic has name "c"`},
		{&schema.FenceBroker{ID: 2}, "broker 2 is not registered"},
		{&schema.UnfenceBroker{ID: 1, Epoch: 9}, "broker 1 has epoch 10, the record says 9"},
		{&schema.UnregisterBroker{BrokerID: 1, BrokerEpoch: 9}, "has epoch 10"},
		{&schema.BrokerRegistrationChange{BrokerID: 1, BrokerEpoch: 10, Fenced: 2}, "fenced is 2"},
		{&schema.BrokerRegistrationChange{BrokerID: 1, BrokerEpoch: 10, InControlledShutdown: -1}, "inControlledShutdown is -1"},
		{&schema.FeatureLevel{Name: MetadataVersionFeature, FeatureLevel: 31}, "metadata.version 31 is not supported"},
		{&schema.FeatureLevel{Name: MetadataVersionFeature, FeatureLevel: 6}, "7 (3.3-IV3) to 30 (4.3-IV0)"},
		{&schema.RemoveAccessControlEntry{ID: idA}, "no ACL has id"},
		{&schema.RemoveUserScramCredential{Name: "u", Mechanism: 1}, `user "u" has no credential of mechanism 1`},
		{&schema.RemoveDelegationToken{TokenID: "x"}, `no delegation token has id "x"`},
		{&schema.EndTransaction{}, "EndTransactionRecord: belongs to the reader of the log"},
		{&schema.LeaderChange{}, "unknown record"},
	} {
		image := someImage(t)
		before := dump(image)
		d := NewDelta(image)
		if err := d.Apply(tc.r); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Fatalf("%+v: got %v, want %q", tc.r, err, tc.want)
		}
		if diff := cmp.Diff(before, dump(d.Image(9, 1))); diff != "" {
			t.Fatalf("%+v changed something before it failed:\n%s", tc.r, diff)
		}
	}
}

func TestPartitionChange(t *testing.T) {
	d := NewDelta(someImage(t))
	r := schema.NewPartitionChange()
	r.TopicID, r.PartitionID, r.Leader, r.ISR = idA, 0, 1, []int32{1}
	mustApply(t, d, r) // the same leader again: the leader epoch rises all the same
	r = schema.NewPartitionChange()
	r.TopicID, r.PartitionID, r.ISR, r.EligibleLeaderReplicas, r.Leader, r.LeaderRecoveryState = idA, 0, []int32{}, []int32{1}, NoLeader, 1
	mustApply(t, d, r)
	image := d.Image(10, 1)
	got, _ := image.Partition("a", 0)
	want := &Partition{Replicas: []int32{1, 2}, ELR: []int32{1}, Directories: []schema.UUID{{1}, {2}}, Leader: NoLeader, LeaderEpoch: 7, PartitionEpoch: 9, Recovery: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	mustApply(t, d, &schema.ClearElr{})
	got, _ = d.Image(11, 1).Partition("a", 0)
	if got.ELR != nil || got.PartitionEpoch != 10 || got.LeaderEpoch != 7 {
		t.Fatalf("%+v", got)
	}
	if other, _ := image.Partition("b", 0); other.PartitionEpoch != 7 {
		t.Fatalf("%+v", other)
	}
}

// TestDirectoriesOfOldRecords: records before directory assignment leave them unknown, one a replica.
func TestDirectoriesOfOldRecords(t *testing.T) {
	d := NewDelta(someImage(t))
	p := partition(idA, 1)
	p.Directories = nil
	r := schema.NewPartitionChange()
	r.TopicID, r.PartitionID, r.Replicas = idA, 1, []int32{1, 2, 3}
	mustApply(t, d, p, r)
	got, _ := d.Image(9, 1).Partition("a", 1)
	if diff := cmp.Diff(make([]schema.UUID, 3), got.Directories); diff != "" {
		t.Fatal(diff)
	}
}

func TestPartitionsInAnyOrder(t *testing.T) {
	d := NewDelta(Empty())
	mustApply(t, d, &schema.Topic{Name: "a", TopicID: idA}, partition(idA, 3), partition(idA, 1), partition(idA, 1))
	image := d.Image(1, 1)
	if topic, _ := image.Topic("a"); len(topic.Partitions) != 0 || image.PartitionCount() != 0 || len(dump(image)) != 3 {
		t.Fatalf("%+v", topic)
	}
	d = NewDelta(image)
	change := schema.NewPartitionChange()
	change.TopicID, change.PartitionID, change.Leader = idA, 3, 2
	mustApply(t, d, change, partition(idA, 0))
	if got := d.Topics().Changed[0].Partitions; !cmp.Equal(got, []int32{0, 1}) {
		t.Fatal(got)
	}
	mustApply(t, d, partition(idA, 2))
	image = d.Image(2, 1)
	topic, _ := image.TopicByID(idA)
	if len(topic.Partitions) != 4 || image.PartitionCount() != 4 || topic.Partitions[3].Leader != 2 {
		t.Fatalf("%+v", topic)
	}
}

// TestWhatChanged pins the order in which publishers see changes.
func TestWhatChanged(t *testing.T) {
	d := NewDelta(someImage(t))
	v := "1"
	change := schema.NewPartitionChange()
	change.TopicID, change.PartitionID, change.Leader = idB, 1, 2
	mustApply(t, d,
		&schema.Topic{Name: "z", TopicID: schema.UUID{1}}, partition(schema.UUID{1}, 0), &schema.RemoveTopic{TopicID: schema.UUID{1}},
		change,
		&schema.RemoveTopic{TopicID: idA}, &schema.Topic{Name: "a", TopicID: idC}, partition(idC, 1), partition(idC, 0),
		&schema.Config{ResourceType: TopicConfig, ResourceName: "b", Name: "x", Value: &v},
		&schema.Config{ResourceType: BrokerConfig, ResourceName: "1", Name: "x", Value: &v},
		&schema.UnfenceBroker{ID: 1, Epoch: 10}, &schema.RegisterBroker{BrokerID: 3}, &schema.RegisterBroker{BrokerID: 2},
		&schema.ClientQuota{Entity: []schema.QuotaEntity{{EntityType: "user", EntityName: &v}, {EntityType: "client-id"}}, Key: "k"},
		&schema.AccessControlEntry{ID: idB}, &schema.AccessControlEntry{ID: idA},
		&schema.UserScramCredential{Name: "u", Mechanism: 2}, &schema.UserScramCredential{Name: "v", Mechanism: 1},
		&schema.DelegationToken{TokenID: "y"}, &schema.DelegationToken{TokenID: "x"},
		&schema.RegisterController{ControllerID: 9})
	got := fmt.Sprint(d.Topics().Deleted, d.Topics().Changed, d.Brokers(), d.Controllers(), d.Configs(), len(d.Quotas()), d.Quotas()[0][0].EntityType,
		d.ACLs(), d.SCRAMs(), d.DelegationTokens(), d.FeaturesChanged(), d.ProducerIDsChanged())
	want := fmt.Sprint([]schema.UUID{idA}, []TopicChange{{idC, "a", true, []int32{0, 1}}, {idB, "b", false, []int32{1}}}, []int32{1, 2, 3}, []int32{9},
		[]ConfigResource{{TopicConfig, "a"}, {TopicConfig, "b"}, {BrokerConfig, "1"}}, 1, "client-id",
		[]schema.UUID{idA, idB}, []ScramUser{{1, "v"}, {2, "u"}}, []string{"x", "y"}, false, false)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	mustApply(t, d, &schema.FeatureLevel{Name: KRaftVersionFeature, FeatureLevel: 1}, &schema.ProducerIds{NextProducerID: 1000})
	if d.FeaturesChanged() || !d.ProducerIDsChanged() {
		t.Fatal("kraft.version counts, or producer ids do not")
	}
}

func TestReadAPI(t *testing.T) {
	image := someImage(t)
	if image.Config(GroupConfig, "none")["x"] != "" || image.NextProducerID() != 0 || Empty().MetadataVersion() != 0 {
		t.Fatal("what is not there is not empty")
	}
	b, _ := image.Broker(1)
	if f, ok := b.Feature("a"); !ok || f.MaxSupportedVersion != 2 || len(b.Features) != 2 {
		t.Fatalf("%+v", b.Features)
	}
	if e, ok := b.Endpoint("PLAINTEXT"); !ok || e.Port != 9092 {
		t.Fatal(e)
	}
	if _, ok := b.Endpoint("SSL"); ok {
		t.Fatal("an endpoint out of nothing")
	}
	var names []string
	for name := range image.TopicsFrom("aa") {
		names = append(names, name)
	}
	if diff := cmp.Diff([]string{"b"}, names); diff != "" {
		t.Fatal(diff)
	}
	p, _ := image.Partition("a", 0)
	if dir, ok := p.Directory(2); !ok || dir != (schema.UUID{2}) {
		t.Fatal(dir)
	}
	for _, id := range []int32{-1, 1} {
		if _, ok := image.Partition("a", id); ok {
			t.Fatal(id)
		}
	}
}

func TestRecordVersions(t *testing.T) {
	for mv, want := range map[int16][3]int16{7: {1, 0, 0}, 8: {2, 0, 0}, 16: {2, 0, 0}, 17: {3, 1, 1}, 22: {3, 1, 1}, 23: {3, 2, 2}, 29: {3, 2, 2}, 30: {4, 2, 2}} {
		got := [3]int16{RecordVersion(&schema.RegisterBroker{}, mv), RecordVersion(&schema.Partition{}, mv), RecordVersion(&schema.PartitionChange{}, mv)}
		if got != want {
			t.Fatalf("metadata.version %d: %v, want %v", mv, got, want)
		}
	}
	for want, r := range []*schema.BrokerRegistrationChange{{Fenced: 1}, {InControlledShutdown: 1}, {LogDirs: []schema.UUID{{}}}, {CordonedLogDirs: []schema.UUID{}}} {
		if got := RecordVersion(r, 30); int(got) != want {
			t.Fatalf("%+v: %d", r, got)
		}
	}
	// An image of an old metadata.version leaves out what that version cannot say.
	d := NewDelta(someImage(t))
	mustApply(t, d, &schema.RegisterController{ControllerID: 1}, &schema.UserScramCredential{Name: "u"}, &schema.DelegationToken{TokenID: "t"})
	full := len(dump(d.Image(1, 1)))
	mustApply(t, d, &schema.FeatureLevel{Name: MetadataVersionFeature, FeatureLevel: 7})
	if old := len(dump(d.Image(1, 1))); old != full-3 {
		t.Fatalf("%d records of %d", old, full)
	}
}

func TestFeatures(t *testing.T) {
	for name, want := range map[string]int16{"3.3": 7, "3.3-IV3": 7, "3.5": 11, "3.7-IV2": 17, "4.0": 25, "4.3": 30, "4.3.1": 30, "4.3-IV0": 30} {
		if got, err := ParseMetadataVersion(name); err != nil || got != want {
			t.Fatalf("%s: %d, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "4", "4.4", "3.3-IV", "3.3-IV1", "30"} {
		if got, err := ParseMetadataVersion(name); err == nil {
			t.Fatalf("%q is %d", name, got)
		}
	}
	if MetadataVersionName(30) != "4.3-IV0" || MetadataVersionName(22) != "4.0-IV0" || MetadataVersionName(31) != "31" {
		t.Fatal(MetadataVersionName(30), MetadataVersionName(22), MetadataVersionName(31))
	}
	defaults := func(mv int16) (out []int16) {
		for _, f := range SupportedFeatures() {
			out = append(out, f.Default(mv))
		}
		return out
	}
	for mv, want := range map[int16][]int16{7: {0, 0, 0, 7, 0, 0, 0}, 24: {0, 1, 1, 24, 0, 0, 2}, 26: {1, 1, 1, 26, 0, 0, 2}, 30: {1, 1, 1, 30, 1, 1, 2}} {
		if diff := cmp.Diff(want, defaults(mv)); diff != "" {
			t.Fatalf("metadata.version %d:\n%s", mv, diff)
		}
	}
	at := func(mv int16) func(string) int16 { return func(string) int16 { return mv } }
	if CheckFeature(ELRVersionFeature, 1, at(22)) == nil || CheckFeature(ELRVersionFeature, 1, at(23)) != nil || CheckFeature(GroupVersionFeature, 1, at(6)) == nil {
		t.Fatal("dependencies of features")
	}
	if MetadataChanged(30, 29) != true || MetadataChanged(24, 29) || !MetadataChanged(22, 23) || MetadataChanged(30, 30) {
		t.Fatal("MetadataChanged")
	}
}

func BenchmarkPartitionChange(b *testing.B) {
	d := NewDelta(Empty())
	for n := range 1000 {
		id := schema.UUID{byte(n), byte(n >> 8)}
		_ = d.Apply(&schema.Topic{Name: fmt.Sprint("topic-", n), TopicID: id})
		for p := range int32(10) {
			_ = d.Apply(partition(id, p))
		}
	}
	image := d.Image(1, 1)
	change := schema.NewPartitionChange()
	change.TopicID, change.PartitionID, change.Leader = schema.UUID{7}, 3, 2
	b.ReportAllocs()
	for b.Loop() {
		d := NewDelta(image)
		if err := d.Apply(change); err != nil {
			b.Fatal(err)
		}
		image = d.Image(2, 1)
	}
}

func BenchmarkTopic(b *testing.B) {
	d := NewDelta(Empty())
	for n := range 1000 {
		_ = d.Apply(&schema.Topic{Name: fmt.Sprint("topic-", n), TopicID: schema.UUID{byte(n), byte(n >> 8)}})
	}
	image := d.Image(1, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := image.Topic("topic-500"); !ok {
			b.Fatal("not found")
		}
	}
}
