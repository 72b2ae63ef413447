package group

import (
	"encoding/binary"
	"slices"
	"unicode/utf16"

	"github.com/zeebo/xxh3"

	"github.com/klamm-io/klamm/internal/metadata"
)

// A group's hash says whether the metadata that its assignment depends on changed. It is Kafka's, so that a group that
// goes from one kind of coordinator to the other is not rebalanced for it: XXH3 (64 bits) over little-endian integers,
// strings as UTF-16 units and then their number.
//
//	topic: byte 0 | id's upper int64 | lower int64 | name | int32 partitions | for each: int32 partition | for each rack,
//	       sorted: int32 length | rack
//	group: int64 hash of each topic, by name; 0 for no topics

// hashedTopic is a topic's hash with the topic that it was taken of. A topic in an image is never changed, so another
// one has another pointer. Racks of brokers are taken in when the topic changes, as in Kafka.
type hashedTopic struct {
	topic *metadata.Topic
	hash  uint64
}

// groupHash is the hash over topics, which are sorted; those that do not exist are left out.
func (m *Machine) groupHash(image *metadata.Image, topics []string) int64 {
	var b []byte
	for _, name := range topics {
		topic, ok := image.Topic(name)
		if !ok {
			continue
		}
		h := m.hashes[name]
		if h.topic != topic {
			h = hashedTopic{topic, topicHash(image, topic)}
			m.hashes[name] = h
		}
		b = binary.LittleEndian.AppendUint64(b, h.hash)
	}
	if len(b) == 0 {
		return 0
	}
	return int64(xxh3.Hash(b))
}

func topicHash(image *metadata.Image, t *metadata.Topic) uint64 {
	b := make([]byte, 1, 64+4*len(t.Partitions)+2*len(t.Name))
	b = binary.LittleEndian.AppendUint64(b, binary.BigEndian.Uint64(t.ID[:8]))
	b = binary.LittleEndian.AppendUint64(b, binary.BigEndian.Uint64(t.ID[8:]))
	b = appendHashed(b, t.Name)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Partitions)))
	for i, p := range t.Partitions {
		b = binary.LittleEndian.AppendUint32(b, uint32(i))
		var racks []string
		for _, id := range p.Replicas {
			if broker, ok := image.Broker(id); ok && broker.Rack != nil {
				racks = append(racks, *broker.Rack)
			}
		}
		slices.Sort(racks)
		for _, rack := range racks {
			b = binary.LittleEndian.AppendUint32(b, uint32(utf16Len(rack)))
			b = appendHashed(b, rack)
		}
	}
	return xxh3.Hash(b)
}

func appendHashed(b []byte, s string) []byte {
	units := utf16.Encode([]rune(s))
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return binary.LittleEndian.AppendUint32(b, uint32(len(units)))
}
