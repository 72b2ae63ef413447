// Package raft is KRaft's core (KIP-595, KIP-853) as a pure state machine in the shape of etcd's: what happened goes
// in (Step, Appended, Flushed), what must be done comes out of Ready. It knows no log file, network or clock.
//
// This version serves a quorum of one voter, the node itself: New refuses another. What a quorum of several adds are
// further Step inputs (votes, fetches, epochs) and messages in Ready; states, epochs, the durable quorum state and the
// rule of commitment stay as they are.
//
// The driver carries out a Ready in this order, or a crash between two steps can break what Raft promises:
//
//  1. write and fsync State (an epoch or a vote that was answered must not be forgotten);
//  2. append Control to the log, under Epoch, and call Appended;
//  3. whenever the log was fsynced, call Flushed: a leader counts itself only up to what it cannot lose.
package raft

import (
	"fmt"
	"slices"

	"github.com/klamm-io/klamm/internal/schema"
)

// Role is what a node is in an epoch.
type Role int8

// The roles that a quorum of one goes through.
const (
	Unattached Role = iota // knows no leader of its epoch
	Candidate              // has voted for itself
	Leader
	Resigned // has given up leadership and will not stand again
)

func (r Role) String() string {
	return [...]string{"Unattached", "Candidate", "Leader", "Resigned"}[r]
}

// Voter is a member of the quorum.
type Voter struct {
	ID        int32
	Directory schema.UUID // zero with kraft.version 0
}

// Options start a core from what the disk holds.
type Options struct {
	ID           int32
	Directory    schema.UUID
	Voters       []Voter // with kraft.version 0 from the configuration, with 1 from the log or a snapshot
	KRaftVersion int16
	State        *schema.QuorumState // quorum-state; nil on an empty disk
	LogEnd       int64               // log end offset
	LogEpoch     int32               // epoch of the last batch, 0 on an empty log
	Committed    int64               // high watermark that is known to be safe: the newest snapshot's end
}

// Core is one node's part in the quorum.
type Core struct {
	self    Voter
	version int16
	voters  []Voter

	role    Role
	epoch   int32
	state   schema.QuorumState
	start   int64 // offset of the leader's LeaderChange record
	logEnd  int64
	durable int64
	hw      int64

	ready Ready
}

// Ready is what the driver must do now. The zero value is nothing.
type Ready struct {
	State   *schema.QuorumState // to be written and fsynced first
	Control []schema.Record     // to be appended as one control batch of Epoch
	Elected bool                // this node leads Epoch; its LeaderChange stands in Control
	Epoch   int32
}

// New makes the core of a node that has just started. It does nothing until Start.
func New(o Options) (*Core, error) {
	if len(o.Voters) != 1 || o.Voters[0].ID != o.ID {
		return nil, fmt.Errorf("raft: the quorum must be node %d alone; it is %v", o.ID, o.Voters)
	}
	if o.KRaftVersion > 0 && o.Voters[0].Directory != o.Directory {
		return nil, fmt.Errorf("raft: the quorum's voter %d has directory %v, this one is %v: the metadata log belongs to another directory", o.ID, o.Voters[0].Directory, o.Directory)
	}
	c := &Core{self: Voter{ID: o.ID}, version: o.KRaftVersion, voters: slices.Clone(o.Voters), logEnd: o.LogEnd, durable: o.LogEnd, hw: o.Committed}
	if o.KRaftVersion > 0 {
		c.self.Directory = o.Directory
	}
	c.epoch = o.LogEpoch
	if o.State != nil {
		if o.State.LeaderEpoch < o.LogEpoch {
			return nil, fmt.Errorf("raft: the log has records of epoch %d, quorum-state knows only epoch %d: one of them is from another time", o.LogEpoch, o.State.LeaderEpoch)
		}
		c.epoch = o.State.LeaderEpoch
	}
	return c, nil
}

// Start stands for election. A quorum of one elects at once: the vote is written before the leadership it gives.
func (c *Core) Start() error {
	if c.role != Unattached {
		return fmt.Errorf("raft: start in role %v", c.role)
	}
	c.role = Candidate
	c.epoch++
	c.record(-1, c.self)
	return nil
}

// Voted says that the vote of the last Ready is durable. The own vote is a majority of one.
func (c *Core) Voted() error {
	if c.role != Candidate {
		return fmt.Errorf("raft: a vote in role %v", c.role)
	}
	c.role = Leader
	c.start = c.logEnd
	c.record(c.self.ID, Voter{ID: -1})
	voters := make([]schema.LeaderChangeVoter, len(c.voters))
	for i, v := range c.voters {
		voters[i] = schema.LeaderChangeVoter{VoterID: v.ID, VoterDirectoryID: v.Directory}
	}
	c.ready.Elected, c.ready.Epoch = true, c.epoch
	c.ready.Control = append(c.ready.Control, &schema.LeaderChange{LeaderID: c.self.ID, Voters: voters, GrantingVoters: slices.Clone(voters)})
	return nil
}

func (c *Core) record(leader int32, vote Voter) {
	s := schema.QuorumState{LeaderID: leader, LeaderEpoch: c.epoch, VotedID: vote.ID, Version: 0}
	if c.version > 0 {
		s.Version, s.VotedDirectoryID = 1, vote.Directory
	} else {
		for _, v := range c.voters {
			s.CurrentVoters = append(s.CurrentVoters, v.ID)
		}
	}
	c.state = s
	c.ready.State = &s
}

// Ready takes what must be done, oldest first in each field.
func (c *Core) Ready() Ready {
	r := c.ready
	r.Epoch = c.epoch
	c.ready = Ready{}
	return r
}

// Appended says that the log now ends at end.
func (c *Core) Appended(end int64) { c.logEnd = max(c.logEnd, end) }

// Flushed says that the log is durable up to end. It gives the high watermark and whether it rose. A leader commits
// nothing of earlier epochs before the first record of its own is durable (Raft, section 5.4.2).
func (c *Core) Flushed(end int64) (highWatermark int64, rose bool) {
	c.durable = min(max(c.durable, end), c.logEnd)
	if c.role != Leader || c.durable <= c.start || c.durable <= c.hw {
		return c.hw, false
	}
	c.hw = c.durable
	return c.hw, true
}

// Resign gives up leadership for good, at a controlled shutdown.
func (c *Core) Resign() { c.role = Resigned }

// Status is what DescribeQuorum tells.
type Status struct {
	Role          Role
	Epoch         int32
	Leader        int32 // -1 if unknown
	LogEnd        int64
	HighWatermark int64
	Voters        []Voter
	KRaftVersion  int16
}

// Status of the core now.
func (c *Core) Status() Status {
	leader := int32(-1)
	if c.role == Leader {
		leader = c.self.ID
	}
	return Status{Role: c.role, Epoch: c.epoch, Leader: leader, LogEnd: c.logEnd, HighWatermark: c.hw, Voters: slices.Clone(c.voters), KRaftVersion: c.version}
}
