package quorum

import (
	"fmt"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
)

// loader turns committed batches into images. Records between BeginTransaction and EndTransaction are held back until
// the end, or dropped by AbortTransaction (KIP-868), so that nobody sees half of one.
type loader struct {
	codecs *record.Codecs
	image  *metadata.Image // as last published
	delta  *metadata.Delta // since then
	dirty  bool
	held   []schema.Record // of the open transaction
	open   bool
	offset int64 // of the last record taken in
	epoch  int32
	time   int64 // ms, of the last batch taken in
	bytes  int64 // since the last snapshot
}

func newLoader(codecs *record.Codecs) *loader {
	empty := metadata.Empty()
	return &loader{codecs: codecs, image: empty, delta: metadata.NewDelta(empty), offset: -1}
}

// batch takes in one batch of the log or of a snapshot. control takes the control records, with their offsets.
func (l *loader) batch(b record.Batch, control func(schema.Record, int64) error) error {
	if err := eachRecord(l.codecs, b, func(m schema.Record, _ int64) error { return l.take(m) }, control); err != nil {
		return err
	}
	l.offset, l.epoch, l.time = b.LastOffset(), b.LeaderEpoch(), b.MaxTimestamp()
	l.bytes += int64(len(b))
	l.dirty = true
	return nil
}

// eachRecord decodes the records of a batch and gives them with their offsets.
func eachRecord(codecs *record.Codecs, b record.Batch, data, control func(schema.Record, int64) error) error {
	r, err := codecs.Records(b)
	if err != nil {
		return fmt.Errorf("metadata batch at offset %d: %w", b.BaseOffset(), err)
	}
	defer r.Close()
	var rec record.Record
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			return fmt.Errorf("metadata batch at offset %d: %w", b.BaseOffset(), err)
		}
		if !ok {
			return nil
		}
		offset := b.BaseOffset() + int64(rec.OffsetDelta)
		var m schema.Record
		if b.Control() {
			var kind schema.ControlType
			if kind, err = schema.DecodeControlKey(rec.Key); err == nil {
				m, err = schema.DecodeControl(kind, rec.Value)
			}
			if err == nil {
				err = control(m, offset)
			}
		} else if m, _, err = schema.Decode(rec.Value); err == nil {
			err = data(m, offset)
		}
		if err != nil {
			return fmt.Errorf("metadata record at offset %d: %w", offset, err)
		}
	}
}

// take applies one metadata record, or holds it back.
func (l *loader) take(m schema.Record) error {
	switch m.(type) {
	case *schema.BeginTransaction:
		if l.open {
			return fmt.Errorf("a transaction begins inside another")
		}
		l.open = true
		return nil
	case *schema.EndTransaction:
		for _, h := range l.held {
			if err := l.delta.Apply(h); err != nil {
				return err
			}
		}
		l.held, l.open = nil, false
		return nil
	case *schema.AbortTransaction:
		l.held, l.open = nil, false
		return nil
	}
	if l.open {
		l.held = append(l.held, m)
		return nil
	}
	return l.delta.Apply(m)
}

// pending is the open transaction so far, from its begin on; nil if none is open.
func (l *loader) pending() []schema.Record {
	if !l.open {
		return nil
	}
	return append([]schema.Record{&schema.BeginTransaction{}}, l.held...)
}

// next gives the image of everything taken in and the delta that leads to it, and starts a new delta. Nil while a
// transaction is open or nothing is new.
func (l *loader) next() (*metadata.Delta, *metadata.Image) {
	if !l.dirty || l.open {
		return nil, nil
	}
	d := l.delta
	l.image = d.Image(l.offset, l.epoch)
	l.delta, l.dirty = metadata.NewDelta(l.image), false
	return d, l.image
}
