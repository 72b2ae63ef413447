// Package isr is the replica state of one partition at its leader: log end offsets of the followers, the in-sync
// replicas, the high watermark. It is pure: plain method calls, times passed in, no lock. The owner (package
// replica) guards it with the partition's replica lock and carries out what it answers.
//
// Rules (org.apache.kafka cluster.Partition; KIP-497, KIP-841, KIP-903, KIP-966):
//   - The maximal ISR is the committed ISR plus every replica that a proposed change would add. The high watermark
//     is the smallest log end offset in the maximal ISR, so a proposal that the controller may already have
//     committed can never have been passed by.
//   - The high watermark stands still while the committed ISR is smaller than the effective minimum
//     min(min.insync.replicas, number of replicas).
//   - One proposal is in flight at a time. It is settled by the controller's record or its refusal.
//   - A follower may join when its log end offset has reached the high watermark and the start of the leader's
//     epoch, when it is neither fenced nor shutting down, and when its broker epoch is the registered one.
package isr

import (
	"slices"
	"time"
)

// Assignment is what the metadata says of a partition.
type Assignment struct {
	Replicas       []int32
	ISR            []int32
	LeaderEpoch    int32
	PartitionEpoch int32
}

// Proposal is a change of the ISR that the controller shall commit (AlterPartition).
type Proposal struct {
	ISR            []int32
	LeaderEpoch    int32
	PartitionEpoch int32 // expected; the controller refuses another
}

// Leader is the state at the leader. The zero value is not useful; see New.
type Leader struct {
	self       int32
	assignment Assignment
	minISR     int
	epochStart int64 // log end offset when the epoch began
	localEnd   int64
	hw         int64
	followers  map[int32]*follower
	proposed   []int32 // nil: nothing in flight
}

type follower struct {
	end         int64     // its log end offset, -1 before its first fetch of this epoch
	start       int64     // its log start offset, -1 before its first fetch
	brokerEpoch int64     // of its last fetch, -1 if it sent none
	caughtUp    time.Time // last time its fetch reached what was then the leader's log end
	fetchedAt   time.Time
	leaderEnd   int64 // leader's log end at its last fetch
}

// New makes the state for an epoch that starts now, with the leader's log ending at logEnd and the high watermark that
// the local log knows.
func New(self int32, a Assignment, minISR int, logEnd, highWatermark int64, now time.Time) *Leader {
	l := &Leader{self: self, minISR: minISR, epochStart: logEnd, localEnd: logEnd, hw: highWatermark, followers: map[int32]*follower{}}
	l.assign(a, now)
	return l
}

func (l *Leader) assign(a Assignment, now time.Time) {
	l.assignment = a
	kept := make(map[int32]*follower, len(a.Replicas))
	for _, id := range a.Replicas {
		if id == l.self {
			continue
		}
		if f := l.followers[id]; f != nil {
			kept[id] = f
			continue
		}
		f := &follower{end: -1, start: -1, brokerEpoch: -1}
		if slices.Contains(a.ISR, id) {
			f.caughtUp = now // an in-sync replica gets the full lag time before it may be put out
		}
		kept[id] = f
	}
	l.followers = kept
}

// Committed takes in the controller's record for the same leader epoch: a new ISR, replica set or partition epoch.
// It settles a proposal in flight. The high watermark may rise.
func (l *Leader) Committed(a Assignment, now time.Time) (highWatermark int64, rose bool) {
	l.proposed = nil
	l.assign(a, now)
	return l.raise()
}

// Refused settles the proposal in flight without a change.
func (l *Leader) Refused() { l.proposed = nil }

// SetMinISR changes min.insync.replicas. The high watermark may rise.
func (l *Leader) SetMinISR(n int) (highWatermark int64, rose bool) {
	l.minISR = n
	return l.raise()
}

// Appended takes in the leader's own log end. Calls may come out of order; the largest end counts.
func (l *Leader) Appended(logEnd int64) (highWatermark int64, rose bool) {
	l.localEnd = max(l.localEnd, logEnd)
	return l.raise()
}

// Fetch is what a follower's fetch tells its leader.
type Fetch struct {
	Replica     int32
	BrokerEpoch int64 // -1 from followers that do not send it
	Offset      int64 // its log end offset
	LogStart    int64
}

