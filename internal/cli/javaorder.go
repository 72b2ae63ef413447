package cli

import (
	"slices"
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

// hashMapOrder sorts items as iterating a java.util.HashMap gives them after they were put one by one under distinct
// String keys into a map made for expected entries (0: the default size). Kafka's tools print from such maps, and their
// output is what scripts were written against.
func hashMapOrder[T any](items []T, expected int, key func(T) string) []T {
	size := 16
	if expected > 0 {
		for size = 1; size < expected; {
			size *= 2
		}
	}
	for len(items) > size*3/4 {
		size *= 2
	}
	bucket := func(s string) int {
		h := uint32(javaHash(s))
		return int((h ^ h>>16) & uint32(size-1))
	}
	sorted := slices.Clone(items)
	slices.SortStableFunc(sorted, func(a, b T) int { return bucket(key(a)) - bucket(key(b)) })
	return sorted
}
