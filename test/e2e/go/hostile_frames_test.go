//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// keysOfGroups are the APIs of groups, share groups, streams groups and transactions.
var keysOfGroups = []int16{8, 9, 10, 11, 12, 13, 14, 15, 16, 22, 24, 25, 26, 27, 28, 42, 47, 61, 65, 66, 68, 69, 76, 77, 78, 79, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92}

const closed = "closes the connection"

// nullable are the fields that may be null, with the answer where nothing that is asked about exists. All others close the
// connection, in Apache Kafka as here.
var nullable = map[string]string{
	"OffsetFetch v10 Groups.Topics":                  "NONE", // all of the group
	"OffsetFetch v5 Topics":                          "NONE",
	"DescribeShareGroupOffsets v1 Groups.Topics":     "NONE",
	"ConsumerGroupHeartbeat v1 SubscribedTopicNames": "INVALID_REQUEST", // null is what has not changed, and who joins has to say all
	"ConsumerGroupHeartbeat v1 Topics":               "INVALID_REQUEST",
	"ShareGroupHeartbeat v1 SubscribedTopicNames":    "INVALID_REQUEST",
	"StreamsGroupHeartbeat v0 ActiveTasks":           "INVALID_REQUEST",
	"StreamsGroupHeartbeat v0 StandbyTasks":          "INVALID_REQUEST",
	"StreamsGroupHeartbeat v0 WarmupTasks":           "INVALID_REQUEST",
	"StreamsGroupHeartbeat v0 ClientTags":            "INVALID_REQUEST",
	"StreamsGroupHeartbeat v0 TaskOffsets":           "INVALID_REQUEST",
	"StreamsGroupHeartbeat v0 TaskEndOffsets":        "INVALID_REQUEST",
}

// TestClientHostileNulls puts a null in the place of every string and array of a request, one at a time, in the newest version
// and in the newest without compact lengths. kmsg cannot say such a thing, so the length is changed in the encoded request.
func TestClientHostileNulls(t *testing.T) {
	h := newHostile(t)
	for _, kind := range []int8{0, 1} { // the coordinators are there
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorType, find.CoordinatorKeys = kind, []string{"x"}
		h.well(find)
	}
	h.well(h.fetch("x", "", -1))
	ranges := versions(t)
	seen := map[string]bool{}
	for _, key := range keysOfGroups {
		of := ranges[key]
		tried := []int16{of.MaxVersion}
		for v := of.MaxVersion; v > of.MinVersion; v-- {
			if r := filled(key, v); r.IsFlexible() {
				if r.SetVersion(v - 1); !r.IsFlexible() {
					tried = append(tried, v-1)
				}
			}
		}
		for _, version := range tried {
			for _, n := range nulls(filled(key, version)) {
				name := fmt.Sprintf("%s v%d %s", kmsg.NameForKey(key), version, n.field)
				want, ok := nullable[name]
				if !ok {
					want = closed
				}
				seen[name] = true
				if got := exchange(t, n.frame, filled(key, version)); got != want {
					t.Errorf("%s null: %s, want %s", name, got, want)
				}
			}
		}
	}
	for name := range maps.Keys(nullable) {
		if !seen[name] {
			t.Errorf("%s: no such field", name)
		}
	}
}

// TestClientHostileFrames cuts requests short, gives them lengths beyond their end, and names versions that are not there.
func TestClientHostileFrames(t *testing.T) {
	ranges := versions(t)
	for _, key := range keysOfGroups {
		name, req := kmsg.NameForKey(key), filled(key, ranges[key].MaxVersion)
		whole := frame(req)
		if got := exchange(t, resized(whole[:len(whole)-2]), req); got != closed {
			t.Errorf("%s cut short: %s, want that it %s", name, got, closed)
		}
		for i, n := range nulls(req) {
			long := slices.Clone(n.frame)
			most := []byte{0xff, 0xff, 0xff, 0xff, 0x07} // 2^31-2 elements
			if !req.IsFlexible() {
				most = []byte{0x7f, 0xff, 0xff, 0xff}[:n.size]
			}
			long = resized(slices.Concat(long[:n.at], most, long[n.at+n.size:]))
			if got := exchange(t, long, req); got != closed {
				t.Errorf("%s with too many of %s: %s, want that it %s", name, n.field, got, closed)
			}
			if i == 3 {
				break
			}
		}
		for _, version := range []int16{ranges[key].MaxVersion + 1, -1} {
			other := slices.Clone(whole)
			binary.BigEndian.PutUint16(other[6:], uint16(version))
			if got := exchange(t, other, req); got != closed {
				t.Errorf("%s version %d: %s, want that it %s", name, version, got, closed)
			}
		}
	}
}

