package storage

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
)

// shelf is the content of a log's directory, by name.
type shelf map[string][]byte

func shelve(t *testing.T, m vfs.FS, dir string) shelf {
	t.Helper()
	names, err := m.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := shelf{}
	for _, name := range names {
		if s[name], err = vfs.ReadWhole(m, path.Join(dir, name), 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// flipped is a file system that has the directory with one bit changed.
func (s shelf) flipped(t *testing.T, dir, name string, bit int) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem(nil)
	if err := m.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for n, b := range s {
		f, err := m.OpenFile(path.Join(dir, n), vfs.ReadWrite|vfs.Create, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if n == name {
			b = slices.Clone(b)
			b[bit/8] ^= 1 << (bit % 8)
		}
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return m
}

// batches are the places of the batches in the segments, in the order of the log.
func (s shelf) batches(t *testing.T) (all []flippable) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if !strings.HasSuffix(name, suffixLog) {
			continue
		}
		for rest := s[name]; len(rest) > 0; {
			b, after, err := record.Next(rest)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, flippable{name, len(s[name]) - len(rest), b})
			rest = after
		}
	}
	return all
}

// flippable is one batch and where it stands.
type flippable struct {
	file string
	at   int
	b    record.Batch
}

// Places that no checksum covers.
func inOffset(bit int) bool { return bit < 8*8 }
func inEpoch(bit int) bool  { return bit >= 12*8 && bit < 16*8 }

// wantPlace looks whether an error tells the file and position of a batch.
func wantPlace(t *testing.T, where string, err error, dir string, places ...flippable) {
	t.Helper()
	var at *StorageError
	if !errors.As(err, &at) || at.Dir != dir || !slices.ContainsFunc(places, func(p flippable) bool { return at.File == p.file && at.Offset == int64(p.at) }) {
		t.Fatalf("%s: the error is %v, want one that names %s, position %d", where, err, places[0].file, places[0].at)
	}
	if text := err.Error(); !strings.Contains(text, at.File) || !strings.Contains(text, fmt.Sprintf("position %d", at.Offset)) {
		t.Fatalf("%s: the error says %q", where, text)
	}
}

// A bit that flips in a log that was not closed cleanly ends the log before its batch, or the log is refused; both with file and
// position. What no checksum covers is the leader epoch, and the offsets where nothing follows that contradicts them.
func TestFlipsAtRecovery(t *testing.T) {
	m, o := filled(t, 3)
	o.RecoveryPoint = 0
	s := shelve(t, m, "/d/t-0")
	all := s.batches(t)
	rng := rand.New(rand.NewPCG(1, 0))
	var cut, refused, unseen int
	try := func(i, bit int) {
		b := all[i]
		where := fmt.Sprintf("batch %d, bit %d", i, bit)
		o := o
		o.FS = s.flipped(t, "/d/t-0", b.file, b.at*8+bit)
		o.Topic, o.Now = "t", t0
		l, rec, err := Open(o)
		if err != nil {
			refused++
			wantPlace(t, where, err, "/d/t-0", b)
			return
		}
		defer l.Close(false)
		end := l.View().LogEnd
		switch {
		case rec.Corruption != nil:
			cut++
			wantPlace(t, where, rec.Corruption, "/d/t-0", b)
			if end != b.b.BaseOffset() {
				t.Fatalf("%s: the log ends at %d", where, end)
			}
			checkDense(t, readAll(t, l, LogEnd), 0, end)
		case inEpoch(bit):
			unseen++
			checkDense(t, readAll(t, l, LogEnd), 0, 120)
		case inOffset(bit) && i == len(all)-1:
			unseen++
		default:
			t.Fatalf("%s: nothing is found, the log ends at %d", where, end)
		}
	}
	for range 2000 {
		i := rng.IntN(len(all))
		try(i, rng.IntN(8*len(all[i].b)))
	}
	for i := range all { // headers are few among all bits
		for range 40 {
			try(i, rng.IntN(8*record.HeaderLen))
		}
	}
	t.Logf("%d cut off, %d refused, %d in what no checksum covers", cut, refused, unseen)
	if cut < 1800 {
		t.Error("that is too few")
	}
}

// Below the recovery point nobody looks, until somebody reads. Then what is no batch is an error with file and position, which
// never is an endless walk; what lies before and behind it is served.
func TestFlipsAtRead(t *testing.T) {
	m, o := filled(t, 3)
	o.FS, o.Config.IndexInterval, o.RecoveryPoint = m, 1, 0
	for i := range int64(3) {
		m.Remove("/d/t-0/" + fileName(i*40, suffixIndex))
	}
	l, _ := open(t, o) // with an index entry for each batch
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	s := shelve(t, m, "/d/t-0")
	all := s.batches(t)
	rng := rand.New(rand.NewPCG(2, 0))
	var found int
	try := func(i, bit int) {
		bad := all[i]
		places := all[i:min(i+2, len(all))] // a batch whose offsets are too large is only known by the next one
		if !inOffset(bit) {
			places = places[:1]
		}
		o := o
		o.FS, o.Clean, o.RecoveryPoint = s.flipped(t, "/d/t-0", bad.file, bad.at*8+bit), true, 120
		l, _ := open(t, o)
		defer l.Close(false)
		v := l.View()
		if v.LogEnd != 120 {
			return // the last segment's end is read, also after a clean shutdown
		}
		for j, b := range all {
			offset := b.b.LastOffset()
			size := []int{0, 300, 1 << 20}[rng.IntN(3)]
			where := fmt.Sprintf("batch %d, bit %d: read of %d, %d bytes", i, bit, offset, size)
			got, err := v.Read(offset, size, []Bound{LogEnd, HighWatermark, Bound(offset + 1)}[rng.IntN(3)], true)
			if err != nil {
				if j != i && !inOffset(bit) {
					t.Fatalf("%s: %v", where, err)
				}
				var corrupt *record.Corrupt
				if !errors.As(err, &corrupt) {
					t.Fatalf("%s: %v", where, err)
				}
				wantPlace(t, where, err, "/d/t-0", places...)
				found++
				continue
			}
			bytes, err := got.Bytes()
			got.Release()
			if err != nil {
				t.Fatal(err)
			}
			if j != i && len(bytes) >= len(b.b) && got.First <= offset && got.First > offset-10 {
				if diff := cmp.Diff([]byte(b.b), bytes[:len(b.b)]); diff != "" {
					t.Fatalf("%s:\n%s", where, diff)
				}
			} else if j != i && len(bytes) > 0 && !inOffset(bit) {
				t.Fatalf("%s: %d bytes from %d on", where, len(bytes), got.First)
			}
		}
		if _, _, err := l.OffsetForTimestamp(t0.UnixMilli() + rng.Int64N(1000)); err != nil {
			var corrupt *record.Corrupt
			if !errors.As(err, &corrupt) {
				t.Fatalf("batch %d, bit %d: look-up of a time: %v", i, bit, err)
			}
			var at *StorageError
			if !errors.As(err, &at) || at.File != bad.file || at.Offset < int64(bad.at) {
				t.Fatalf("batch %d, bit %d: look-up of a time: %v", i, bit, err)
			}
		}
	}
	for range 150 {
		i := rng.IntN(len(all))
		try(i, rng.IntN(8*len(all[i].b)))
		try(i, rng.IntN(8*record.HeaderLen))
		try(i, 8*8+rng.IntN(4*8)) // its length
	}
	t.Logf("%d reads found damage", found)
	if found < 50 {
		t.Error("that is too few")
	}
}

// An index whose bits have flipped costs time, and no record. A look-up of a time may find a later record than the first, or
// none, as no checksum covers the time index.
func TestFlipsInIndexes(t *testing.T) {
	m, o := filled(t, 3)
	s := shelve(t, m, "/d/t-0")
	rng := rand.New(rand.NewPCG(3, 0))
	for range 600 {
		name := fileName(rng.Int64N(3)*40, []string{suffixIndex, suffixTimeIndex, suffixSnapshot}[rng.IntN(3)])
		if len(s[name]) == 0 {
			continue
		}
		bit := rng.IntN(8 * len(s[name]))
		o := o
		o.FS, o.Clean = s.flipped(t, "/d/t-0", name, bit), true
		l, _ := open(t, o)
		where := fmt.Sprintf("%s, bit %d", name, bit)
		if end := l.View().LogEnd; end != 120 {
			t.Fatalf("%s: the log ends at %d", where, end)
		}
		checkDense(t, readAll(t, l, LogEnd), 0, 120)
		for range 10 {
			offset, size := rng.Int64N(120), rng.IntN(2000)
			got, err := l.View().Read(offset, size, LogEnd, true)
			if err != nil {
				t.Fatalf("%s: read of %d: %v", where, offset, err)
			}
			b, err := got.Bytes()
			got.Release()
			if err != nil {
				t.Fatal(err)
			}
			if o := offsets(t, b); !slices.Contains(o, offset) {
				t.Fatalf("%s: a read of %d gives %v", where, offset, o)
			}
		}
		if _, _, err := l.OffsetForTimestamp(t0.UnixMilli() + rng.Int64N(100)); err != nil {
			t.Fatalf("%s: look-up of a time: %v", where, err)
		}
		l.Close(false)
	}
}

// Compaction that meets a flipped bit ends with file and position. Every other batch stays, and each key has its last value unless
// the flipped batch held it.
func TestFlipsAtCleaning(t *testing.T) {
	const keys, rounds = 10, 12
	m, o, l := compact(t)
	put := func(i int) {
		b := codecs.NewBuilder()
		for k := range keys {
			b.Add(t0.UnixMilli(), fmt.Appendf(nil, "k%d", k), fmt.Appendf(nil, "v%d", i), nil)
		}
		mustAppend(t, l, b.Bytes(), AppendOptions{LeaderEpoch: 1})
		if i%3 == 2 {
			if err := l.Roll(t0); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Half of it has been compacted before.
	for i := range rounds / 2 {
		put(i)
	}
	cleanAll(t, l, t0)
	cleaned := l.Cleaned()
	for i := range rounds / 2 {
		put(rounds/2 + i)
	}
	end := l.View().LogEnd
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	s := shelve(t, m, o.Dir)
	all := s.batches(t)
	rng := rand.New(rand.NewPCG(4, 0))
	found := 0
	for range 800 {
		i := rng.IntN(len(all))
		bad, bit := all[i], rng.IntN(8*len(all[i].b))
		if rng.IntN(2) == 0 {
			bit = rng.IntN(8 * record.HeaderLen)
		}
		o := o
		fs := s.flipped(t, o.Dir, bad.file, bad.at*8+bit)
		o.FS, o.Clean, o.RecoveryPoint, o.Cleaned = fs, true, end, cleaned
		l, _ := open(t, o)
		l.SetHighWatermark(end)
		where := fmt.Sprintf("batch %d, bit %d", i, bit)
		due, err := l.CleanableOffsets(t0)
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		_, err = l.Clean(NewCleaner(CleanerOptions{}), CleanOptions{Cleanable: due, Now: t0.Add(time.Minute)})
		switch {
		case err != nil:
			found++
			places := all[i:min(i+2, len(all))]
			if !inOffset(bit) {
				places = places[:1]
			}
			wantPlace(t, where, err, o.Dir, places...)
		case inOffset(bit) && bad.b.LastOffset() < cleaned: // offsets are missing there anyway
		case !inEpoch(bit):
			t.Fatalf("%s: it was compacted", where)
		}
		for name := range shelve(t, fs, o.Dir) {
			if strings.Contains(name, suffixCleaned) || strings.Contains(name, suffixSwap) {
				t.Fatalf("%s: %s is left", where, name)
			}
		}
		if _, err := l.Append([]record.Batch{records(1, t0.UnixMilli(), 10)}, AppendOptions{LeaderEpoch: 1, Now: t0}); err != nil {
			t.Fatalf("%s: an append behind it: %v", where, err)
		}
		l.Close(false)
		// What the files have now, batch by batch; the flipped one is stepped over by what it was.
		kept := map[string]bool{}
		for name, b := range shelve(t, fs, o.Dir) {
			if !strings.HasSuffix(name, suffixLog) {
				continue
			}
			if name == bad.file && err != nil {
				b = slices.Delete(slices.Clone(b), bad.at, bad.at+len(bad.b))
			}
			for len(b) > 0 {
				batch, rest, err := record.Next(b)
				if err != nil {
					t.Fatalf("%s: %s: %v", where, name, err)
				}
				eachRecord(batch, func(r *record.Record) { kept[string(r.Key)+string(r.Value)] = true })
				b = rest
			}
		}
		last := rounds - 1
		if err != nil && i == len(all)-1 {
			last--
		}
		for k := range keys {
			if want := fmt.Sprintf("k%dv%d", k, last); !kept[want] {
				t.Fatalf("%s: %s is lost", where, want)
			}
		}
	}
	t.Logf("%d cleanings found damage", found)
	if found < 500 {
		t.Error("that is too few")
	}
}
