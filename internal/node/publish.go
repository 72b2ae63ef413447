package node

import (
	"context"
	"strconv"

	"github.com/klamm-io/klamm/internal/coordinator"
	"github.com/klamm-io/klamm/internal/coordinator/group"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

const offsetsTopic = "__consumer_offsets"

// publishSettings takes in dynamic values of brokers: this node's and the cluster's default.
func (n *Node) publishSettings(d *metadata.Delta, image *metadata.Image) {
	mine := strconv.Itoa(int(n.config.NodeID))
	for _, r := range d.Configs() {
		if r.Type == metadata.BrokerConfig && (r.Name == "" || r.Name == mine) {
			n.configure(image)
			return
		}
	}
}

// configure resolves the settings anew and gives them to whoever keeps a copy.
func (n *Node) configure(image *metadata.Image) {
	layers := n.layersOf(image)
	v, err := layers.Broker()
	if err != nil {
		n.o.Logger.Warn("dynamic values of this broker are left out", "error", err)
	}
	before := n.settings()
	n.layered.Store(&layers)
	n.values.Store(&v)
	if changed := v.Changed(before); len(changed) > 0 {
		n.o.Logger.Info("settings changed", "keys", changed)
	}
	if l, err := n.limits(context.Background(), v); err != nil {
		n.o.Logger.Warn("the limits of connections stay as they were", "error", err)
	} else if n.server != nil {
		n.server.SetLimits(l)
	}
	n.dirs.SetIntervals(intervals(v))
	n.dirs.SetCleaner(cleanerConfig(v))
	n.dirs.SetRecoveryThreads(v.Int("num.recovery.threads.per.data.dir"))
	n.dirs.SetMoveRate(moveRate(v))
	n.cordon()
	n.dirs.SetProducerIDExpiry(v.Duration("producer.id.expiration.ms"))
	n.groups.Broadcast(machine.Command{Body: group.SetConfig{Config: groupConfig(v)}}, nil)
	for _, topic := range n.replicas.Names() {
		n.replicas.Configure(topic)
	}
}

func (n *Node) publishReplicas(d *metadata.Delta, image *metadata.Image) {
	if err := n.replicas.Apply(d, image); err != nil {
		n.o.Logger.Error("a replica could not follow the metadata", "error", err)
	}
	for _, c := range d.Topics().Changed {
		if t, ok := image.TopicByID(c.ID); ok {
			n.tellPlaces(image, t, c.Partitions)
		}
	}
}

func (n *Node) publishTopics(d *metadata.Delta, _ *metadata.Image) {
	for _, r := range d.Configs() {
		if r.Type == metadata.TopicConfig {
			n.replicas.Configure(r.Name)
		}
	}
}

// coordinators are the hosts by their topics.
func (n *Node) coordinators() map[string]*coordinator.Host {
	return map[string]*coordinator.Host{offsetsTopic: n.groups, transactionsTopic: n.transactions, shareStateTopic: n.shares}
}

// publishCoordinators elects and resigns coordinators and lets them forget offsets of topics that are gone.
func (n *Node) publishCoordinators(d *metadata.Delta, image *metadata.Image) {
	hosts := n.coordinators()
	changes := d.Topics()
	for _, id := range changes.Deleted {
		t, ok := d.Base().TopicByID(id)
		if !ok {
			continue
		}
		if host := hosts[t.Name]; host != nil {
			for i := range t.Partitions {
				host.Resigned(int32(i), -1)
			}
		}
	}
	for _, c := range changes.Changed {
		host := hosts[c.Name]
		if host == nil {
			continue
		}
		t, _ := image.TopicByID(c.ID)
		for _, i := range c.Partitions {
			if p := t.Partitions[i]; p.Leader == n.config.NodeID {
				host.Elected(i, p.LeaderEpoch)
			} else {
				host.Resigned(i, p.LeaderEpoch)
			}
		}
	}
	n.groups.ImageChanged(d)
	n.transactions.ImageChanged(d)
	n.shares.ImageChanged(d)
}

// sweepStrays puts logs aside that the metadata does not give to this node. Where a log's topic id could not be read its name counts:
// whose it is shows when it can be opened.
func (n *Node) sweepStrays() error {
	image := n.image()
	moved, err := n.dirs.Strays(func(name string, id schema.UUID, partition int32) bool {
		t, ok := image.TopicByID(id)
		if id == schema.ZeroUUID {
			t, ok = image.Topic(name)
		}
		if !ok {
			return false
		}
		p, ok := t.Partition(partition)
		if !ok {
			return false
		}
		for _, r := range p.Replicas {
			if r == n.config.NodeID {
				return true
			}
		}
		return false
	})
	if len(moved) > 0 {
		n.o.Logger.Warn("logs that no topic knows were put aside", "directories", moved)
		n.replicas.Retry() // their names are free
	}
	return err
}
