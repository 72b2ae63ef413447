package node

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/coordinator/group"
	"github.com/klamm-io/klamm/internal/machine"
)

// groupEffect does what a group coordinator wants done.
func (n *Node) groupEffect(partition int32, effect any) {
	switch e := effect.(type) {
	case group.AskShare:
		// At once, so that what is asked first of a share partition comes to it first: nothing here waits.
		n.askShare(e.Requests, func(answers []kmsg.Response) {
			n.groups.Submit(partition, machine.Command{Body: group.ShareAnswered{Ask: e, Answers: answers}}, nil)
		})
	case group.CreateInternalTopics:
		n.tasks.do(func() { n.createInternalTopics(partition, e) })
	}
}
