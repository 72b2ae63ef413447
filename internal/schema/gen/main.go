// Gen writes the codecs of package schema from the definitions in defs/*.txt; run it with go generate.
//
// A definition is a head line and one indented line a field; # starts a note, which becomes the field's comment.
//
//	struct   Name                                  part of other definitions
//	metadata 2 Topic 0 flexible=0+                 record type, name, versions, flexible versions (or none)
//	control  2 LeaderChange 0-1 flexible=0+        control record type
//	key      1 OffsetCommitKey 0 flexible=none     key type of a coordinator's record; value likewise
//	data     ProducerEntry 1 flexible=none         anything else
//	  Field type [versions] [tag=N] [default=V]
//
// Types: bool int8 int16 uint16 int32 uint32 int64 float64 uuid string bytes or a struct; []T is an array; a ? after
// the type makes it nullable. Versions (1, 0-2, 3+) are the ones that have the field; without them all have it.
// A default is what a field holds that was not on the wire; without it that is zero, empty or null. default=empty is for
// tagged nullable arrays and structs whose default is not null but empty: Apache's definitions say null there in a way
// that its generator does not take in, so null is written out and the disks hold it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run generates into dir from dir/defs.
func run(dir string) error {
	files, err := generate(filepath.Join(dir, "defs"))
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate gives the text of every generated file by its name.
func generate(defs string) (map[string][]byte, error) {
	paths, err := filepath.Glob(filepath.Join(defs, "*.txt")) // sorted
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	e := emitter{structs: make(map[string]*definition)}
	parsed := make([][]*definition, len(paths))
	for i, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if parsed[i], err = parse(path, string(text)); err != nil {
			return nil, err
		}
		for _, d := range parsed[i] {
			if e.structs[d.name] != nil {
				return nil, fmt.Errorf("%s: %s is defined twice", path, d.name)
			}
			e.structs[d.name] = d
		}
	}
	for i, path := range paths {
		base := strings.TrimSuffix(filepath.Base(path), ".txt")
		text, err := e.file(base, parsed[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		files[base+"_gen.go"] = text
	}
	return files, nil
}
