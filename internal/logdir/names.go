package logdir

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/klamm-io/klamm/internal/schema"
)

// Files at a directory's root.
const (
	fileLock  = ".lock"
	fileMeta  = "meta.properties"
	fileClean = ".kafka_cleanshutdown"
)

// Ends of the names of directories that hold no log in use.
const (
	suffixDelete = "-delete"
	suffixStray  = "-stray"
	suffixFuture = "-future"
)

// metadataTopic has its log in the metadata directory; the quorum opens it.
const metadataTopic = "__cluster_metadata"

const (
	nameMax  = 255 // bytes of a directory's name
	topicMax = 249 // characters of a topic's name
)

// partition names a log as directories and checkpoints do.
type partition struct {
	topic string
	index int32
}

func (p partition) String() string { return p.topic + "-" + strconv.Itoa(int(p.index)) }

// legal says whether a topic's name can be a directory's. The controller refuses others; here it keeps a name from
// leading out of the directory.
func legal(topic string) bool {
	if topic == "" || topic == "." || topic == ".." || len(topic) > topicMax {
		return false
	}
	for i := range len(topic) {
		c := topic[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// kind is what a directory's name says of it.
type kind int

const (
	kindNone kind = iota // no partition's
	kindLog
	kindDelete
	kindStray
	kindFuture
)

// parseName reads a directory's name: topic-partition, or topic-partition.unique-suffix.
func parseName(name string) (partition, kind) {
	k := kindLog
	for _, s := range []struct {
		suffix string
		kind   kind
	}{{suffixDelete, kindDelete}, {suffixStray, kindStray}, {suffixFuture, kindFuture}} {
		rest, found := strings.CutSuffix(name, s.suffix)
		if !found {
			continue
		}
		dot := strings.LastIndexByte(rest, '.')
		if dot < 0 {
			return partition{}, kindNone
		}
		name, k = rest[:dot], s.kind
		break
	}
	dash := strings.LastIndexByte(name, '-')
	if dash < 0 {
		return partition{}, kindNone
	}
	topic, digits := name[:dash], name[dash+1:]
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != digits || !legal(topic) {
		return partition{}, kindNone
	}
	return partition{topic, int32(n)}, k
}

// futureName is the name of the directory in which a copy of a log grows.
func futureName(p partition, unique schema.UUID) string {
	return p.String() + "." + hex.EncodeToString(unique[:]) + suffixFuture
}

// retiredName is the name that a log's directory gets when its log is to go or to be set aside. The topic's name is cut
// where the whole would be too long for a directory.
func retiredName(p partition, unique schema.UUID, suffix string) string {
	end := fmt.Sprintf("-%d.%s%s", p.index, hex.EncodeToString(unique[:]), suffix)
	return p.topic[:min(len(p.topic), nameMax-len(end))] + end
}
