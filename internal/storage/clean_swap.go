package storage

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/klamm-io/klamm/internal/vfs"
)

// replace puts a compacted segment, complete and durable under its .cleaned names, in the place of the segments that it
// was made of. Done says that it became part of the log; otherwise nothing has changed.
//
// The steps, each durable before the next:
//
//	.cleaned -> .swap       until the last of these is durable, Open removes them all and nothing has happened;
//	                        from then on it completes what follows
//	old -> .deleted         readers who have an older View still read these, until file.delete.delay.ms is over
//	.log.swap -> .log       first: beside a .log.swap, Open takes indexes without the suffix for those of the old segment
//	the rest of .swap
//
// Without a sync between them, a crash could keep the second and lose the first: then the records would be in no file.
func (l *Log) replace(old []*segment, s *segment, truncations int, dir string, now time.Time) (done bool, err error) {
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.replaceable(old, truncations, dir); err != nil {
		return false, err
	}
	names, err := l.fs.OpenDir(l.Dir()) // first: if too many files are open, nothing has begun
	if err != nil {
		return false, l.fileError(".", err)
	}
	defer names.Close()
	if err := l.suffix(names, s, suffixCleaned, suffixSwap); err != nil {
		return false, errors.Join(err, l.unswap(names, s))
	}
	l.exchange(old, s)
	// From here on the disk and the log agree on what is; if a step fails, only Open can repair the names.
	return true, l.doom(l.finishReplace(names, old, s, now))
}

// replaceable says whether the log still has the segments, one after the other, and is the same otherwise.
func (l *Log) replaceable(old []*segment, truncations int, dir string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refuse(); err != nil {
		return err
	}
	i := slices.Index(l.segments, old[0])
	if i < 0 || i+len(old) >= len(l.segments) || !slices.Equal(l.segments[i:i+len(old)], old) || l.truncations != truncations || l.Dir() != dir {
		return ErrCleaningAborted
	}
	return nil
}

// suffix renames a segment's files from one suffix to another, durably.
func (l *Log) suffix(names vfs.Dir, s *segment, from, to string) error {
	for _, f := range s.files() {
		if err := swapSuffix(f.h, from, to); err != nil {
			return err
		}
	}
	return l.fileError(".", names.Sync())
}

// swapSuffix renames a file that has the suffix; a transaction index need not be there.
func swapSuffix(h *handle, from, to string) error {
	name, has := strings.CutSuffix(h.name(), from)
	if !has {
		return nil
	}
	if err := h.rename(name + to); err != nil {
		if !errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(name, suffixTxnIndex) {
			return fail(h, -1, err)
		}
		h.moved(name + to)
	}
	return nil
}

// unswap takes back a renaming to .swap that failed half way. The .swap files must be gone for sure before the .cleaned
// ones are: alone, they would count as complete at the next Open. If that fails too, the log is not usable until then.
func (l *Log) unswap(names vfs.Dir, s *segment) error {
	var errs []error
	for _, f := range s.files() {
		if strings.HasSuffix(f.h.name(), suffixSwap) {
			errs = append(errs, fail(f.h, -1, removeIfThere(l.fs, f.h.name())))
		}
	}
	errs = append(errs, l.fileError(".", names.Sync()))
	return l.doom(errors.Join(errs...))
}

// exchange shows the new segment in the place of the old ones. Positions in the old files are forgotten.
func (l *Log) exchange(old []*segment, s *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.segments, old[0])
	after := l.segments[i+len(old):]
	l.segments = append(append(slices.Clone(l.segments[:i]), s), after...)
	l.sealedBytes += s.size
	for _, o := range old {
		l.sealedBytes -= o.size
	}
	from, to := old[0].base, after[0].base
	stale := func(p position) bool { return p.segment >= from && p.segment < to }
	if stale(l.hw) {
		l.hw = offsetOnly(l.hw.offset)
	}
	for i, p := range l.recent {
		if stale(p) {
			l.recent[i] = offsetOnly(p.offset)
		}
	}
	for _, list := range [][]transaction{l.producers.ongoing, l.producers.unreplicated} {
		for i := range list {
			if stale(list[i].first) {
				list[i].first = offsetOnly(list[i].first.offset)
			}
		}
	}
	l.publish()
}

// finishReplace takes the old files away and gives the new ones their names. files is held.
func (l *Log) finishReplace(names vfs.Dir, old []*segment, s *segment, now time.Time) error {
	due := now.Add(l.config.Load().FileDeleteDelay)
	for i, o := range old {
		for _, f := range o.files() {
			name := f.h.name() + suffixDeleted
			if err := l.makeRoom(name); err != nil {
				return err
			}
			err := f.h.rename(name)
			if errors.Is(err, fs.ErrNotExist) {
				f.h.moved(name) // or its reader would find the new segment's
				continue
			}
			if err != nil {
				return fail(f.h, -1, err)
			}
			f.h.idle()
			l.deleted = append(l.deleted, deletedFile{f.h, name, due})
		}
		if i > 0 { // no segment begins there any more
			if err := l.discardSnapshot(o.base, due); err != nil {
				return err
			}
		}
	}
	if err := names.Sync(); err != nil {
		return l.fileError(".", err)
	}
	if err := swapSuffix(s.log, suffixSwap, ""); err != nil {
		return err
	}
	if err := names.Sync(); err != nil {
		return l.fileError(".", err)
	}
	if err := l.suffix(names, s, suffixSwap, ""); err != nil {
		return err
	}
	for _, f := range s.files() {
		f.h.idle()
	}
	return nil
}
