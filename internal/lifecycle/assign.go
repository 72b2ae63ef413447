package lifecycle

import (
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// ErrSuperseded says that a replica was assigned to another directory before the controller heard of this one, or that it is no
// replica of this broker any more.
var ErrSuperseded = errors.New("lifecycle: the assignment of the replica is out of date")

// Bounds of AssignReplicasToDirs, as Apache has them.
const (
	assignmentsMax = 2250 // replicas in one request
	assignBackoff  = 100 * time.Millisecond
	assignWaitMax  = 10 * time.Second
)

// replicaKey names a replica of this broker.
type replicaKey struct {
	topic     schema.UUID
	partition int32
}

// assignment is a replica's directory of which the controller is to hear.
type assignment struct {
	key  replicaKey
	dir  schema.UUID
	done func(error)
}

// assigning is what waits for AssignReplicasToDirs: decided here, sent by Assignments.run, which owns it.
type assigning struct {
	id       int32
	epoch    func() int64
	image    func() *metadata.Image
	ready    []assignment // the last of a replica counts
	inFlight []assignment
	failures int
}

// add notes an assignment; one of the same replica that waits is superseded.
func (a *assigning) add(x assignment) {
	a.ready = slices.DeleteFunc(a.ready, func(old assignment) bool {
		if old.key != x.key {
			return false
		}
		old.done(ErrSuperseded)
		return true
	})
	a.ready = append(a.ready, x)
}

// next takes what fits a request, nil if there is nothing to send. What the metadata has no place for is dropped.
func (a *assigning) next() *kmsg.AssignReplicasToDirsRequest {
	if len(a.ready) == 0 || len(a.inFlight) > 0 || a.epoch() < 0 {
		return nil
	}
	image := a.image()
	a.ready = slices.DeleteFunc(a.ready, func(x assignment) bool {
		if a.mine(image, x.key) {
			return false
		}
		x.done(ErrSuperseded)
		return true
	})
	n := min(len(a.ready), assignmentsMax)
	if n == 0 {
		return nil
	}
	a.inFlight = slices.Clone(a.ready[:n])
	a.ready = slices.Delete(a.ready, 0, n)
	r := kmsg.NewPtrAssignReplicasToDirsRequest()
	r.BrokerID, r.BrokerEpoch = a.id, a.epoch()
	for _, x := range a.inFlight {
		addTo(r, x)
	}
	return r
}

func (a *assigning) mine(image *metadata.Image, k replicaKey) bool {
	t, ok := image.TopicByID(k.topic)
	if !ok {
		return false
	}
	p, ok := t.Partition(k.partition)
	return ok && slices.Contains(p.Replicas, a.id)
}

func addTo(r *kmsg.AssignReplicasToDirsRequest, x assignment) {
	d := slices.IndexFunc(r.Directories, func(d kmsg.AssignReplicasToDirsRequestDirectory) bool { return d.ID == x.dir })
	if d < 0 {
		d = len(r.Directories)
		r.Directories = append(r.Directories, kmsg.AssignReplicasToDirsRequestDirectory{ID: x.dir})
	}
	dir := &r.Directories[d]
	t := slices.IndexFunc(dir.Topics, func(t kmsg.AssignReplicasToDirsRequestDirectoryTopic) bool { return t.TopicID == x.key.topic })
	if t < 0 {
		t = len(dir.Topics)
		dir.Topics = append(dir.Topics, kmsg.AssignReplicasToDirsRequestDirectoryTopic{TopicID: x.key.topic})
	}
	dir.Topics[t].Partitions = append(dir.Topics[t].Partitions,
		kmsg.AssignReplicasToDirsRequestDirectoryTopicPartition{Partition: x.key.partition})
}

// took takes in an answer. What failed as a whole is tried again after the wait that it gives.
func (a *assigning) took(resp kmsg.Response) (wait time.Duration) {
	sent := a.inFlight
	a.inFlight = nil
	r, ok := resp.(*kmsg.AssignReplicasToDirsResponse)
	if ok && r.ErrorCode == kerr.UnsupportedVersion.Code { // the metadata.version knows no directories: nobody need agree
		for _, x := range sent {
			x.done(nil)
		}
		return 0
	}
	if !ok || r.ErrorCode != 0 {
		a.failures++
		a.again(sent)
		return min(assignBackoff<<min(a.failures-1, 10), assignWaitMax)
	}
	a.failures = 0
	codes := map[replicaKey]int16{}
	for _, d := range r.Directories {
		for _, t := range d.Topics {
			for _, p := range t.Partitions {
				codes[replicaKey{t.TopicID, p.Partition}] = p.ErrorCode
			}
		}
	}
	for _, x := range sent {
		code, told := codes[x.key]
		if !told {
			code = kerr.UnknownServerError.Code
		}
		x.done(kerr.ErrorForCode(code))
	}
	return 0
}

// again puts assignments back, unless newer ones of the same replicas wait.
func (a *assigning) again(sent []assignment) {
	for _, x := range sent {
		if slices.ContainsFunc(a.ready, func(y assignment) bool { return y.key == x.key }) {
			x.done(ErrSuperseded)
			continue
		}
		a.ready = append(a.ready, x)
	}
}
