package logdir

import (
	"slices"

	"github.com/klamm-io/klamm/internal/schema"
)

// DirInfo describes a log directory, as DescribeLogDirs shows it.
type DirInfo struct {
	Path  string
	ID    schema.UUID
	Err   error // the disk's first error while the node ran, nil if there was none
	Total int64 // bytes of the file system; -1 if unknown, and after Close
	Free  int64
	Logs  []LogInfo // by topic and partition
}

// LogInfo describes a log in a directory.
type LogInfo struct {
	Topic     string
	TopicID   schema.UUID
	Partition int32
	Size      int64
	LogEnd    int64
	Err       error // why it could not be opened; then Size and LogEnd are -1
}

// Info describes the log directories, in the order of the configuration.
func (d *Dirs) Info() []DirInfo {
	out := make([]DirInfo, len(d.dirs))
	for i, dir := range d.dirs {
		out[i] = d.describe(dir)
		out[i].Total, out[i].Free = d.room(dir)
	}
	return out
}

// room asks for a disk's size and what is free of it; -1 if it does not say, or the directories are no longer ours to ask.
func (d *Dirs) room(dir *directory) (total, free int64) {
	d.asking.RLock()
	defer d.asking.RUnlock()
	if d.left {
		return -1, -1
	}
	u, err := d.c.FS.Usage(dir.path)
	if err != nil {
		return -1, -1
	}
	return u.Total, u.Free
}

func (d *Dirs) describe(dir *directory) DirInfo {
	d.mu.RLock()
	info := DirInfo{Path: dir.path, ID: dir.meta.DirectoryID, Err: dir.failed}
	logs := make([]*entry, 0, len(dir.logs))
	for _, e := range dir.logs { // sorted below
		logs = append(logs, e)
	}
	for p, b := range dir.broken { // sorted below
		info.Logs = append(info.Logs, LogInfo{Topic: p.topic, TopicID: b.id, Partition: p.index, Size: -1, LogEnd: -1, Err: b.err})
	}
	d.mu.RUnlock()
	for _, e := range logs { // without the lock: an append may hold the log's
		info.Logs = append(info.Logs, LogInfo{Topic: e.name.topic, TopicID: e.key.id, Partition: e.name.index, Size: e.log.Size(), LogEnd: e.log.View().LogEnd})
	}
	slices.SortFunc(info.Logs, func(a, b LogInfo) int {
		return comparePartitions(partition{a.Topic, a.Partition}, partition{b.Topic, b.Partition})
	})
	return info
}
