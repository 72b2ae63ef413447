package node

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/server"
)

// lookUpMax bounds the search for the addresses of max.connections.per.ip.overrides.
const lookUpMax = 10 * time.Second

// limits gives the server its limits. The error is a host of max.connections.per.ip.overrides that has no address: as with
// Kafka it keeps a node from starting; while it runs, the limits stay as they were.
func (n *Node) limits(ctx context.Context, v config.Values) (server.Limits, error) {
	l := server.Limits{
		RequestBytesMax: v.Int("socket.request.max.bytes"), ConnectionsMax: server.Most(v.Int("max.connections")),
		ConnectionsPerIPMax: server.Most(v.Int("max.connections.per.ip")), MaxIdle: v.Duration("connections.max.idle.ms"),
		ListenerMax: map[string]int{}, PerIP: map[string]int{},
	}
	for _, e := range n.config.Listeners {
		l.ListenerMax[e.Listener] = v.Listener(e.Listener).Int("max.connections")
	}
	overrides, err := v.PerIPOverrides()
	if err != nil {
		return l, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpMax)
	defer cancel()
	for host, most := range overrides { // each for itself
		addresses := []string{host}
		if _, err := netip.ParseAddr(host); err != nil {
			if addresses, err = n.o.LookUp(ctx, host); err != nil {
				return l, fmt.Errorf("max.connections.per.ip.overrides: the host %s has no address: %w", host, err)
			}
		}
		for _, a := range addresses {
			if ip, err := netip.ParseAddr(a); err == nil {
				l.PerIP[server.Address(ip)] = most
			}
		}
	}
	return l, nil
}
