package quorum

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Names in a metadata directory.
const (
	LogDir        = "__cluster_metadata-0"
	bootstrapFile = "bootstrap.checkpoint"
	stateFile     = "quorum-state"
	suffix        = ".checkpoint"
)

// maxSnapshot bounds what is read of one snapshot into memory.
const maxSnapshot = 4 << 30

// snapshotID names a snapshot: it holds everything below End, the last of it written in Epoch.
type snapshotID struct {
	End   int64
	Epoch int32
}

func (s snapshotID) name() string { return fmt.Sprintf("%020d-%010d%s", s.End, s.Epoch, suffix) }

func parseSnapshot(name string) (snapshotID, bool) {
	stem, ok := strings.CutSuffix(name, suffix)
	if !ok || len(stem) != 31 || stem[20] != '-' {
		return snapshotID{}, false
	}
	end, err1 := strconv.ParseInt(stem[:20], 10, 64)
	epoch, err2 := strconv.ParseInt(stem[21:], 10, 32)
	return snapshotID{end, int32(epoch)}, err1 == nil && err2 == nil
}

// snapshots lists what a directory holds, oldest first.
func snapshots(f vfs.FS, dir string) ([]snapshotID, error) {
	names, err := f.List(dir)
	if err != nil {
		return nil, err
	}
	var ids []snapshotID
	for _, n := range names { // sorted by name, and so by offset
		if id, ok := parseSnapshot(n); ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// makeLogDir makes the log's directory, durably: without its name, what is synced in it would be lost.
func makeLogDir(f vfs.FS, dir string) error {
	if err := f.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return f.SyncDir(filepath.Dir(dir))
}

func readState(f vfs.FS, dir string) (*schema.QuorumState, error) {
	name := filepath.Join(dir, stateFile)
	b, err := vfs.ReadWhole(f, name, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := schema.DecodeQuorumState(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &s, nil
}

func writeState(f vfs.FS, dir string, s *schema.QuorumState) error {
	b, err := s.AppendTo(nil)
	if err != nil {
		return err
	}
	return vfs.Replace(f, filepath.Join(dir, stateFile), b)
}

// checkpoint builds the bytes of a snapshot or bootstrap file: a header, the records, a footer.
type checkpoint struct {
	codecs *record.Codecs
	epoch  int32
	now    int64
	offset int64
	out    []byte
}

// control appends a control batch.
func (c *checkpoint) control(records ...schema.Record) {
	b := controlBatch(c.codecs, records, c.now)
	c.add(b)
}

func (c *checkpoint) add(b record.Batch) {
	b.SetBaseOffset(c.offset)
	b.SetLeaderEpoch(c.epoch)
	c.offset += int64(b.LastOffsetDelta()) + 1
	c.out = append(c.out, b...)
}

// records appends metadata records in batches of at most batchRecords.
func (c *checkpoint) records(rs []schema.Record, mv int16) {
	for len(rs) > 0 {
		n := min(len(rs), batchRecords)
		c.add(dataBatch(c.codecs, rs[:n], mv, c.now))
		rs = rs[n:]
	}
}

// batchRecords is how many records a batch of a snapshot holds at most.
const batchRecords = 1024

// Bootstrap gives the records that begin a cluster at a metadata.version: the level of each feature that a new cluster
// of that version has, metadata.version first. kraft.version stands in control records instead.
func Bootstrap(metadataVersion int16) []schema.Record {
	records := []schema.Record{&schema.FeatureLevel{Name: metadata.MetadataVersionFeature, FeatureLevel: metadataVersion}}
	for _, f := range metadata.SupportedFeatures() {
		level := f.Default(metadataVersion)
		if f.Name != metadata.MetadataVersionFeature && f.Name != metadata.KRaftVersionFeature && level > 0 {
			records = append(records, &schema.FeatureLevel{Name: f.Name, FeatureLevel: level})
		}
	}
	return records
}

// WriteBootstrap writes bootstrap.checkpoint, with which `format` tells the first controller how to begin.
func WriteBootstrap(f vfs.FS, dir string, codecs *record.Codecs, records []schema.Record, now int64) error {
	c := checkpoint{codecs: codecs, now: now}
	c.control(&schema.SnapshotHeader{})
	c.records(records, versionOf(records))
	c.control(&schema.SnapshotFooter{})
	return vfs.Replace(f, filepath.Join(dir, bootstrapFile), c.out)
}

// WriteVoters writes the snapshot at offset 0 with which `format --standalone` names the quorum's first voter.
func WriteVoters(f vfs.FS, dir string, codecs *record.Codecs, voters []schema.Voter, now int64) error {
	c := checkpoint{codecs: codecs, now: now}
	c.control(&schema.SnapshotHeader{}, &schema.KRaftVersion{KRaftVersion: 1}, &schema.KRaftVoters{Voters: voters})
	c.control(&schema.SnapshotFooter{})
	logDir := filepath.Join(dir, LogDir)
	if err := makeLogDir(f, logDir); err != nil {
		return err
	}
	return vfs.Replace(f, filepath.Join(logDir, snapshotID{}.name()), c.out)
}

// versionOf is the metadata.version that records finalise, 0 if they do not.
func versionOf(records []schema.Record) int16 {
	for _, r := range records {
		if l, ok := r.(*schema.FeatureLevel); ok && l.Name == metadata.MetadataVersionFeature {
			return l.FeatureLevel
		}
	}
	return 0
}

// readBootstrap gives the records of bootstrap.checkpoint; nil if there is none.
func readBootstrap(f vfs.FS, dir string, codecs *record.Codecs) ([]schema.Record, error) {
	name := filepath.Join(dir, bootstrapFile)
	b, err := vfs.ReadWhole(f, name, maxSnapshot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	records := []schema.Record{} // an empty file is not a missing one: the controller refuses it
	keep := func(r schema.Record, _ int64) error {
		records = append(records, r)
		return nil
	}
	err = eachBatch(b, func(batch record.Batch) error {
		return eachRecord(codecs, batch, keep, func(schema.Record, int64) error { return nil })
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return records, nil
}

func eachBatch(b []byte, f func(record.Batch) error) error {
	for len(b) > 0 {
		batch, rest, err := record.Next(b)
		if err != nil {
			return err
		}
		if err := batch.CheckCRC(); err != nil {
			return err
		}
		if err := f(batch); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func controlBatch(codecs *record.Codecs, records []schema.Record, now int64) record.Batch {
	b := codecs.NewBuilder()
	b.Control = true
	for _, r := range records {
		b.Add(now, schema.AppendControlKey(nil, schema.ControlType(r.Type())), r.AppendTo(nil, 0), nil)
	}
	return b.Bytes()
}

func dataBatch(codecs *record.Codecs, records []schema.Record, mv int16, now int64) record.Batch {
	b := codecs.NewBuilder()
	for _, r := range records {
		b.Add(now, nil, schema.Encode(nil, r, metadata.RecordVersion(r, mv)), nil)
	}
	return b.Bytes()
}