// Fetched takes in a follower's fetch. A fetch of a broker that is no replica changes nothing.
func (l *Leader) Fetched(f Fetch, now time.Time) (highWatermark int64, rose bool) {
	r := l.followers[f.Replica]
	if r == nil {
		return l.hw, false
	}
	// A replica is caught up as of now when it asks for the leader's end, and as of its last fetch when it
	// asks for what was the end then (KIP-16).
	switch {
	case f.Offset >= l.localEnd:
		r.caughtUp = latest(r.caughtUp, now)
	case f.Offset >= r.leaderEnd && !r.fetchedAt.IsZero():
		r.caughtUp = latest(r.caughtUp, r.fetchedAt)
	}
	r.end, r.start, r.brokerEpoch = f.Offset, f.LogStart, f.BrokerEpoch
	r.fetchedAt, r.leaderEnd = now, l.localEnd
	return l.raise()
}

// Alive says what the metadata knows of a broker: registered and usable for an ISR, and its broker epoch.
type Alive func(broker int32) (brokerEpoch int64, eligible bool)

// Expand proposes to let one follower in, if it may join and nothing is in flight.
func (l *Leader) Expand(replica int32, alive Alive) (Proposal, bool) {
	r := l.followers[replica]
	if r == nil || l.proposed != nil || slices.Contains(l.assignment.ISR, replica) {
		return Proposal{}, false
	}
	epoch, eligible := alive(replica)
	if !eligible || r.brokerEpoch != -1 && r.brokerEpoch != epoch || r.end < max(l.hw, l.epochStart) {
		return Proposal{}, false
	}
	return l.propose(append(slices.Clone(l.assignment.ISR), replica)), true
}

// Shrink proposes to put out every follower that has not been caught up for longer than lag
// (replica.lag.time.max.ms), if nothing is in flight.
func (l *Leader) Shrink(now time.Time, lag time.Duration) (Proposal, bool) {
	if l.proposed != nil {
		return Proposal{}, false
	}
	isr := slices.DeleteFunc(slices.Clone(l.assignment.ISR), func(id int32) bool {
		f := l.followers[id]
		return f != nil && f.end != l.localEnd && now.Sub(f.caughtUp) > lag
	})
	if len(isr) == len(l.assignment.ISR) {
		return Proposal{}, false
	}
	return l.propose(isr), true
}

func (l *Leader) propose(isr []int32) Proposal {
	l.proposed = isr
	return Proposal{ISR: isr, LeaderEpoch: l.assignment.LeaderEpoch, PartitionEpoch: l.assignment.PartitionEpoch}
}

// raise moves the high watermark to the smallest log end of the maximal ISR, if it may move at all.
func (l *Leader) raise() (int64, bool) {
	if len(l.assignment.ISR) < l.EffectiveMinISR() {
		return l.hw, false
	}
	hw := l.localEnd
	for _, id := range l.assignment.Replicas {
		if f := l.followers[id]; f != nil && (slices.Contains(l.assignment.ISR, id) || slices.Contains(l.proposed, id)) {
			hw = min(hw, f.end)
		}
	}
	if hw <= l.hw {
		return l.hw, false
	}
	l.hw = hw
	return hw, true
}

// HighWatermark is the offset that every in-sync replica has passed.
func (l *Leader) HighWatermark() int64 { return l.hw }

// EffectiveMinISR is min(min.insync.replicas, number of replicas), KIP-966.
func (l *Leader) EffectiveMinISR() int { return min(l.minISR, len(l.assignment.Replicas)) }

// EnoughInSync says whether acks=all may be promised: NOT_ENOUGH_REPLICAS before the append,
// NOT_ENOUGH_REPLICAS_AFTER_APPEND after it.
func (l *Leader) EnoughInSync() bool { return len(l.assignment.ISR) >= l.EffectiveMinISR() }

// Assignment is what was last committed.
func (l *Leader) Assignment() Assignment { return l.assignment }

// LowWatermark is the smallest log start offset over the alive replicas, the answer of DeleteRecords.
func (l *Leader) LowWatermark(localStart int64, alive Alive) int64 {
	low := localStart
	for _, id := range l.assignment.Replicas {
		if f := l.followers[id]; f != nil {
			if _, ok := alive(id); ok {
				low = min(low, f.start)
			}
		}
	}
	return low
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
