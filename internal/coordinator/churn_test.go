package coordinator

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klamm-io/klamm/internal/machine"
)

// TestChurn submits from many goroutines while shards come and go: each caller is answered exactly once, and nothing
// is left behind. It is for the race detector.
func TestChurn(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MailboxMax = 8; c.LoadsMax = 1 })
	const callers, commands, partitions = 8, 300, 3
	var answers [callers * commands]atomic.Int32
	var answered sync.WaitGroup
	answered.Add(len(answers))
	var running sync.WaitGroup
	for i := range callers {
		running.Go(func() {
			for j := range commands {
				n := i*commands + j
				var body any = put{fmt.Sprint(n % 5), "v"}
				switch n % 7 {
				case 0:
					body = await{fmt.Sprint(n % 5)}
				case 1:
					body = job{"x"}
				case 2:
					body = getAll{}
				}
				f.h.Submit(int32(n%partitions), machine.Command{Body: body}, func(any) {
					answers[n].Add(1)
					answered.Done() // panics if it is called too often
				})
			}
		})
	}
	running.Go(func() {
		for epoch := range int32(100) {
			p := epoch % partitions
			f.log.lead(p, epoch)
			f.h.Elected(p, epoch)
			f.log.commit(p)
			if epoch%4 == 3 {
				f.h.Resigned(p, epoch)
			}
			f.h.Broadcast(machine.Command{Body: getAll{}}, func([]any) {})
		}
	})
	running.Wait()
	f.close()
	answered.Wait()
	for n := range answers {
		if got := answers[n].Load(); got != 1 {
			t.Fatalf("command %d was answered %d times", n, got)
		}
	}
}
