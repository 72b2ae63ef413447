package logdir

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klamm-io/klamm/internal/vfs"
)

// The checkpoints of a directory, one file each.
const (
	recoveryPoints = iota
	startOffsets
	highWatermarks
	cleanedOffsets
	checkpointKinds
)

var checkpointFiles = [checkpointKinds]string{
	"recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "replication-offset-checkpoint",
	"cleaner-offset-checkpoint",
}

// offsets is the content of a checkpoint. A map that is complete is not changed any more.
type offsets map[partition]int64

// encode gives the file's text, ordered.
func (o offsets) encode() []byte {
	names := make([]partition, 0, len(o))
	for p := range o { // sorted below
		names = append(names, p)
	}
	slices.SortFunc(names, comparePartitions)
	b := fmt.Appendf(make([]byte, 0, 64*len(o)+16), "0\n%d\n", len(o))
	for _, p := range names {
		b = append(append(b, p.topic...), ' ')
		b = append(strconv.AppendInt(b, int64(p.index), 10), ' ')
		b = append(strconv.AppendInt(b, o[p], 10), '\n')
	}
	return b
}

func comparePartitions(a, b partition) int {
	return cmp.Or(strings.Compare(a.topic, b.topic), cmp.Compare(a.index, b.index))
}

// decodeOffsets reads a checkpoint's text: version 0, the number of lines, the lines. An empty file has no lines: Apache
// creates it like this. The last line must be complete, for one that was cut within its number still reads as one.
func decodeOffsets(b []byte) (offsets, error) {
	out := offsets{}
	if len(b) == 0 {
		return out, nil
	}
	if b[len(b)-1] != '\n' {
		return nil, fmt.Errorf("%w: the last line is cut off", ErrMalformed)
	}
	lines := bytes.Split(b[:len(b)-1], []byte{'\n'})
	if v := text(lines[0]); v != "0" {
		return nil, fmt.Errorf("%w: version %q where 0 is expected", ErrMalformed, v)
	}
	if len(lines) < 2 {
		return nil, fmt.Errorf("%w: no count", ErrMalformed)
	}
	count, err := strconv.Atoi(text(lines[1]))
	if err != nil || count != len(lines)-2 {
		return nil, fmt.Errorf("%w: %d lines where %q are expected", ErrMalformed, len(lines)-2, text(lines[1]))
	}
	for i, line := range lines[2:] {
		f := strings.Fields(text(line))
		if len(f) != 3 {
			return nil, fmt.Errorf("%w: line %d: %q", ErrMalformed, i+3, line)
		}
		index, err := strconv.ParseInt(f[1], 10, 32)
		offset, err2 := strconv.ParseInt(f[2], 10, 64)
		if err != nil || err2 != nil || index < 0 || offset < 0 {
			return nil, fmt.Errorf("%w: line %d: %q", ErrMalformed, i+3, line)
		}
		out[partition{f[0], int32(index)}] = offset
	}
	return out, nil
}

func text(line []byte) string { return string(bytes.TrimSuffix(line, []byte{'\r'})) }

// checkpoint is one such file.
type checkpoint struct {
	fs   vfs.FS
	path string

	mu    sync.Mutex // serialises writing, from the look at the logs on, so that an older look never replaces a newer one. Guards:
	known offsets    // what the file says; nil if that is not known
	kept  []line     // of the last look, to be used again
	logs  []*entry
}

// line is what a checkpoint says of a log.
type line struct {
	name   partition
	offset int64
}

// read reads the file. What is malformed is unknown, and said; the error is the disk's.
func (c *checkpoint) read(logger *slog.Logger) error {
	b, err := readSmall(c.fs, c.path)
	if errors.Is(err, fs.ErrNotExist) {
		c.known = offsets{}
		return nil
	}
	if err == nil {
		c.known, err = decodeOffsets(b)
	}
	if errors.Is(err, ErrMalformed) {
		logger.Warn("a checkpoint cannot be read and counts as unknown: logs without a clean shutdown are checked from their beginning",
			"file", c.path, "error", err)
		return nil
	}
	return err
}

// write makes the file say what look gives, if it does not already. Where nothing has changed it allocates nothing: that is
// the common case, every few seconds, with as many lines as there are logs.
func (c *checkpoint) write(look func(c *checkpoint) func(func(partition, int64) bool)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := look(c)
	defer func() { clear(c.kept); clear(c.logs) }() // nothing is kept alive
	if c.says(lines) {
		return nil
	}
	now := make(offsets, len(c.kept)+len(c.logs))
	maps.Insert(now, lines)
	c.known = nil
	if err := vfs.Replace(c.fs, c.path, now.encode()); err != nil {
		return err
	}
	c.known = now
	return nil
}

// says whether the file has these lines and no others. mu is held.
func (c *checkpoint) says(lines func(func(partition, int64) bool)) bool {
	if c.known == nil {
		return false
	}
	n := 0
	for p, offset := range lines {
		if known, there := c.known[p]; !there || known != offset {
			return false
		}
		n++
	}
	return n == len(c.known)
}

// mayHave says whether the file has a line for a partition, or may have one.
func (c *checkpoint) mayHave(p partition) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, there := c.known[p]
	return there || c.known == nil
}
