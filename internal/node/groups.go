package node

import "github.com/klamm-io/klamm/internal/coordinator/group"

// groupEffect does what a group coordinator wants done.
func (n *Node) groupEffect(partition int32, effect any) {
	switch e := effect.(type) {
	case group.CreateInternalTopics:
		n.tasks.do(func() { n.createInternalTopics(partition, e) })
	}
}
