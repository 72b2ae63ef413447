package group

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
)

// BenchmarkShareHeartbeat is what a member costs that has nothing to say: in a group of 200 on 1,000 partitions.
func BenchmarkShareHeartbeat(b *testing.B) {
	h := newHarness(b, Config{Share: ShareConfig{AssignmentInterval: -1}})
	delta := metadata.NewDelta(h.image)
	h.setTopic(delta, "t", 1000)
	h.publish(delta)
	beat := func(i int, epoch int32) *kmsg.ShareGroupHeartbeatResponse {
		r := kmsg.NewPtrShareGroupHeartbeatRequest()
		r.Version, r.GroupID, r.MemberID, r.MemberEpoch = 1, "g", fmt.Sprint("m", i), epoch
		if epoch == 0 {
			r.SubscribedTopicNames = []string{"t"}
		}
		token := h.do(machine.Command{Body: r})
		answer := h.answers[token].(*kmsg.ShareGroupHeartbeatResponse)
		delete(h.answers, token)
		h.out.Reset()
		return answer
	}
	epochs := make([]int32, 200)
	for range 3 {
		for i := range epochs {
			epochs[i] = beat(i, epochs[i]).MemberEpoch
			for h.answerShare(func(string, string, int32) int16 { return 0 }) {
			}
		}
	}
	if n := len(h.live("g").state.initialized); n != 1 {
		b.Fatalf("%d topics are initialized", n)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		i := n % len(epochs)
		if r := beat(i, epochs[i]); r.ErrorCode != 0 || r.MemberEpoch != epochs[i] {
			b.Fatalf("%s, epoch %d instead of %d", codeText(r.ErrorCode), r.MemberEpoch, epochs[i])
		}
	}
}

func (h *harness) live(group string) *shareGroup { return h.m.groups[group].(*shareGroup) }
