package share

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/share/delivery"
)

// The coordinator may be loading, or moving: that is tried again, from backoffMin on in doubling intervals, for as long as
// members are to wait for what becomes of their acknowledgements.
const (
	backoffMin = 50 * time.Millisecond
	backoffMax = 5 * time.Second
	patience   = 15 * time.Second
)

// load reads the state. It is called once, before anybody else knows the share partition's state.
func (p *partition) load() {
	stop := p.replica.Watch(p)
	p.mu.Lock()
	gone := p.phase == dropped
	if !gone {
		p.unwatch = stop
	}
	p.mu.Unlock()
	if gone {
		stop()
		return
	}
	if err := p.led(); err != nil { // it went before the watch
		p.drop(err)
		return
	}
	req := kmsg.NewPtrReadShareGroupStateRequest()
	req.GroupID = p.group
	t := kmsg.NewReadShareGroupStateRequestTopic()
	t.TopicID = p.ID
	x := kmsg.NewReadShareGroupStateRequestTopicPartition()
	x.Partition, x.LeaderEpoch = p.Index, p.epoch
	t.Partitions = append(t.Partitions, x)
	req.Topics = append(req.Topics, t)
	p.call(req, 0, p.set.Now(), p.loaded)
}

// call asks the persister, again if it was not ready. then runs without a lock.
func (p *partition) call(req kmsg.Request, attempt int, since time.Time, then func(kmsg.Response)) {
	p.set.Persister.Call(req, func(resp kmsg.Response) {
		code, _ := outcome(resp, p.TopicPartition)
		if again(code) {
			left := patience - p.set.Now().Sub(since)
			if left > 0 && p.retry(min(backoffMin<<min(attempt, 10), backoffMax, left), func() { p.call(req, attempt+1, since, then) }) {
				return
			}
		}
		then(resp)
	})
}

func again(code int16) bool {
	switch code {
	case kerr.CoordinatorNotAvailable.Code, kerr.CoordinatorLoadInProgress.Code, kerr.NotCoordinator.Code, kerr.NetworkException.Code:
		return true
	}
	return false
}

// retry runs f after a while, unless the share partition is dropped.
func (p *partition) retry(d time.Duration, f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase == dropped {
		return false
	}
	p.backoff = p.set.tasks.After(d, func() {
		p.mu.Lock()
		gone := p.phase == dropped
		p.backoff = nil
		p.mu.Unlock()
		if !gone {
			f()
		}
	})
	return true
}

// outcome is what the persister says of the partition.
func outcome(resp kmsg.Response, tp TopicPartition) (code int16, message *string) {
	switch r := resp.(type) {
	case *kmsg.ReadShareGroupStateResponse:
		if s := stateOf(r, tp); s != nil {
			return s.ErrorCode, s.ErrorMessage
		}
	case *kmsg.WriteShareGroupStateResponse:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				if x := &r.Topics[i].Partitions[j]; r.Topics[i].TopicID == tp.ID && x.Partition == tp.Index {
					return x.ErrorCode, x.ErrorMessage
				}
			}
		}
	}
	return kerr.UnknownServerError.Code, nil
}

func stateOf(r *kmsg.ReadShareGroupStateResponse, tp TopicPartition) *kmsg.ReadShareGroupStateResponseTopicPartition {
	for i := range r.Topics {
		for j := range r.Topics[i].Partitions {
			if x := &r.Topics[i].Partitions[j]; r.Topics[i].TopicID == tp.ID && x.Partition == tp.Index {
				return x
			}
		}
	}
	return nil
}

// failure is what members hear of a failed read or write; it unwraps to Kafka's error. lost: somebody else leads, or
// the group or its state is gone, and this share partition with it.
type failure struct {
	kafka *kerr.Error
	text  string
}

func (e *failure) Error() string { return e.text }
func (e *failure) Unwrap() error { return e.kafka }

func failed(code int16, message *string) (err error, lost bool) {
	e := &failure{kafka: kerr.UnknownServerError}
	switch code {
	case 0:
		return nil, false
	case kerr.CoordinatorNotAvailable.Code, kerr.CoordinatorLoadInProgress.Code, kerr.NotCoordinator.Code:
		e.kafka = kerr.CoordinatorNotAvailable
	case kerr.InvalidRequest.Code: // there is no state
		lost = true
	case kerr.GroupIDNotFound.Code:
		e.kafka, lost = kerr.GroupIDNotFound, true
	case kerr.UnknownTopicOrPartition.Code:
		e.kafka, lost = kerr.UnknownTopicOrPartition, true
	case kerr.FencedLeaderEpoch.Code, kerr.FencedStateEpoch.Code:
		e.kafka, lost = kerr.NotLeaderForPartition, true
	}
	e.text = e.kafka.Description
	if message != nil {
		e.text = *message
	}
	return e, lost
}

