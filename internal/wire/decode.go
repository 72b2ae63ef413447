package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DecodeMax bounds what decoding one request may allocate, in bytes, what aliases the frame not counted.
const DecodeMax = 64 << 20

// Cost walks a body without allocating and tells about how many bytes Decode will allocate for it (an upper bound).
// The errors are those of Decode.
func Cost(h RequestHeader, body []byte) (int64, error) {
	a, ok := Lookup(h.Key)
	if !ok {
		return 0, fmt.Errorf("%w %d", ErrUnknownAPI, h.Key)
	}
	if !a.Accepts(h.Version) {
		return 0, fmt.Errorf("%w %d of %s (%d to %d)", ErrUnsupportedVersion, h.Version, a.Name, a.Min, a.Max)
	}
	if a.MaxFrame > 0 && len(body) > a.MaxFrame {
		return 0, fmt.Errorf("%w: %s of %d bytes, at most %d", ErrTooLarge, a.Name, len(body), a.MaxFrame)
	}
	fields := shapes[h.Key]
	w := walker{src: body, flex: a.flexible(h.Version), cost: size(fields) + 64}
	w.structure(fields, h.Version)
	if w.err != nil {
		return 0, fmt.Errorf("%s version %d: %w", a.Name, h.Version, w.err)
	}
	if w.cost > DecodeMax {
		return w.cost, fmt.Errorf("%w: %s of %d bytes would take %d bytes of memory, at most %d", ErrTooLarge, a.Name, len(body), w.cost, DecodeMax)
	}
	return w.cost, nil
}

// Decode reads a request's body. []byte fields of the result alias body, strings do not. It neither panics nor
// allocates more than DecodeMax, whatever the body is. Bytes behind the last field are ignored, as Apache does.
func Decode(h RequestHeader, body []byte) (kmsg.Request, error) {
	if _, err := Cost(h, body); err != nil {
		return nil, err
	}
	return DecodeMeasured(h, body)
}

// DecodeMeasured is Decode for a body that has passed Cost with the same header.
func DecodeMeasured(h RequestHeader, body []byte) (kmsg.Request, error) {
	r := kmsg.RequestForKey(h.Key)
	r.SetVersion(h.Version)
	if err := r.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%s version %d: %w: %w", h.API().Name, h.Version, ErrMalformed, err)
	}
	return r, nil
}