// versions asks what the broker knows.
func versions(t *testing.T) map[int16]kmsg.ApiVersionsResponseApiKey {
	resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(t.Context(), newClient(t, broker(t)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[int16]kmsg.ApiVersionsResponseApiKey{}
	for _, k := range resp.ApiKeys {
		all[k.ApiKey] = k
	}
	return all
}

// filled is a request with one element in each array, and a string that names nothing wherever there is one.
func filled(key, version int16) kmsg.Request {
	r := kmsg.RequestForKey(key)
	r.SetVersion(version)
	var fill func(reflect.Value)
	fill = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			v.SetString("x")
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0))
		case reflect.Pointer:
			if v.Type().Elem().Kind() == reflect.Struct {
				v.Set(reflect.New(v.Type().Elem()))
				fill(v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if name := v.Type().Field(i).Name; name != "UnknownTags" && name != "Version" {
					fill(v.Field(i))
				}
			}
		}
	}
	fill(reflect.ValueOf(r).Elem())
	return r
}

func frame(r kmsg.Request) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("hostile")).AppendRequest(nil, r, 7)
}

// resized has the size of the frame say how long it is.
func resized(b []byte) []byte {
	b = slices.Clone(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

type null struct {
	field string
	frame []byte
	at    int // of its length
	size  int // of its length: 1 where it is compact
}

// nulls gives the request once for each string and array in it, with that one null. Where its length stands is where the
// request differs that has it empty from the one that has one element.
func nulls(r kmsg.Request) []null {
	var all []null
	var walk func(name string, v reflect.Value)
	walk = func(name string, v reflect.Value) {
		switch v.Kind() {
		case reflect.String, reflect.Slice:
			one, was := frame(r), reflect.ValueOf(v.Interface())
			if v.Kind() == reflect.String {
				v.SetString("")
			} else {
				v.Set(reflect.MakeSlice(v.Type(), 0, 0))
			}
			empty := frame(r)
			v.Set(was)
			at := 4 // behind the size
			for at < len(empty) && empty[at] == one[at] {
				at++
			}
			if at < len(empty) && !bytes.Equal(one, empty) {
				size := 4
				switch {
				case r.IsFlexible():
					size, empty[at] = 1, 0
				case v.Kind() == reflect.String:
					size = copy(empty[at-1:], []byte{0xff, 0xff})
				default:
					copy(empty[at-3:], []byte{0xff, 0xff, 0xff, 0xff})
				}
				all = append(all, null{name, empty, at + 1 - size, size})
			}
			switch {
			case v.Kind() == reflect.String:
			case v.Type().Elem().Kind() == reflect.Struct:
				walk(name, v.Index(0))
			default:
				walk(name+"[]", v.Index(0))
			}
		case reflect.Pointer:
			if v.Type().Elem().Kind() == reflect.Struct {
				walk(name, v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				switch field := v.Type().Field(i).Name; {
				case field == "UnknownTags" || field == "Version":
				case name == "":
					walk(field, v.Field(i))
				default:
					walk(name+"."+field, v.Field(i))
				}
			}
		}
	}
	walk("", reflect.ValueOf(r).Elem())
	return all
}

// exchange sends a frame over a connection of its own and tells the codes of the answer, or that the connection was closed.
func exchange(t *testing.T, frame []byte, req kmsg.Request) string {
	t.Helper()
	c, err := net.Dial("tcp", broker(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(waitMax))
	if _, err := c.Write(frame); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); errors.Is(err, os.ErrDeadlineExceeded) {
		return "says nothing"
	} else if err != nil {
		return closed
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, answer); err != nil {
		return err.Error()
	}
	b := kbin.Reader{Src: answer}
	b.Int32()
	resp := req.ResponseKind()
	if resp.IsFlexible() {
		kmsg.SkipTags(&b)
	}
	if err := resp.ReadFrom(b.Src); err != nil {
		return err.Error()
	}
	return codes(resp)
}