// loaded takes in the state and lets the fetches go on that wait for it.
func (p *partition) loaded(resp kmsg.Response) {
	code, message := outcome(resp, p.TopicPartition)
	if err, lost := failed(code, message); err != nil {
		p.unloaded(err, lost)
		return
	}
	x := stateOf(resp.(*kmsg.ReadShareGroupStateResponse), p.TopicPartition)
	if x.StartOffset != -1 {
		p.activate(x.StartOffset, x)
		return
	}
	g := p.set.Group(p.group)
	if g.Reset != ByDuration {
		p.begins(g, x)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase != dropped {
		p.set.tasks.Go(func() { p.begins(g, x) }) // it reads the log, and this goroutine is the persister's
	}
}

// begins finds where a group without state begins.
func (p *partition) begins(g Group, x *kmsg.ReadShareGroupStateResponseTopicPartition) {
	start, err := p.began(g)
	if err != nil {
		p.unloaded(err, false)
		return
	}
	p.activate(start, x)
}

// activate begins with the state.
func (p *partition) activate(start int64, x *kmsg.ReadShareGroupStateResponseTopicPartition) {
	var states []delivery.StateBatch
	for _, b := range x.StateBatches {
		states = append(states, delivery.StateBatch{First: b.FirstOffset, Last: b.LastOffset, State: delivery.State(b.DeliveryState), Deliveries: b.DeliveryCount})
	}
	p.mu.Lock()
	if p.phase == dropped {
		p.mu.Unlock()
		return
	}
	err := p.state.Load(start, x.StateEpoch, states)
	if err == nil {
		p.phase = active
	}
	woken := p.everybody()
	idle := p.idle()
	p.mu.Unlock()
	if err != nil {
		p.unloaded(err, false)
		return
	}
	wakeAll(woken)
	if idle { // the group went while it was loaded
		p.drop(errRetired)
	}
}

// unloaded gives up what could not be loaded. lost: as happens when groups go and leaders move.
func (p *partition) unloaded(err error, lost bool) {
	log, text := p.set.Logger.Warn, "the state of a share partition could not be read"
	switch {
	case lost:
		log = p.set.Logger.Debug
	case errors.Is(err, delivery.ErrState):
		log, text = p.set.Logger.Error, "the state of a share partition cannot be used"
	}
	log(text, "group", p.group, "topic", p.replica.Topic, "partition", p.Index, "error", err)
	p.drop(err)
}

// pump writes what waits to be written, one request at a time.
func (p *partition) pump() {
	p.mu.Lock()
	if p.writing || p.phase != active {
		p.mu.Unlock()
		return
	}
	w, ok := p.state.Take()
	p.writing = ok
	p.mu.Unlock()
	if ok {
		p.call(p.request(w), 0, p.set.Now(), p.written)
	}
}

func (p *partition) request(w delivery.Write) kmsg.Request {
	req := kmsg.NewPtrWriteShareGroupStateRequest()
	req.Version, req.GroupID = 1, p.group
	t := kmsg.NewWriteShareGroupStateRequestTopic()
	t.TopicID = p.ID
	x := kmsg.NewWriteShareGroupStateRequestTopicPartition()
	x.Partition, x.StateEpoch, x.LeaderEpoch, x.StartOffset = p.Index, w.StateEpoch, p.epoch, w.StartOffset
	x.DeliveryCompleteCount = int32(w.DeliveryComplete)
	for _, b := range w.Batches {
		s := kmsg.NewWriteShareGroupStateRequestTopicPartitionStateBatch()
		s.FirstOffset, s.LastOffset, s.DeliveryState, s.DeliveryCount = b.First, b.Last, int8(b.State), b.Deliveries
		x.StateBatches = append(x.StateBatches, s)
	}
	t.Partitions = append(t.Partitions, x)
	req.Topics = append(req.Topics, t)
	return req
}

// written keeps or undoes what was written, and goes on with what came meanwhile.
func (p *partition) written(resp kmsg.Response) {
	code, message := outcome(resp, p.TopicPartition)
	err, lost := failed(code, message)
	if lost {
		p.drop(err) // tells those who wait
		return
	}
	now := p.set.Now()
	p.mu.Lock()
	if p.phase == dropped {
		p.mu.Unlock()
		return
	}
	p.writing = false
	done := p.state.Written(err == nil, now)
	p.setAlarm(now)
	var woken []*waitingFetch
	if p.full || p.state.Free() {
		p.full = false
		p.news++
		woken = p.invite()
	}
	idle := p.idle()
	p.mu.Unlock()
	wakeAll(woken)
	tell(done, err)
	if idle {
		p.drop(errRetired)
		return
	}
	p.pump()
}
