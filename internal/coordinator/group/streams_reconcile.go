package group

import "github.com/twmb/franz-go/pkg/kerr"

// taskReconciliation takes one member a step towards its target (KIP-1071). As with partitions in reconciliation, a
// task goes from one owner to another only through nobody: an active task from member to member, and any task from one
// role to another within a process, whose threads share the state on its disk.
type taskReconciliation struct {
	group       *streams
	targetEpoch int32
	target      tasks
	reported    *tasks // what the member says it has; nil if it does not say
}

// step gives the member as it is after the step, or the same if there is nothing to do.
func (r *taskReconciliation) step(m *streamsMember) (*streamsMember, error) {
	switch m.state {
	case memberStable:
		if m.epoch == r.targetEpoch {
			return m, nil
		}
		return r.next(m, m.epoch), nil
	case memberUnrevoked:
		if r.stillHas(m.revoking) {
			return m, nil
		}
		return r.next(m, m.epoch+1), nil
	case memberUnreleased:
		return r.next(m, m.epoch), nil
	}
	// A later version wrote a state that is not known here: the member has to begin anew.
	if r.reported == nil || !r.reported.empty() {
		return nil, refuse(kerr.FencedMemberEpoch, "The streams group member is in a unknown state. The member must abandon all its tasks and rejoin.")
	}
	return r.next(m, r.targetEpoch), nil
}

// stillHas says that the member has one of the tasks, or that nothing is known.
func (r *taskReconciliation) stillHas(t tasks) bool { return r.reported == nil || r.reported.meets(t) }

// next works out what the member keeps, gives up and gets. Where it still has to give up, it stays in the epoch.
func (r *taskReconciliation) next(m *streamsMember, epoch int32) *streamsMember {
	kept, revoking := tasks{}, tasks{}
	kept.active, revoking.active = split(m.assigned.active, r.target.active)
	kept.standby, revoking.standby = split(m.assigned.standby, r.target.standby)
	kept.warmup, revoking.warmup = split(m.assigned.warmup, r.target.warmup)
	if !revoking.empty() && r.stillHas(revoking) {
		return m.moved(memberUnrevoked, epoch, kept, revoking)
	}
	waits := false
	gain := func(kept, target taskSet, free func(taskID) bool, epochs bool) taskSet {
		b := taskBuilder{}
		for _, t := range kept {
			for i, p := range t.partitions {
				e := int32(0)
				if t.epochs != nil {
					e = t.epochs[i]
				}
				b.add(taskID{t.subtopology, p}, e)
			}
		}
		target.each(func(id taskID) {
			switch {
			case kept.has(id):
			case free(id):
				b.add(id, r.targetEpoch)
			default:
				waits = true
			}
		})
		return b.set(epochs)
	}
	after := tasks{
		active:  gain(kept.active, r.target.active, func(id taskID) bool { return r.free(m, id) && r.vacant(m, id) }, true),
		standby: gain(kept.standby, r.target.standby, func(id taskID) bool { return r.free(m, id) }, false),
		warmup:  gain(kept.warmup, r.target.warmup, func(id taskID) bool { return r.free(m, id) }, false),
	}
	state := memberStable
	if waits {
		state = memberUnreleased
	}
	return m.moved(state, r.targetEpoch, after, tasks{})
}

// split divides what a member has into what its target has, too, and the rest.
func split(have, target taskSet) (kept, rest taskSet) {
	k, r := taskBuilder{}, taskBuilder{}
	epochs := false
	for _, t := range have {
		wanted := target.find(t.subtopology)
		for i, p := range t.partitions {
			e := int32(0)
			if t.epochs != nil {
				e, epochs = t.epochs[i], true
			}
			if wanted.index(p) >= 0 {
				k.add(taskID{t.subtopology, p}, e)
			} else {
				r.add(taskID{t.subtopology, p}, e)
			}
		}
	}
	return k.set(epochs), r.set(epochs)
}

// vacant says that the task is active nowhere but where the member has just given it up.
func (r *taskReconciliation) vacant(m *streamsMember, id taskID) bool {
	owner, owned := r.group.active[id]
	return !owned || owner == m.id && r.givenUp(m, id) > 0
}

// free says that the member's process has the task in no role, but for those that the member has just given up.
func (r *taskReconciliation) free(m *streamsMember, id taskID) bool {
	return r.group.held[m.processID][id] == r.givenUp(m, id)
}

// givenUp counts the roles in which the member had the task and has it no longer. It is asked only when nothing has
// still to be given up: what the member was told to revoke, and what it has beyond its target, it has not.
func (r *taskReconciliation) givenUp(m *streamsMember, id taskID) int {
	n := 0
	for _, roles := range [][3]taskSet{
		{m.revoking.active, m.assigned.active, r.target.active},
		{m.revoking.standby, m.assigned.standby, r.target.standby},
		{m.revoking.warmup, m.assigned.warmup, r.target.warmup},
	} {
		if roles[0].has(id) {
			n++
		}
		if roles[1].has(id) && !roles[2].has(id) {
			n++
		}
	}
	return n
}
