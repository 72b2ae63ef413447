package raft

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-io/klamm/internal/schema"
)

var directory = schema.UUID{15: 7}

func one() Options { return Options{ID: 1, Voters: []Voter{{ID: 1}}} }

// elect drives a core to leadership as the driver does.
func elect(t *testing.T, o Options) *Core {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if r := c.Ready(); r.State == nil || r.State.VotedID != o.ID || r.State.LeaderID != -1 || r.Elected {
		t.Fatalf("a candidate's ready is %+v", r)
	}
	if err := c.Voted(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAQuorumOfOneElectsItself(t *testing.T) {
	c := elect(t, one())
	want := Ready{
		State:   &schema.QuorumState{LeaderID: 1, LeaderEpoch: 1, VotedID: -1, CurrentVoters: []int32{1}},
		Control: []schema.Record{&schema.LeaderChange{LeaderID: 1, Voters: []schema.LeaderChangeVoter{{VoterID: 1}}, GrantingVoters: []schema.LeaderChangeVoter{{VoterID: 1}}}},
		Elected: true, Epoch: 1,
	}
	if d := cmp.Diff(want, c.Ready()); d != "" {
		t.Fatal(d)
	}
}

func TestDynamicVotersCarryTheirDirectory(t *testing.T) {
	o := one()
	o.Directory, o.KRaftVersion, o.Voters = directory, 1, []Voter{{1, directory}}
	c := elect(t, o)
	r := c.Ready()
	if r.State.Version != 1 {
		t.Fatalf("quorum-state %+v", r.State)
	}
	if v := r.Control[0].(*schema.LeaderChange); v.Version != 0 || v.Voters[0].VoterDirectoryID != directory {
		t.Fatalf("leader change %+v", v)
	}
}

func TestEpochsRiseOverRestarts(t *testing.T) {
	o := one()
	o.State = &schema.QuorumState{LeaderID: 1, LeaderEpoch: 4, VotedID: -1}
	o.LogEnd, o.LogEpoch = 20, 4
	if c := elect(t, o); c.Status().Epoch != 5 {
		t.Fatalf("status %+v", c.Status())
	}
}

// Nothing is committed before the leader's own record is durable, and nothing beyond what is durable.
func TestCommitNeedsTheOwnEpochOnDisk(t *testing.T) {
	o := one()
	o.State = &schema.QuorumState{LeaderID: 1, LeaderEpoch: 1, VotedID: -1}
	o.LogEnd, o.LogEpoch = 10, 1
	c := elect(t, o)
	steps := []struct {
		append, flush, hw int64
		rose              bool
	}{
		{10, 10, 0, false},  // the old epoch's records alone
		{11, 10, 0, false},  // LeaderChange written, not durable
		{11, 11, 11, true},  // durable
		{15, 13, 13, true},  // half of what is written
		{15, 13, 13, false}, // nothing new
		{15, 99, 15, true},  // never beyond the log's end
	}
	for i, s := range steps {
		c.Appended(s.append)
		if hw, rose := c.Flushed(s.flush); hw != s.hw || rose != s.rose {
			t.Fatalf("step %d: high watermark %d, rose %v; want %d, %v", i, hw, rose, s.hw, s.rose)
		}
	}
	c.Resign()
	c.Appended(20)
	if hw, rose := c.Flushed(20); hw != 15 || rose {
		t.Fatalf("a resigned leader committed up to %d", hw)
	}
}

func TestRefusedStarts(t *testing.T) {
	cases := map[string]func(*Options){
		"another voter":   func(o *Options) { o.Voters = []Voter{{ID: 2}} },
		"several voters":  func(o *Options) { o.Voters = append(o.Voters, Voter{ID: 2}) },
		"no voter":        func(o *Options) { o.Voters = nil },
		"other directory": func(o *Options) { o.KRaftVersion, o.Directory, o.Voters = 1, directory, []Voter{{1, schema.UUID{1}}} },
		"state from another time": func(o *Options) {
			o.State, o.LogEpoch = &schema.QuorumState{LeaderEpoch: 2}, 3
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			o := one()
			change(&o)
			if _, err := New(o); err == nil {
				t.Fatal("accepted")
			}
		})
	}
}
