package metadata

import (
	"iter"

	"github.com/tidwall/btree"
)

// tree is an ordered map that many goroutines may read while one goroutine builds the next version from it.
//
// btree marks a node with the id of the tree that may change it in place. Its Copy gives both trees new ids, which
// writes to the source: two deltas on one image would race on that word. fork therefore copies the small header first
// and lets Copy write there. That is enough because a tree inside an Image is never changed again: no node may ever
// carry the id of a tree that still writes, which is what freeze is for.
type tree[K, V any] struct {
	b *btree.BTreeG[entry[K, V]]
}

type entry[K, V any] struct {
	key   K
	value V
}

func newTree[K, V any](compare func(a, b K) int) tree[K, V] {
	less := func(a, b entry[K, V]) bool { return compare(a.key, b.key) < 0 }
	return tree[K, V]{btree.NewBTreeGOptions(less, btree.Options{NoLocks: true, Degree: 16})}
}

// fork gives a tree that may be changed, from one that must not.
func (t tree[K, V]) fork() tree[K, V] {
	header := *t.b
	return tree[K, V]{header.Copy()}
}

// freeze gives the present content of a tree that goes on changing; it writes to t, so t's owner alone calls it.
func (t tree[K, V]) freeze() tree[K, V] { return tree[K, V]{t.b.Copy()} }

func (t tree[K, V]) get(key K) (V, bool) {
	e, ok := t.b.Get(entry[K, V]{key: key})
	return e.value, ok
}

func (t tree[K, V]) set(key K, value V) { t.b.Set(entry[K, V]{key, value}) }

func (t tree[K, V]) delete(key K) { t.b.Delete(entry[K, V]{key: key}) }

func (t tree[K, V]) len() int { return t.b.Len() }

// all walks in key order.
func (t tree[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		t.b.Scan(func(e entry[K, V]) bool { return yield(e.key, e.value) })
	}
}

// values walks the values in key order.
func (t tree[K, V]) values() iter.Seq[V] {
	return func(yield func(V) bool) {
		t.b.Scan(func(e entry[K, V]) bool { return yield(e.value) })
	}
}

// from walks in key order, beginning at key.
func (t tree[K, V]) from(key K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		t.b.Ascend(entry[K, V]{key: key}, func(e entry[K, V]) bool { return yield(e.key, e.value) })
	}
}
