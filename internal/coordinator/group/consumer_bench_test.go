package group

import (
	"fmt"
	"testing"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// BenchmarkConsumerGroup: a thousand members of a group with a thousand partitions. A steady heartbeat is one that
// changes nothing; join is one more member with a new target for all.
func BenchmarkConsumerGroup(b *testing.B) {
	h := newHarness(b, Config{AssignmentInterval: -1})
	delta := metadata.NewDelta(h.image)
	h.setTopic(delta, "t", 1000)
	h.publish(delta)
	beat := func(id string, epoch int32) kmsg.Response {
		r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		r.Version, r.Group, r.MemberID, r.MemberEpoch, r.RebalanceTimeoutMillis = 1, "g", id, epoch, -1
		if epoch == 0 {
			r.RebalanceTimeoutMillis, r.SubscribedTopicNames, r.Topics = 60000, []string{"t"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		}
		res := h.m.Handle(machine.Input{Now: h.now, Rand: h.rand, Image: h.image}, machine.Command{Token: 1, Body: r})
		for _, record := range res.Records {
			if err := h.m.Apply(record, machine.Position{}); err != nil {
				b.Fatal(err)
			}
		}
		return res.Replies[0].Value.(kmsg.Response)
	}
	for i := range 1000 {
		beat(fmt.Sprint("m", i), 0)
	}
	last := beat("m999", 0).(*kmsg.ConsumerGroupHeartbeatResponse)
	b.Run("steady", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if r := beat("m999", last.MemberEpoch).(*kmsg.ConsumerGroupHeartbeatResponse); r.ErrorCode != 0 {
				b.Fatal(*r.ErrorMessage)
			}
		}
	})
	b.Run("join", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			beat("new", 0)
			beat("new", leaveEpoch)
		}
	})
}
