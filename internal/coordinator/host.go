package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/record"
)

// Errors that commands are refused with.
var (
	// ErrBusy says that the mailbox is full. Clients know COORDINATOR_LOAD_IN_PROGRESS as "here, but not now".
	ErrBusy = fmt.Errorf("coordinator: mailbox is full: %w", kerr.CoordinatorLoadInProgress)
	// ErrLoading says that the partition's log is being loaded.
	ErrLoading = fmt.Errorf("coordinator: log is being loaded: %w", kerr.CoordinatorLoadInProgress)
	// ErrNotCoordinator says that this node does not lead the partition, or no longer.
	ErrNotCoordinator = fmt.Errorf("coordinator: partition is not led here: %w", kerr.NotCoordinator)
	// ErrClosed says that the node stops.
	ErrClosed = fmt.Errorf("coordinator: closed: %w", kerr.CoordinatorNotAvailable)
	// ErrTooLarge says that one command's records do not fit into a batch.
	ErrTooLarge = fmt.Errorf("coordinator: records exceed the largest batch: %w", kerr.RecordListTooLarge)
	// ErrTimeout says that the records were written and not committed in time.
	ErrTimeout = fmt.Errorf("coordinator: write was not committed in time: %w", kerr.RequestTimedOut)
)

// Config is what a host is made of.
type Config struct {
	Topic string
	// NewMachine gives a fresh machine for a partition. Its Refuse must not depend on its state: the host calls it from
	// any goroutine, also on a machine that is never loaded (partition -1).
	NewMachine func(partition int32) machine.Machine[machine.Record]
	Log        Partitions
	// Image gives the newest metadata.
	Image func() *metadata.Image
	// ImageCommand makes the command that machines get of a change of metadata; false if they need not know. Nil means
	// that they never need.
	ImageCommand func(*metadata.Delta) (body any, ok bool)
	// PartitionCount is what the topic will be made with (offsets.topic.num.partitions); once it is there, what it has
	// counts. Zero means 50.
	PartitionCount int32
	// KafkaError gives the Kafka error (kerr) for an error of Log. Nil means that those wrap one already.
	KafkaError func(error) error
	Codecs     *record.Codecs
	// Codec compresses the batches (offsets.topic.compression.codec). Zero means no compression.
	Codec record.Codec
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	// Seed makes the machines' random numbers. Zero means a random seed.
	Seed uint64
	// MailboxMax is the number of commands that may wait in a shard. Zero means 4096.
	MailboxMax int
	// BatchBytesMax bounds a batch; it must not exceed the topic's max.message.bytes. Zero means 1 MiB.
	BatchBytesMax int
	// Linger lets a batch wait for more commands (group.coordinator.append.linger.ms). Zero or less means that it waits
	// only while there are commands in the mailbox.
	Linger time.Duration
	// CommitTimeout is how long a reply may wait for the high watermark (offsets.commit.timeout.ms). Zero means 5 s.
	CommitTimeout time.Duration
	// LoadBuffer is how much is read at once while loading (offsets.load.buffer.size). Zero means 5 MiB.
	LoadBuffer int
	// LoadsMax is the number of shards that load at the same time. Zero means 4.
	LoadsMax int
	// Logger gets elections, loads and the machines' warnings. Nil means slog.Default.
	Logger *slog.Logger
	// OnEvent gets the machines' events, for metrics. It is called on the shards' goroutines. Nil means nobody.
	OnEvent func(partition int32, e machine.Event)
	// OnEffect gets the machines' effects (machine.Result) when what they depend on is committed; those of failed appends
	// and of partitions that are no longer led here never come. It is called on the shards' goroutines, which it must not
	// block; what an effect leads to is submitted, without reply. Nil means that the machines have none.
	OnEffect func(partition int32, effect any)
}

// Host runs the shards of one topic. Its methods may be called from any goroutine.
type Host struct {
	c       Config
	refuser machine.Machine[machine.Record] // for Refuse only
	loads   chan struct{}                   // one token per load that may run

	mu     sync.RWMutex
	shards map[int32]*shard // guarded by mu
	epochs map[int32]int32  // guarded by mu: newest epoch heard of by partition
	closed bool             // guarded by mu
	wg     sync.WaitGroup   // goroutines of shards and jobs; Add under mu while not closed
}

