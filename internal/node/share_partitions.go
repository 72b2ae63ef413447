package node

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/share"
	"github.com/klamm-io/klamm/internal/share/delivery"
)

// sharePartitionSet makes the share partitions that this node leads.
func (n *Node) sharePartitionSet() *share.Set {
	return share.New(share.Config{
		Replicas: n.replicas, Persister: persister{n}, Group: n.shareGroup, Now: n.o.Now, Logger: n.o.Logger,
		MaxSessions: func() int { return n.settings().Int("group.share.max.share.sessions") },
	})
}

// groupDefaults are the values of groups that override nothing, of the broker's values that they were made from.
type groupDefaults struct {
	broker *config.Values
	values config.Values
}

// shareGroup is the configuration of a share group, as of now.
func (n *Node) shareGroup(name string) share.Group {
	broker := n.values.Load()
	d := n.groupValues.Load()
	if d == nil || d.broker != broker {
		d = &groupDefaults{broker, broker.GroupDefaults()}
		n.groupValues.Store(d)
	}
	v := d.values
	own := n.image().Config(metadata.GroupConfig, name)
	if len(own) > 0 {
		if w, err := v.With(own); err == nil { // stored values were validated when they were written
			v = w
		}
	}
	bounded := func(key string) int { // the bounds may have changed since
		x := v.Int("share." + key)
		if _, ok := own["share."+key]; ok {
			x = min(max(x, broker.Int("group.share.min."+key)), broker.Int("group.share.max."+key))
		}
		return x
	}
	g := share.Group{
		Config: delivery.Config{
			MaxDeliveries: bounded("delivery.count.limit"), MaxLocks: bounded("partition.max.record.locks"),
			Lock: time.Duration(bounded("record.lock.duration.ms")) * time.Millisecond, Renew: v.Bool("share.renew.acknowledge.enable"),
		},
		Committed: v.String("share.isolation.level") == "read_committed",
	}
	switch reset := v.String("share.auto.offset.reset"); {
	case reset == "earliest":
		g.Reset = share.Earliest
	case strings.HasPrefix(reset, "by_duration:"):
		g.Reset, g.Ago = share.ByDuration, isoDuration(strings.TrimPrefix(reset, "by_duration:"))
	}
	return g
}

// isoDuration reads PnDTnHnMn.nS, which was validated before. What is too long for a Duration is the longest.
func isoDuration(text string) time.Duration {
	var total float64 // seconds
	units := map[rune]float64{'D': 86400, 'H': 3600, 'M': 60, 'S': 1}
	number := ""
	for _, c := range strings.ToUpper(text) {
		if u, ok := units[c]; ok {
			n, _ := strconv.ParseFloat(strings.Replace(number, ",", ".", 1), 64) // digits
			total += n * u
			number = ""
		} else if c >= '0' && c <= '9' || c == '.' || c == ',' {
			number += string(c)
		}
	}
	if total >= math.MaxInt64/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(total * float64(time.Second))
}
