package controller

import (
	"slices"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// Leader values of a PartitionChange record that are not broker ids.
const (
	noLeader       = metadata.NoLeader
	noLeaderChange = int32(-2)
)

// Leader recovery states (KIP-704).
const (
	recovered  = int8(0)
	recovering = int8(1)
)

// Keys that the controller itself obeys.
const (
	configMinInSync             = "min.insync.replicas"
	configUncleanLeaderElection = "unclean.leader.election.enable"
	configCordonedLogDirs       = "cordoned.log.dirs"
)

// electionKind says how far an election may go to find a leader.
type electionKind int8

const (
	electOnline    electionKind = iota // keep the leader, else any replica of the ISR (or of the ELR when the ISR is empty)
	electPreferred                     // the first replica, if it is in the ISR; else as online
	electUnclean                       // as online, else any live replica, with data loss
)

// change works out the one PartitionChange record that leads a partition from its state to a target: it completes a
// reassignment that is ready, keeps the ELR (KIP-966), elects a leader, and bumps the leader epoch where replicas must
// notice. The caller sets targets and calls record.
type change struct {
	partitionKey
	now             *partition
	mv              int16
	elr             bool // KIP-966 is on
	minISR          int
	acceptable      func(broker int32) bool // may lead: active, and its replica's directory is online
	defaultDir      func(broker int32) schema.UUID
	election        electionKind
	isr             []int32
	replicas        []int32
	adding          []int32
	removing        []int32
	eligible        []int32
	recovery        int8
	directories     map[int32]schema.UUID // replica -> directory, for those that have one
	uncleanShutdown int32                 // broker that lost its log's tail: leaves the ELR; noLeader if none
}

// record gives the record, or nil if nothing changes.
func (c *change) record() *schema.PartitionChange {
	r := schema.NewPartitionChange()
	r.TopicID, r.PartitionID = c.topic, c.partition
	c.completeReassignment()
	c.keepEligible()
	c.elect(r)
	// Replicas that leave must hear of it: their leader's epoch rises.
	if r.Leader == noLeaderChange && !containsAll(c.replicas, c.now.Replicas) {
		r.Leader = c.now.Leader
	}
	unclean := r.ISR != nil
	if unclean || !c.elr {
		c.eligible = []int32{}
	}
	if !slices.Equal(c.eligible, c.now.ELR) {
		r.EligibleLeaderReplicas = notNil(c.eligible)
	}
	// Without ELR the ISR never becomes empty: its last member stays, so that a clean leader can come back.
	if r.ISR == nil && (len(c.isr) > 0 || c.elr) && !slices.Equal(c.isr, c.now.ISR) {
		r.ISR = notNil(c.isr)
	}
	// Brokers before 3.6 needed the bump on every shrink (KAFKA-15021).
	if c.mv < metadata.MVNoEpochBumpOnISRShrink && r.Leader == noLeaderChange && r.ISR != nil && !containsAll(r.ISR, c.now.ISR) {
		r.Leader = c.now.Leader
	}
	c.lastKnownLeader(r)
	c.assignment(r)
	if c.recovery != c.now.Recovery {
		r.LeaderRecoveryState = c.recovery
	}
	if r.ISR == nil && r.EligibleLeaderReplicas == nil && r.LastKnownELR == nil && r.Leader == noLeaderChange &&
		r.Replicas == nil && r.RemovingReplicas == nil && r.AddingReplicas == nil && r.LeaderRecoveryState == -1 && r.Directories == nil {
		return nil
	}
	return r
}

// completeReassignment takes the removed replicas out when every added one is in the ISR. When the factor shrinks, it
// waits for the whole target to be in the ISR: completing earlier would shrink the ISR for nothing.
func (c *change) completeReassignment() {
	if len(c.removing) == 0 && len(c.adding) == 0 {
		return
	}
	isr, replicas := without(c.isr, c.removing), without(c.replicas, c.removing)
	if len(c.removing) > 0 && (len(isr) == 0 || len(replicas) == 0) {
		return
	}
	if !containsAll(isr, c.adding) || len(c.adding) < len(c.removing) && !containsAll(isr, replicas) {
		return
	}
	c.isr, c.replicas, c.removing, c.adding = isr, replicas, []int32{}, []int32{}
}

// keepEligible moves what leaves the ISR into the ELR while the ISR is smaller than min.insync.replicas: those replicas
// hold everything that was ever acknowledged. Replicas that shut down uncleanly do not.
func (c *change) keepEligible() {
	if !c.elr {
		return
	}
	if len(c.isr) >= c.minISR {
		c.eligible = []int32{}
		return
	}
	eligible := []int32{}
	for _, id := range slices.Concat(c.eligible, c.now.ISR) {
		if !slices.Contains(c.isr, id) && !slices.Contains(eligible, id) && id != c.uncleanShutdown {
			eligible = append(eligible, id)
		}
	}
	slices.Sort(eligible)
	c.eligible = eligible
}

func (c *change) elect(r *schema.PartitionChange) {
	leader, unclean := c.leader()
	if leader == c.now.Leader {
		return
	}
	switch {
	case slices.Contains(c.eligible, leader):
		c.isr, c.eligible = []int32{leader}, without(c.eligible, []int32{leader})
	case unclean:
		// What the others hold beyond the new leader's log is lost.
		r.ISR = []int32{leader}
		if c.now.Recovery != recovering {
			r.LeaderRecoveryState = recovering
		}
	}
	r.Leader = leader
}

func (c *change) leader() (id int32, unclean bool) {
	if c.election == electPreferred && len(c.replicas) > 0 && c.valid(c.replicas[0]) {
		return c.replicas[0], false
	}
	if c.valid(c.now.Leader) {
		return c.now.Leader, false
	}
	if i := slices.IndexFunc(c.replicas, c.valid); i >= 0 {
		return c.replicas[i], false
	}
	if c.lastKnownMayLead() {
		return c.now.LastKnownELR[0], true
	}
	if c.election == electUnclean {
		if i := slices.IndexFunc(c.replicas, c.acceptable); i >= 0 {
			return c.replicas[i], true
		}
	}
	return noLeader, false
}

func (c *change) valid(id int32) bool {
	member := slices.Contains(c.isr, id) || len(c.isr) == 0 && slices.Contains(c.eligible, id)
	return member && c.acceptable(id)
}

// lastKnownMayLead says whether the leader that was there when ISR and ELR ran empty may come back: it is the replica
// with the best chance to hold everything, though nobody can promise it.
func (c *change) lastKnownMayLead() bool {
	return c.elr && len(c.eligible) == 0 && len(c.isr) == 0 && len(c.now.LastKnownELR) == 1 && c.acceptable(c.now.LastKnownELR[0])
}

// lastKnownLeader remembers the leader when the partition first loses it, and forgets it when there is one again.
func (c *change) lastKnownLeader(r *schema.PartitionChange) {
	switch {
	case !c.elr:
	case r.Leader == noLeader && c.now.Leader >= 0 && len(c.now.LastKnownELR) == 0:
		r.LastKnownELR = []int32{c.now.Leader}
	case r.Leader >= 0 && len(c.now.LastKnownELR) > 0:
		r.LastKnownELR = []int32{}
	}
}

func (c *change) assignment(r *schema.PartitionChange) {
	if len(c.replicas) > 0 {
		if c.mv >= metadata.MVDirectoryAssignment {
			directories := make([]schema.UUID, len(c.replicas))
			for i, id := range c.replicas {
				dir, ok := c.directories[id]
				if !ok {
					dir = c.defaultDir(id)
				}
				directories[i] = dir
			}
			if !slices.Equal(directories, c.now.Directories) {
				r.Directories = directories
			}
		}
		if !slices.Equal(c.replicas, c.now.Replicas) {
			r.Replicas = c.replicas
		}
	}
	if !slices.Equal(c.removing, c.now.Removing) {
		r.RemovingReplicas = notNil(c.removing)
	}
	if !slices.Equal(c.adding, c.now.Adding) {
		r.AddingReplicas = notNil(c.adding)
	}
}

// notNil makes "nothing" different from "unchanged", which is what nil means in a PartitionChange.
func notNil(ids []int32) []int32 {
	if ids == nil {
		return []int32{}
	}
	return ids
}

func containsAll(ids, wanted []int32) bool {
	for _, id := range wanted {
		if !slices.Contains(ids, id) {
			return false
		}
	}
	return true
}

// without gives the ids that are not in drop, in a new slice.
func without(ids, drop []int32) []int32 {
	kept := make([]int32, 0, len(ids))
	for _, id := range ids {
		if !slices.Contains(drop, id) {
			kept = append(kept, id)
		}
	}
	return kept
}
