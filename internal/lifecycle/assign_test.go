package lifecycle

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// imageOf has one topic with so many partitions, of this broker.
func imageOf(t *testing.T, id schema.UUID, partitions int) *metadata.Image {
	t.Helper()
	d := metadata.NewDelta(metadata.Empty())
	records := []schema.Record{&schema.Topic{Name: "t", TopicID: id}}
	for i := range partitions {
		records = append(records, &schema.Partition{TopicID: id, PartitionID: int32(i), Replicas: []int32{1}, ISR: []int32{1}, Leader: 1})
	}
	for _, r := range records {
		if err := d.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	return d.Image(1, 1)
}

// Assignments are told in few requests, one at a time; the last of a replica counts; what fails as a whole is told again; what is no
// replica any more is dropped.
func TestAssignments(t *testing.T) {
	topic, one, two := schema.UUID{1}, schema.UUID{0xa}, schema.UUID{0xb}
	var heard []string
	a := assigning{id: 1, epoch: func() int64 { return 5 }, image: func() *metadata.Image { return imageOf(t, topic, 3) }}
	add := func(p int32, dir schema.UUID) {
		a.add(assignment{replicaKey{topic, p}, dir, func(err error) { heard = append(heard, fmt.Sprint(p, " ", err)) }})
	}
	want := func(what string, list ...string) {
		t.Helper()
		if diff := cmp.Diff(list, heard); diff != "" {
			t.Fatal(what, diff)
		}
		heard = nil
	}
	add(0, one)
	add(0, two)
	want("superseded", "0 "+ErrSuperseded.Error())
	add(1, one)
	add(9, one)
	r := a.next()
	want("no replica", "9 "+ErrSuperseded.Error())
	if r == nil || r.BrokerEpoch != 5 || len(r.Directories) != 2 || a.next() != nil {
		t.Fatalf("%+v", r)
	}
	resp := r.ResponseKind().(*kmsg.AssignReplicasToDirsResponse)
	resp.ErrorCode = kerr.StaleBrokerEpoch.Code
	add(1, two) // while the request is on its way
	if wait := a.took(resp); wait <= 0 {
		t.Fatal("it is told again at once")
	}
	want("superseded on its way", "1 "+ErrSuperseded.Error())
	r = a.next()
	if r == nil || len(r.Directories) != 1 || schema.UUID(r.Directories[0].ID) != two || len(r.Directories[0].Topics[0].Partitions) != 2 {
		t.Fatalf("%+v", r)
	}
	resp = r.ResponseKind().(*kmsg.AssignReplicasToDirsResponse)
	resp.Directories = []kmsg.AssignReplicasToDirsResponseDirectory{{ID: two, Topics: []kmsg.AssignReplicasToDirsResponseDirectoryTopic{{TopicID: topic,
		Partitions: []kmsg.AssignReplicasToDirsResponseDirectoryTopicPartition{{Partition: 0}, {Partition: 1, ErrorCode: kerr.UnknownTopicID.Code}}}}}}
	if wait := a.took(resp); wait != 0 {
		t.Fatal(wait)
	}
	if len(heard) != 2 {
		t.Fatal(heard)
	}
	if a.next() != nil {
		t.Fatal("there is nothing left to tell")
	}
}

// A failed directory is told with each heartbeat, at once, and left out of the next registration; a controller that does not hear of
// it in time ends the node.
func TestDirectoryFails(t *testing.T) {
	one, two := schema.UUID{0xa}, schema.UUID{0xb}
	synctest.Test(t, func(t *testing.T) {
		var fatal error
		now := time.Now
		l := life{epoch: 7, state: Running, c: Config{ID: 1, Directories: []schema.UUID{one, two}, Now: now, FailureTimeout: 30 * time.Second,
			Image: metadata.Empty, HeartbeatInterval: time.Second, Fatal: func(err error) { fatal = err }}}
		beat := func() *kmsg.BrokerHeartbeatRequest { return l.next().(*kmsg.BrokerHeartbeatRequest) }
		if r := beat(); len(r.OfflineLogDirs) != 0 || r.CordonedLogDirs != nil {
			t.Fatalf("%+v", r)
		}
		l.directoryFailed(two)
		l.directoryFailed(two)
		if r := beat(); len(r.OfflineLogDirs) != 1 || r.OfflineLogDirs[0] != [16]byte(two) {
			t.Fatalf("%+v", r)
		}
		time.Sleep(29 * time.Second)
		if l.overdue() {
			t.Fatal("too early")
		}
		time.Sleep(time.Second)
		x := Lifecycle{life: l}
		x.watchFailures()
		if fatal == nil || !l.overdue() {
			t.Fatal("nobody hears that the controller does not")
		}
		if _, _, err := l.took(&kmsg.BrokerHeartbeatResponse{IsCaughtUp: true}); err != nil || l.overdue() {
			t.Fatal(err)
		}
		l.cordoned = []schema.UUID{one}
		if r := beat(); len(r.OfflineLogDirs) != 1 || len(r.CordonedLogDirs) != 1 {
			t.Fatalf("%+v", r)
		}
		l.state = Starting
		if r := l.next().(*kmsg.BrokerRegistrationRequest); len(r.LogDirs) != 1 || r.LogDirs[0] != [16]byte(one) {
			t.Fatalf("%+v", r.LogDirs)
		}
	})
}
