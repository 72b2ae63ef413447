package controller

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/tidwall/btree"

	"github.com/klamm-io/klamm/internal/schema"
)

// partitionKey names a partition for as long as its topic lives.
type partitionKey struct {
	topic     schema.UUID
	partition int32
}

func (a partitionKey) less(b partitionKey) bool {
	return cmp.Or(bytes.Compare(a.topic[:], b.topic[:]), cmp.Compare(a.partition, b.partition)) < 0
}

type partitionSet = btree.BTreeG[partitionKey]

func newPartitionSet() *partitionSet {
	return btree.NewBTreeGOptions(partitionKey.less, btree.Options{NoLocks: true, Degree: 16})
}

// index answers, over the partitions of the image, the questions that fencing, heartbeats and elections ask; without it
// each would walk every partition of the cluster. It holds nothing that the image does not say.
type index struct {
	inISR       map[int32]*partitionSet
	inELR       map[int32]*partitionSet
	leads       map[int32]int // broker -> partitions it leads
	inDirectory map[schema.UUID]*partitionSet
	leaderless  *partitionSet
	imbalanced  *partitionSet // led by another than the first replica
	reassigning *partitionSet
	colliding   map[string][]string // name with '.' as '_' -> topics of that name, for names that have either
}

func newIndex() *index {
	return &index{
		inISR: map[int32]*partitionSet{}, inELR: map[int32]*partitionSet{}, leads: map[int32]int{},
		inDirectory: map[schema.UUID]*partitionSet{}, colliding: map[string][]string{},
		leaderless: newPartitionSet(), imbalanced: newPartitionSet(), reassigning: newPartitionSet(),
	}
}

// update replaces what is known of one partition. before is nil for a new one, after for one that is gone.
func (x *index) update(key partitionKey, before, after *partition) {
	if before != nil {
		x.leads[before.Leader]--
		if x.leads[before.Leader] == 0 {
			delete(x.leads, before.Leader)
		}
	}
	if after != nil {
		x.leads[after.Leader]++
	}
	var isrBefore, isrAfter, elrBefore, elrAfter []int32
	var dirsBefore, dirsAfter []schema.UUID
	if before != nil {
		isrBefore, elrBefore, dirsBefore = before.ISR, before.ELR, before.Directories
	}
	if after != nil {
		isrAfter, elrAfter, dirsAfter = after.ISR, after.ELR, after.Directories
	}
	move(x.inISR, key, isrBefore, isrAfter, func(int32) bool { return true })
	move(x.inELR, key, elrBefore, elrAfter, func(int32) bool { return true })
	move(x.inDirectory, key, dirsBefore, dirsAfter, func(d schema.UUID) bool { return !reservedDirectory(d) })
	set(x.leaderless, key, after != nil && after.Leader == noLeader)
	set(x.imbalanced, key, after != nil && len(after.Replicas) > 0 && after.Leader != after.Replicas[0])
	set(x.reassigning, key, after != nil && isReassigning(after))
}

func set(s *partitionSet, key partitionKey, in bool) {
	if in {
		s.Set(key)
	} else {
		s.Delete(key)
	}
}

func move[K comparable](sets map[K]*partitionSet, key partitionKey, before, after []K, counts func(K) bool) {
	if slices.Equal(before, after) {
		return
	}
	for _, k := range before {
		if s := sets[k]; s != nil && !slices.Contains(after, k) {
			if s.Delete(key); s.Len() == 0 {
				delete(sets, k)
			}
		}
	}
	for _, k := range after {
		if !counts(k) || slices.Contains(before, k) {
			continue
		}
		if sets[k] == nil {
			sets[k] = newPartitionSet()
		}
		sets[k].Set(key)
	}
}

// keys gives the members of a set that may be nil, in order, as a copy.
func keys(s *partitionSet) []partitionKey {
	if s == nil {
		return nil
	}
	return s.Items()
}

func hasCollisionChars(name string) bool { return strings.ContainsAny(name, "._") }

func unifyCollisionChars(name string) string { return strings.ReplaceAll(name, ".", "_") }

func (x *index) addName(name string) {
	if hasCollisionChars(name) {
		unified := unifyCollisionChars(name)
		if !slices.Contains(x.colliding[unified], name) {
			x.colliding[unified] = append(x.colliding[unified], name)
		}
	}
}

func (x *index) removeName(name string) {
	unified := unifyCollisionChars(name)
	left := slices.DeleteFunc(x.colliding[unified], func(n string) bool { return n == name })
	if len(left) == 0 {
		delete(x.colliding, unified)
	} else {
		x.colliding[unified] = left
	}
}

func isReassigning(p *partition) bool {
	return len(p.Adding) > 0 || len(p.Removing) > 0
}

// reservedDirectory says whether an id stands for no directory: all below 100 do or may.
func reservedDirectory(id schema.UUID) bool {
	for _, b := range id[:15] {
		if b != 0 {
			return false
		}
	}
	return id[15] < 100
}
