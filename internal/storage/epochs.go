package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/klamm-io/klamm/internal/vfs"
)

// Epoch says where the records of a leader epoch begin.
type Epoch struct {
	Epoch int32
	Start int64
}

// NoEpoch and NoOffset are EpochEndOffset's answer where the epoch is unknown.
const (
	NoEpoch  int32 = -1
	NoOffset int64 = -1
)

// epochs are a log's leader epochs, both fields ascending. They are never changed in place: Views hold them.
type epochs []Epoch

// assign adds an epoch. What contradicts it goes: epochs not below it, and epochs that begin not before it. It reports
// whether anything changed; for an epoch already there it is a no-op, unless it begins earlier.
func (e epochs) assign(epoch int32, start int64) (epochs, bool) {
	n := len(e)
	if n > 0 && e[n-1].Epoch == epoch && e[n-1].Start <= start {
		return e, false
	}
	for n > 0 && (e[n-1].Epoch >= epoch || e[n-1].Start >= start) {
		n--
	}
	return append(slices.Clip(e[:n:n]), Epoch{epoch, start}), true
}

// truncateEnd drops the epochs that begin at or behind the log's new end.
func (e epochs) truncateEnd(end int64) (epochs, bool) {
	n := sort.Search(len(e), func(i int) bool { return e[i].Start >= end })
	return e[:n:n], n < len(e)
}

// truncateStart drops the epochs that end at or before the log's new start; the one that holds it then begins there.
func (e epochs) truncateStart(start int64) (epochs, bool) {
	n := sort.Search(len(e), func(i int) bool { return e[i].Start > start })
	if n == 0 || n == 1 && e[0].Start == start {
		return e, false
	}
	kept := slices.Clone(e[n-1:])
	kept[0].Start = start
	return kept, true
}

// latest is the last epoch, NoEpoch if there is none.
func (e epochs) latest() int32 {
	if len(e) == 0 {
		return NoEpoch
	}
	return e[len(e)-1].Epoch
}

// at is the epoch that an offset belongs to, NoEpoch if it is before the first.
func (e epochs) at(offset int64) int32 {
	n := sort.Search(len(e), func(i int) bool { return e[i].Start > offset })
	if n == 0 {
		return NoEpoch
	}
	return e[n-1].Epoch
}

// end answers OffsetForLeaderEpoch: the largest epoch not above the asked one, and where the next one begins. An epoch
// before the first has no records left here, so the first's start is given under the asked epoch's number: a follower
// then truncates to it and reads on. (KIP-101, KIP-279)
func (e epochs) end(epoch int32, logEnd int64) (int32, int64) {
	if epoch < 0 || len(e) == 0 {
		return NoEpoch, NoOffset
	}
	if epoch == e.latest() {
		return epoch, logEnd
	}
	n := sort.Search(len(e), func(i int) bool { return e[i].Epoch > epoch })
	switch n {
	case len(e):
		return NoEpoch, NoOffset
	case 0:
		return epoch, e[0].Start
	}
	return e[n-1].Epoch, e[n].Start
}

// encode writes leader-epoch-checkpoint: version, number of entries, "epoch start" a line.
func (e epochs) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "0\n%d\n", len(e))
	for _, x := range e {
		fmt.Fprintf(&b, "%d %d\n", x.Epoch, x.Start)
	}
	return b.Bytes()
}

// decodeEpochs reads what encode and Apache write. An empty file has no entries. Entries that contradict each other are
// resolved as if they had been assigned one after the other.
func decodeEpochs(b []byte) (epochs, error) {
	lines := strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) < 2 {
		return nil, nil
	}
	if lines[0] != "0" {
		return nil, fmt.Errorf("version %q where 0 is expected", lines[0])
	}
	n, err := strconv.Atoi(lines[1])
	if err != nil || n != len(lines)-2 {
		return nil, fmt.Errorf("%q entries announced, %d found", lines[1], len(lines)-2)
	}
	var e epochs
	for i, line := range lines[2:] {
		f := strings.Fields(line)
		if len(f) != 2 {
			return nil, fmt.Errorf("line %d: %q is not an epoch and an offset", i+3, line)
		}
		epoch, err1 := strconv.ParseInt(f[0], 10, 32)
		start, err2 := strconv.ParseInt(f[1], 10, 64)
		if err := errors.Join(err1, err2); err != nil || epoch < 0 || start < 0 {
			return nil, fmt.Errorf("line %d: %q is not an epoch and an offset", i+3, line)
		}
		e, _ = e.assign(int32(epoch), start)
	}
	return e, nil
}

func readEpochs(fsys vfs.FS, path string) (epochs, error) {
	b, err := readWhole(fsys, path, maxSmallFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeEpochs(b)
}
