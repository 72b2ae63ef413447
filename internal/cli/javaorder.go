package cli

import (
	"slices"
	"strconv"
	"unicode/utf16"
)

// javaHash is String.hashCode.
func javaHash(s string) int32 {
	var h int32
	for _, c := range utf16.Encode([]rune(s)) {
		h = 31*h + int32(c)
	}
	return h
}

// hashMapOrder sorts items as iterating a java.util.HashMap gives them after they were put one by one under
// distinct keys into a map made for expected entries (0: the default size); hash is the keys' hashCode. Kafka's tools print from such maps, and their
// output is what scripts were written against.
func hashMapOrder[T any](items []T, expected int, hash func(T) int32) []T {
	size := 16
	if expected > 0 {
		for size = 1; size < expected; {
			size *= 2
		}
	}
	for len(items) > size*3/4 {
		size *= 2
	}
	bucket := func(item T) int {
		h := uint32(hash(item))
		return int((h ^ h>>16) & uint32(size-1))
	}
	sorted := slices.Clone(items)
	slices.SortStableFunc(sorted, func(a, b T) int { return bucket(a) - bucket(b) })
	return sorted
}

// javaHash of a partition is TopicPartition.hashCode.
func (tp topicPartition) javaHash() int32 { return 31*(31+tp.partition) + javaHash(tp.topic) }

func (tp topicPartition) String() string { return tp.topic + "-" + strconv.Itoa(int(tp.partition)) }
