package group

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
)

// What consumers put into the classic protocol's opaque bytes (ConsumerProtocolSubscription, ConsumerProtocolAssignment).
// Versions later than the ones known only add fields behind these.
//
//	subscription: int16 version | topics | bytes user data | v1: owned partitions | v2: int32 generation | v3: rack
//	assignment:   int16 version | partitions | bytes user data

const embeddedVersion = 3 // the latest known

type subscriptionOf struct {
	version int16
	topics  []string
	owned   []kmsg.ConsumerMemberAssignmentTopic
	rack    *string
}

func parseSubscription(b []byte) (s subscriptionOf, err error) {
	r := kbin.Reader{Src: b}
	if s.version, err = readVersion(&r); err != nil {
		return s, err
	}
	n := r.ArrayLen()
	if int(n)*2 > len(r.Src) {
		return s, kbin.ErrNotEnoughData
	}
	for range n {
		s.topics = append(s.topics, r.String())
	}
	r.NullableBytes()
	if s.version >= 1 {
		if s.owned, err = readPartitions(&r); err != nil {
			return s, err
		}
	}
	if s.version >= 2 {
		r.Int32()
	}
	if s.version >= 3 {
		if s.rack = r.NullableString(); s.rack != nil && *s.rack == "" {
			s.rack = nil
		}
	}
	if !r.Ok() {
		return s, kbin.ErrNotEnoughData
	}
	return s, nil
}

func readVersion(r *kbin.Reader) (int16, error) {
	v := r.Int16()
	if !r.Ok() {
		return 0, kbin.ErrNotEnoughData
	}
	if v < 0 {
		return 0, fmt.Errorf("group: embedded protocol has version %d", v)
	}
	return min(v, embeddedVersion), nil
}

// subscriptionVersion is the version that a member understands.
func subscriptionVersion(b []byte) (int16, error) { return readVersion(&kbin.Reader{Src: b}) }

func readPartitions(r *kbin.Reader) ([]kmsg.ConsumerMemberAssignmentTopic, error) {
	n := r.ArrayLen()
	if int(n)*6 > len(r.Src) {
		return nil, kbin.ErrNotEnoughData
	}
	var out []kmsg.ConsumerMemberAssignmentTopic
	for range n {
		tp := kmsg.ConsumerMemberAssignmentTopic{Topic: r.String()}
		k := r.ArrayLen()
		if int(k)*4 > len(r.Src) {
			return nil, kbin.ErrNotEnoughData
		}
		for range k {
			tp.Partitions = append(tp.Partitions, r.Int32())
		}
		out = append(out, tp)
	}
	return out, nil
}

// parseAssignment reads what a leader assigned; no bytes mean nothing. custom says that there is user data, which only
// the assignor that wrote it understands.
func parseAssignment(b []byte, image *metadata.Image) (a assignment, custom bool, err error) {
	if len(b) == 0 {
		return nil, false, nil
	}
	r := kbin.Reader{Src: b}
	if _, err := readVersion(&r); err != nil {
		return nil, false, err
	}
	topics, err := readPartitions(&r)
	if err != nil {
		return nil, false, err
	}
	userData := r.NullableBytes()
	if !r.Ok() {
		return nil, false, kbin.ErrNotEnoughData
	}
	build := assignmentBuilder{}
	for _, tp := range topics {
		if t, ok := image.Topic(tp.Topic); ok {
			for _, p := range tp.Partitions {
				build.add(t.ID, p, 0)
			}
		}
	}
	return build.target(), len(userData) > 0, nil
}

// reportedBy is what a classic member says that it owns, as heartbeats say it.
func reportedBy(owned []kmsg.ConsumerMemberAssignmentTopic, image *metadata.Image) []kmsg.ConsumerGroupHeartbeatRequestTopic {
	out := []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	for _, tp := range owned {
		if t, ok := image.Topic(tp.Topic); ok {
			out = append(out, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: t.ID, Partitions: tp.Partitions})
		}
	}
	return out
}
