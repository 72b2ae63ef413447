package replica

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// A damaged header ends the look for a slice's last offset: behind batches that are whole it hides none of them, before all it is an
// error with file and position, and never a walk without end.
func TestNextOffsetOfDamage(t *testing.T) {
	for _, c := range []struct {
		name   string
		at     int // number of the batch
		length int32
		want   int64 // -1: an error
	}{
		{"whole", -1, 0, 30}, {"first, negative", 0, -5, -1}, {"first, nothing", 0, 0, -1}, {"second, negative", 1, -12, 10}, {"second, too small", 1, 48, 10},
		{"third, too long", 2, 1 << 30, 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all []byte
			size := 0
			for i := range 3 {
				b := batch(10, 20)
				b.SetBaseOffset(int64(i * 10))
				if size = len(b); i == c.at {
					binary.BigEndian.PutUint32(b[8:], uint32(c.length))
				}
				all = append(all, b...)
			}
			f, err := vfs.NewMem(nil).OpenFile("/00000000000000000000.log", vfs.ReadWrite|vfs.Create, 0o644)
			if err == nil {
				_, err = f.WriteAt(all, 0)
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := nextOffset(storage.Slice{Ranges: []vfs.Range{{File: f, Length: int64(len(all))}}, Size: len(all)})
			var place *storage.StorageError
			var corrupt *record.Corrupt
			switch {
			case c.want >= 0 && (err != nil || got != c.want):
				t.Fatalf("%d, %v", got, err)
			case c.want < 0 && (!errors.As(err, &place) || !errors.As(err, &corrupt) || place.File != "00000000000000000000.log" || place.Offset != int64(c.at*size)):
				t.Fatalf("%d, %v", got, err)
			}
		})
	}
}
