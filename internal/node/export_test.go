package node

import "github.com/klamm-io/klamm/internal/metadata"

// Image is the metadata that the node has published last.
func (n *Node) Image() *metadata.Image { return n.image() }
