package node

import (
	"testing"

	"github.com/klamm-io/klamm/internal/config"
)

// A receive buffer that nobody asked for is the system's business; Kafka's default, set, is obeyed.
func TestReceiveBuffer(t *testing.T) {
	for set, want := range map[string]int{"": 0, "-1": -1, "102400": 102400} {
		props := map[string]string{}
		if set != "" {
			props["socket.receive.buffer.bytes"] = set
		}
		n, _, err := config.NewNode(props)
		if err != nil {
			t.Fatal(err)
		}
		v, err := n.Layers(nil, nil).Broker()
		if err != nil {
			t.Fatal(err)
		}
		if got := receiveBuffer(v); got != want {
			t.Errorf("%q gives %d, want %d", set, got, want)
		}
	}
}
