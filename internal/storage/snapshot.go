package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"sort"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// A producer snapshot: version int16, CRC-32C of what follows it, number of entries int32, entries.
const (
	snapshotVersion   = 1
	snapshotCRC       = 2
	snapshotEntries   = 6
	snapshotHeader    = 10
	snapshotEntrySize = 46
	maxSnapshot       = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errSnapshot says that a snapshot cannot be used; it is removed, and an older one is taken.
var errSnapshot = errors.New("producer snapshot is corrupt")

func encodeSnapshot(entries []schema.ProducerEntry) []byte {
	b := make([]byte, snapshotHeader, snapshotHeader+len(entries)*snapshotEntrySize)
	binary.BigEndian.PutUint16(b, snapshotVersion)
	binary.BigEndian.PutUint32(b[snapshotEntries:], uint32(len(entries)))
	for i := range entries {
		b = entries[i].AppendTo(b, snapshotVersion)
	}
	binary.BigEndian.PutUint32(b[snapshotCRC:], crc32.Checksum(b[snapshotEntries:], castagnoli))
	return b
}

// decodeSnapshot calls each for every producer; all or none, for the checksum is compared first.
func decodeSnapshot(b []byte, each func(*schema.ProducerEntry)) error {
	if len(b) < snapshotHeader {
		return fmt.Errorf("%w: %d bytes", errSnapshot, len(b))
	}
	if v := binary.BigEndian.Uint16(b); v != snapshotVersion {
		return fmt.Errorf("%w: version %d", errSnapshot, v)
	}
	if stored, computed := binary.BigEndian.Uint32(b[snapshotCRC:]), crc32.Checksum(b[snapshotEntries:], castagnoli); stored != computed {
		return fmt.Errorf("%w: stored CRC %d, computed CRC %d", errSnapshot, stored, computed)
	}
	n := int32(binary.BigEndian.Uint32(b[snapshotEntries:]))
	rest := b[snapshotHeader:]
	if n < 0 || int64(n)*snapshotEntrySize != int64(len(rest)) {
		return fmt.Errorf("%w: %d entries announced in %d bytes", errSnapshot, n, len(rest))
	}
	for range n {
		var x schema.ProducerEntry
		var err error
		if rest, err = x.ReadFrom(rest, snapshotVersion); err != nil {
			return fmt.Errorf("%w: %w", errSnapshot, err)
		}
		each(&x)
	}
	return nil
}

// ReadSnapshot reads a producer snapshot, for tools.
func ReadSnapshot(fsys vfs.FS, path string) ([]schema.ProducerEntry, error) {
	b, err := readWhole(fsys, path, maxSnapshot)
	if err != nil {
		return nil, err
	}
	var out []schema.ProducerEntry
	err = decodeSnapshot(b, func(x *schema.ProducerEntry) { out = append(out, *x) })
	return out, err
}

// writeSnapshot writes a snapshot without making it durable: Flush and Close do that, before anything relies on it. A
// torn one fails its checksum.
func writeSnapshot(fsys vfs.FS, path string, entries []schema.ProducerEntry, sync bool) error {
	f, err := fsys.OpenFile(path, vfs.ReadWrite|vfs.Create|vfs.Truncate, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(encodeSnapshot(entries), 0)
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFile makes a file durable that was written before. One that is gone meanwhile needs no durability.
func syncFile(fsys vfs.FS, path string) error {
	f, err := fsys.OpenFile(path, vfs.ReadWrite, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// KeepProducers writes the producers' state where a log ends that is flushed and took nothing since the last call: a recovery from there
// need not read headers then. It does nothing where somebody is busy with the log's files.
func (l *Log) KeepProducers() error {
	l.mu.Lock()
	idle := l.keptAt == l.end
	l.keptAt = l.end
	due := idle && l.refuse() == nil && l.recoveryPoint == l.end && l.end > l.producers.lastSnap
	l.mu.Unlock()
	if !due || !l.files.TryLock() {
		return nil
	}
	defer l.files.Unlock()
	if l.freeze() != nil {
		return nil
	}
	defer l.thaw()
	if l.end != l.keptAt {
		return nil
	}
	before := slices.Clone(l.producers.snapshots)
	written, err := l.snapshot(l.end, false) // torn by a loss of power it costs reading the headers
	if !written || err != nil {
		return err
	}
	l.mu.Lock()
	l.freshSnaps = append(l.freshSnaps, l.end)
	l.mu.Unlock()
	p := &l.producers
	for _, old := range slices.DeleteFunc(before, l.begins) { // earlier ones of the kind
		path := filePath(l.Dir(), old, suffixSnapshot)
		if err := removeIfThere(l.fs, path); err != nil {
			return l.fileError(path, err)
		}
		p.snapshots = slices.DeleteFunc(p.snapshots, func(x int64) bool { return x == old })
	}
	return nil
}

// begins says whether a segment begins at an offset.
func (l *Log) begins(offset int64) bool {
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].base >= offset })
	return i < len(l.segments) && l.segments[i].base == offset
}