// New makes a host without shards.
func New(c Config) *Host {
	def := func(n *int, to int) {
		if *n <= 0 {
			*n = to
		}
	}
	def(&c.MailboxMax, 4096)
	def(&c.BatchBytesMax, 1<<20)
	def(&c.LoadBuffer, 5<<20)
	def(&c.LoadsMax, 4)
	if c.PartitionCount <= 0 {
		c.PartitionCount = 50
	}
	if c.KafkaError == nil {
		c.KafkaError = func(err error) error { return err }
	}
	if c.CommitTimeout <= 0 {
		c.CommitTimeout = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Codecs == nil {
		c.Codecs = record.NewCodecs()
	}
	return &Host{
		c: c, refuser: c.NewMachine(-1), loads: make(chan struct{}, c.LoadsMax),
		shards: map[int32]*shard{}, epochs: map[int32]int32{},
	}
}

// Elected says that this node leads the partition in the epoch. The shard begins to load. A shard of an older epoch is
// dropped first: another leader may have written in between.
func (h *Host) Elected(partition, epoch int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if newest, ok := h.epochs[partition]; h.closed || ok && epoch <= newest {
		return
	}
	h.epochs[partition] = epoch
	old := h.shards[partition]
	if old != nil {
		old.stop(ErrNotCoordinator)
	}
	s := newShard(h, partition, epoch)
	h.shards[partition] = s
	h.wg.Add(1)
	s.start(old)
}

// Resigned says that this node no longer leads the partition, since the epoch given; -1 if that is not known, as when
// the topic was deleted. Every caller is refused with NOT_COORDINATOR.
func (h *Host) Resigned(partition, epoch int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.shards[partition]
	if epoch >= 0 {
		if newest, ok := h.epochs[partition]; ok && epoch < newest {
			return
		}
		h.epochs[partition] = epoch
	} else {
		delete(h.epochs, partition)
	}
	if s != nil {
		s.stop(ErrNotCoordinator)
		delete(h.shards, partition)
	}
}

// Readable says that a partition's log may be readable that was not: a shard that waits to load it again does so now.
func (h *Host) Readable(partition int32) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if s := h.shards[partition]; s != nil {
		s.loadAgain()
	}
}

// Submit gives a command to the partition's shard. It never blocks. reply is called once, with what the machine
// answers or with its refusal: at once, or on the shard's goroutine, which it must not block. A command without reply
// is kept also where the mailbox is full or the shard is loading; it is for what the node itself has to say.
func (h *Host) Submit(partition int32, cmd machine.Command, reply func(value any)) {
	h.mu.RLock()
	s, closed := h.shards[partition], h.closed
	h.mu.RUnlock()
	err := ErrNotCoordinator
	if closed {
		err = ErrClosed
	}
	if s != nil {
		if err = s.submit(item{cmd: cmd, reply: reply}); err == nil {
			return
		}
	}
	if reply != nil {
		reply(h.refuser.Refuse(cmd, err))
	}
}

// Broadcast gives a command to all shards. reply, which may be nil, is called once with their answers in the order of
// their partitions; refusals are among them. Without shards it is called with none.
func (h *Host) Broadcast(cmd machine.Command, reply func(values []any)) {
	h.mu.RLock()
	shards := make([]*shard, 0, len(h.shards))
	for _, s := range h.shards {
		shards = append(shards, s)
	}
	h.mu.RUnlock()
	slices.SortFunc(shards, func(a, b *shard) int { return int(a.partition - b.partition) })
	if reply == nil {
		for _, s := range shards {
			_ = s.submit(item{cmd: cmd}) // an error says that the shard is gone, and with it what the command was for
		}
		return
	}
	if len(shards) == 0 {
		reply(nil)
		return
	}
	g := &gather{values: make([]any, len(shards)), left: len(shards), reply: reply}
	for i, s := range shards {
		one := func(value any) { g.set(i, value) }
		if err := s.submit(item{cmd: cmd, reply: one}); err != nil {
			one(h.refuser.Refuse(cmd, err))
		}
	}
}

// ImageChanged tells all machines of a change of metadata, if it is their business. Config.Image gives the new image
// already. Shards that load hear of it when they are loaded.
func (h *Host) ImageChanged(d *metadata.Delta) {
	if h.c.ImageCommand == nil {
		return
	}
	if body, ok := h.c.ImageCommand(d); ok {
		h.Broadcast(machine.Command{Body: body}, nil)
	}
}

// gather collects the answers to a broadcast.
type gather struct {
	mu     sync.Mutex
	values []any // guarded by mu
	left   int   // guarded by mu
	reply  func([]any)
}

func (g *gather) set(i int, value any) {
	g.mu.Lock()
	g.values[i] = value
	g.left--
	last := g.left == 0
	g.mu.Unlock()
	if last {
		g.reply(g.values)
	}
}

// Partition is where a key (group id, transactional id) has its shard.
func (h *Host) Partition(key string) int32 {
	if t, ok := h.c.Image().Topic(h.c.Topic); ok && len(t.Partitions) > 0 {
		return PartitionFor(key, int32(len(t.Partitions)))
	}
	return PartitionFor(key, h.c.PartitionCount)
}

// PartitionFor is Kafka's choice of the coordinator's partition: the absolute value of Java's String.hashCode, which
// is over UTF-16 units, modulo n.
func PartitionFor(key string, n int32) int32 {
	var hash int32
	for _, r := range key {
		if r > 0xffff {
			r -= 0x10000
			hash = 31*hash + (0xd800 + r>>10)
			r = 0xdc00 + r&0x3ff
		}
		hash = 31*hash + r
	}
	if hash < 0 {
		hash = -hash
	}
	if hash < 0 {
		hash = 0 // the one number without an absolute value
	}
	return hash % n
}

// Active gives the partitions whose shards are loaded, in order.
func (h *Host) Active() []int32 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var active []int32
	for partition, s := range h.shards {
		if s.active() {
			active = append(active, partition)
		}
	}
	slices.Sort(active)
	return active
}

// Close stops all shards, refuses what waits and waits for the goroutines, or for ctx.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	for _, s := range h.shards {
		s.stop(ErrClosed)
	}
	clear(h.shards)
	h.mu.Unlock()
	return h.wait(ctx)
}
