package storage

import (
	"slices"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
)

// cleanedTxns follows the transactions while the cleaner goes through the log. All of them are decided: nothing at or
// above the last stable offset is cleaned. The records of an aborted one go at once; its marker, and that of a
// committed one, may go when no batch of the transaction is left, for consumers and producers' state need it until then.
type cleanedTxns struct {
	codecs    *record.Codecs
	coming    []schema.AbortedTxn // aborted ones that begin further on, by first offset
	aborted   map[int64]*abortedTxn
	committed map[int64]struct{} // producers of whose present transaction a batch was seen
}

type abortedTxn struct {
	schema.AbortedTxn
	seen bool // a batch of it was there
}

func newCleanedTxns(codecs *record.Codecs) cleanedTxns {
	return cleanedTxns{codecs: codecs, aborted: map[int64]*abortedTxn{}, committed: map[int64]struct{}{}}
}

// expect tells of the aborted transactions in the next segment. One that spans segments may be told of twice.
func (t *cleanedTxns) expect(list []schema.AbortedTxn) {
	t.coming = append(t.coming, list...)
	slices.SortStableFunc(t.coming, func(a, b schema.AbortedTxn) int {
		switch {
		case a.FirstOffset < b.FirstOffset:
			return -1
		case a.FirstOffset > b.FirstOffset:
			return 1
		}
		return 0
	})
}

// reach makes the transactions current that begin up to an offset.
func (t *cleanedTxns) reach(offset int64) {
	n := 0
	for n < len(t.coming) && t.coming[n].FirstOffset <= offset {
		c := t.coming[n]
		n++
		if t.aborted[c.ProducerID] == nil {
			t.aborted[c.ProducerID] = &abortedTxn{AbortedTxn: c}
		}
	}
	t.coming = t.coming[n:]
}

// batch takes the next batch. Gone says that nothing of it is needed any more: it is of an aborted transaction, or
// the marker of one that has no batch left. If it is the marker of an aborted one that has batches, ended is the
// entry that the transaction index must keep.
func (t *cleanedTxns) batch(b record.Batch) (gone bool, ended *schema.AbortedTxn, err error) {
	t.reach(b.LastOffset())
	switch {
	case b.Control():
		return t.marker(b)
	case !b.Transactional():
		return false, nil, nil
	}
	if a := t.aborted[b.ProducerID()]; a != nil {
		a.seen = true
		return true, nil, nil
	}
	t.committed[b.ProducerID()] = struct{}{}
	return false, nil, nil
}

func (t *cleanedTxns) marker(b record.Batch) (gone bool, ended *schema.AbortedTxn, err error) {
	if b.Count() == 0 {
		return true, nil, nil // emptied before
	}
	m, is, err := t.codecs.EndTxnOf(b)
	if err != nil || !is {
		return false, nil, err
	}
	id := b.ProducerID()
	if m.Type == record.Commit {
		_, seen := t.committed[id]
		delete(t.committed, id)
		return !seen, nil, nil
	}
	a := t.aborted[id]
	delete(t.aborted, id)
	if a == nil || !a.seen {
		return true, nil, nil
	}
	return false, &a.AbortedTxn, nil
}
