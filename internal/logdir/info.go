package logdir

import (
	"slices"

	"github.com/klamm-io/klamm/internal/schema"
)

// DirInfo describes a log directory, as DescribeLogDirs shows it.
type DirInfo struct {
	Path string
	ID   schema.UUID
	Err  error // why it is offline: the disk's first error; nil if there was none
	// Cordoned says that it gets no new logs.
	Cordoned bool
	Total    int64 // bytes of the file system; -1 if unknown, and after Close
	Free     int64
	Logs     []LogInfo // by topic and partition
}

// LogInfo describes a log in a directory.
type LogInfo struct {
	Topic     string
	TopicID   schema.UUID
	Partition int32
	Size      int64
	LogEnd    int64
	Future    bool  // a copy of a log that moves here
	Lag       int64 // offsets that a copy is behind; otherwise, that the high watermark is ahead of the log's end
	Err       error // why it could not be opened; then Size and LogEnd are -1
}

// Info describes the log directories, in the order of the configuration.
func (d *Dirs) Info() []DirInfo {
	out := make([]DirInfo, len(d.dirs))
	for i, dir := range d.dirs {
		out[i] = d.describe(dir)
		out[i].Total, out[i].Free = -1, -1
		if out[i].Err == nil {
			out[i].Total, out[i].Free = d.room(dir)
		}
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
	info := DirInfo{Path: dir.path, ID: dir.meta.DirectoryID, Err: dir.failed, Cordoned: d.cordoned[dir.path]}
	logs := make([]*entry, 0, len(dir.logs))
	for _, e := range dir.logs { // sorted below
		logs = append(logs, e)
	}
	for p, b := range dir.broken { // sorted below
		info.Logs = append(info.Logs, LogInfo{Topic: p.topic, TopicID: b.id, Partition: p.index, Size: -1, LogEnd: -1, Err: b.err})
	}
	var futures []*move
	for _, m := range d.moves { // sorted below
		if m.dir == dir {
			futures = append(futures, m)
		}
	}
	d.mu.RUnlock()
	for _, e := range logs { // without the lock: an append may hold the log's
		v := e.log.View()
		info.Logs = append(info.Logs, LogInfo{Topic: e.name.topic, TopicID: e.key.id, Partition: e.name.index, Size: e.log.Size(),
			LogEnd: v.LogEnd, Lag: max(v.HighWatermark-v.LogEnd, 0)})
	}
	for _, m := range futures {
		end := m.future.View().LogEnd
		info.Logs = append(info.Logs, LogInfo{Topic: m.e.name.topic, TopicID: m.e.key.id, Partition: m.e.name.index, Size: m.future.Size(),
			LogEnd: end, Future: true, Lag: m.e.log.View().LogEnd - end})
	}
	slices.SortFunc(info.Logs, func(a, b LogInfo) int {
		return comparePartitions(partition{a.Topic, a.Partition}, partition{b.Topic, b.Partition})
	})
	return info
}
