package share

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/klamm-io/klamm/internal/schema"
)

// Key names a share partition.
type Key struct {
	Group     string
	Topic     schema.UUID
	Partition int32
}

// String is the key by which a share partition finds its coordinator, "group:topicId:partition".
func (k Key) String() string {
	return k.Group + ":" + k.Topic.String() + ":" + strconv.Itoa(int(k.Partition))
}

// ParseKey reads what String writes. It reads from the right, since a group's id may have colons.
func ParseKey(s string) (Key, bool) {
	left, number, ok := cutLast(s)
	if !ok {
		return Key{}, false
	}
	group, topic, ok := cutLast(left)
	if !ok || strings.TrimSpace(group) == "" {
		return Key{}, false
	}
	id, err := schema.ParseUUID(topic)
	if err != nil {
		return Key{}, false
	}
	partition, err := strconv.ParseInt(number, 10, 32)
	return Key{Group: group, Topic: id, Partition: int32(partition)}, err == nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

func (k Key) compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Group, o.Group), slices.Compare(k.Topic[:], o.Topic[:]), cmp.Compare(k.Partition, o.Partition))
}
