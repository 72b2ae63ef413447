package server

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"sync"

	"github.com/klamm-io/klamm/internal/wire"
)

// frame is the memory of a request.
type frame struct {
	b     []byte
	class int8 // of the pool; -1 = the garbage collector's
}

// Pooled frames have capacities of 2^minClass to 2^maxClass bytes; larger ones are too rare to keep.
const (
	minClass = 12
	maxClass = 23
)

var pools [maxClass + 1]sync.Pool

func newFrame(n int, pooled bool) *frame {
	class := max(minClass, bits.Len(uint(n-1)))
	if !pooled || class > maxClass {
		return &frame{b: make([]byte, n), class: -1}
	}
	if f, ok := pools[class].Get().(*frame); ok {
		f.b = f.b[:n]
		return f
	}
	return &frame{b: make([]byte, n, 1<<class), class: int8(class)}
}

func (f *frame) free() {
	if f.class >= 0 {
		pools[f.class].Put(f)
	}
}

// firstBytes is what memory is taken for before any of it has arrived; from there on it grows growth-fold.
const (
	firstBytes = 64 << 10
	growth     = 16
)

// fill reads until at least n bytes, a few, are buffered.
func (c *Conn) fill(n int) error {
	if c.w-c.r >= n {
		return nil
	}
	copy(c.in, c.in[c.r:c.w])
	c.r, c.w = 0, c.w-c.r
	for c.w < n {
		k, err := c.readAhead()
		c.w += k
		if err != nil && c.w < n {
			if err == io.EOF && c.w > 0 {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		c.progress(k)
	}
	return nil
}

// readFull fills b from the buffer first.
func (c *Conn) readFull(b []byte) error {
	n := copy(b, c.in[c.r:c.w])
	if c.r += n; c.r == c.w {
		c.dropAhead()
	}
	for n < len(b) {
		k, err := c.nc.Read(b[n:])
		n += k
		if err != nil && n < len(b) {
			if err == io.EOF {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		c.progress(k)
	}
	return nil
}

// readFrame reads the next request's frame, without its length. The budget of frames has been charged with its size
// when it returns without an error.
func (c *Conn) readFrame() (*frame, error) {
	if err := c.fill(4); err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(c.in[c.r:])))
	limit := c.s.limits.Load().RequestBytesMax
	if size < 8 || size > limit {
		return nil, fmt.Errorf("%w: frame of %d bytes (8 to %d)", wire.ErrTooLarge, size, limit)
	}
	if c.w-c.r < 4+size {
		c.begin(size)
		defer c.begin(0)
	}
	if err := c.fill(8); err != nil {
		return nil, err
	}
	key := int16(binary.BigEndian.Uint16(c.in[c.r+4:]))
	api, ok := wire.Lookup(key)
	if !ok {
		return nil, fmt.Errorf("%w %d", wire.ErrUnknownAPI, key)
	}
	if !api.Served() {
		return nil, fmt.Errorf("%w: %s is not served: %s", wire.ErrUnknownAPI, api.Name, api.Absent)
	}
	if api.MaxFrame > 0 && size > api.MaxFrame {
		return nil, fmt.Errorf("%w: %s of %d bytes, at most %d", wire.ErrTooLarge, api.Name, size, api.MaxFrame)
	}
	c.r += 4
	c.ahead = aheadBytes
	if size > aheadBytes-4 {
		c.ahead = aheadLeast // the next one is likely to be as large, and goes to its frame without a copy
	}
	pooled := key == wire.KeyProduce
	f := newFrame(min(size, firstBytes), pooled)
	if err := c.readFull(f.b); err != nil {
		f.free()
		return nil, err
	}
	c.begin(0) // the node's budget is not the client's fault
	if !c.acquire(&c.s.frames, int64(size)) {
		f.free()
		return nil, errClosed
	}
	if len(f.b) < size {
		c.begin(size)
	}
	for have := len(f.b); have < size; have = len(f.b) {
		grown := have * growth
		if size <= 2*grown {
			grown = size // what comes last is not moved once more for a small rest
		}
		next := newFrame(grown, pooled)
		copy(next.b, f.b)
		f.free()
		f = next
		if err := c.readFull(f.b[have:]); err != nil {
			f.free()
			c.s.frames.release(int64(size))
			return nil, err
		}
	}
	return f, nil
}
