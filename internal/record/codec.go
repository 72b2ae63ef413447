package record

import "fmt"

// Codec is a compression type by its id in a batch's attributes.
type Codec int8

// The codecs.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// String gives the name that compression.type uses.
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("unknown(%d)", int8(c))
}

// Valid says that the codec exists; three bits of a header can name more than do.
func (c Codec) Valid() bool { return c >= None && c <= Zstd }

// ParseCodec reads a codec's name as compression.type has it. "uncompressed", the broker's word for none, is
// accepted; "producer" is not a codec.
func ParseCodec(name string) (Codec, error) {
	for c := None; c <= Zstd; c++ {
		if c.String() == name {
			return c, nil
		}
	}
	if name == "uncompressed" {
		return None, nil
	}
	return 0, fmt.Errorf("unknown compression codec %q", name)
}
