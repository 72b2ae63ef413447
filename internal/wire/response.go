package wire

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/klamm-io/klamm/internal/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Part is a piece of a response: bytes in memory, or a stretch of a file. One of the two is set.
type Part struct {
	Bytes []byte
	File  vfs.Range
}

// Len is the part's length on the wire.
func (p Part) Len() int64 {
	if p.File.File != nil {
		return p.File.Length
	}
	return int64(len(p.Bytes))
}

// Response is a whole frame, its length included, as it goes to the socket. Whoever holds it must either send it or
// drop it, and call Release once in both cases.
type Response []Part

// Len is the response's length on the wire, the four bytes of the frame's length included.
func (r Response) Len() int64 {
	var n int64
	for i := range r {
		n += r[i].Len()
	}
	return n
}

// Memory is the length of the parts that are held in memory.
func (r Response) Memory() int64 {
	var n int64
	for i := range r {
		n += int64(len(r[i].Bytes))
	}
	return n
}

// Release gives the references to files back. It must be called exactly once.
func (r Response) Release() {
	for i := range r {
		r[i].File.Release()
	}
}

// Encode builds the frame of a response of kmsg: length, header, body in one buffer. The body is encoded in version,
// whatever the response's own was.
func Encode(key, version int16, correlation int32, resp kmsg.Response) Response {
	resp.SetVersion(version)
	b := resp.AppendTo(Begin(make([]byte, 0, 256), key, version, correlation))
	r := Response{{Bytes: b}}
	r.Seal()
	return r
}

// Begin appends room for a frame's length and the response header: the start of a response that is built by hand. Seal
// fills the length in when the parts are complete.
func Begin(dst []byte, key, version int16, correlation int32) []byte {
	return AppendResponseHeader(append(dst, 0, 0, 0, 0), key, version, correlation)
}

// Seal writes the frame's length into the first part, which Begin must have started. A response of 2 GiB cannot be
// framed: whoever builds one checks before (fetch.max.bytes is an int32), so that is a bug.
func (r Response) Seal() {
	n := r.Len() - 4
	if n > math.MaxInt32 || len(r) == 0 || len(r[0].Bytes) < 8 {
		panic(fmt.Sprintf("wire: response of %d bytes in %d parts cannot be framed", n, len(r)))
	}
	binary.BigEndian.PutUint32(r[0].Bytes, uint32(n))
}

// WithHeader puts length and header before a body that was built by hand.
func WithHeader(key, version int16, correlation int32, body Response) Response {
	r := make(Response, 0, 1+len(body))
	r = append(r, Part{Bytes: Begin(make([]byte, 0, 9), key, version, correlation)})
	r = append(r, body...)
	r.Seal()
	return r
}
