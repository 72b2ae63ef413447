package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill sets every field below v. With full, nothing is null and no slice empty.
func fill(r *rand.Rand, v reflect.Value, full bool) {
	if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
		if r.IntN(4) == 0 {
			tags.Set(100+r.Uint32N(9), []byte("tagged"))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Version" {
				fill(r, v.Field(i), full)
			}
		}
	case reflect.Pointer:
		v.SetZero()
		if full || r.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			if d, ok := v.Interface().(interface{ Default() }); ok {
				d.Default()
			}
			fill(r, v.Elem(), full)
		}
	case reflect.Slice:
		n := 1 + r.IntN(3)
		if !full && r.IntN(2) == 0 {
			v.SetZero()
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, v.Index(i), full)
		}
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(r.IntN(256)))
		}
	case reflect.String:
		v.SetString(strings.Repeat("é", r.IntN(80)))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(1 + r.IntN(100)))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(1 + r.IntN(100)))
	case reflect.Float64:
		v.SetFloat(r.Float64())
	default:
		panic(v.Type().String())
	}
}

func random(r *rand.Rand, key, version int16, full bool) kmsg.Request {
	req := kmsg.RequestForKey(key)
	fill(r, reflect.ValueOf(req).Elem(), full)
	req.SetVersion(version)
	return req
}

// everyVersion calls f for each key and version of the table.
func everyVersion(f func(a API, version int16)) {
	for _, a := range APIs() {
		for v := a.Min; v <= a.Max; v++ {
			f(a, v)
		}
	}
}

// The shapes are kmsg's: the walk ends exactly where a valid request of each version ends, and nowhere before.
func TestShapesAgreeWithKmsg(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	everyVersion(func(a API, version int16) {
		for i := range 16 {
			body := random(r, a.Key, version, i%2 == 0).AppendTo(nil)
			w := walker{src: body, flex: a.flexible(version)}
			w.structure(shapes[a.Key], version)
			if w.err != nil || len(w.src) != 0 {
				t.Errorf("%s version %d: %d of %d bytes left, %v\n%x", a.Name, version, len(w.src), len(body), w.err, body)
				return
			}
			got, err := Decode(RequestHeader{Key: a.Key, Version: version}, body)
			if err != nil {
				t.Errorf("%s version %d: %v", a.Name, version, err)
				return
			}
			if again := got.AppendTo(nil); !bytes.Equal(again, body) {
				t.Errorf("%s version %d: decoded and encoded again differs\n%x\n%x", a.Name, version, body, again)
				return
			}
			for cut := range min(len(body), 100) {
				if _, err := Decode(RequestHeader{Key: a.Key, Version: version}, body[:cut]); !errors.Is(err, ErrMalformed) {
					t.Errorf("%s version %d cut to %d of %d bytes: %v", a.Name, version, cut, len(body), err)
					return
				}
			}
		}
	})
}

// skipUnderRace: the race detector's build allocates twice what kmsg's growing of slices costs otherwise.
func skipUnderRace(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are measured without the race detector")
	}
}

// allocated measures the bytes that f allocates: the least of several runs, because the runtime counts what it allocates
// itself meanwhile, 5 KiB for a new thread for one.
func allocated(f func()) int64 {
	least := int64(math.MaxInt64)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, int64(after.TotalAlloc-before.TotalAlloc))
	}
	return least
}

// Cost is an upper bound of what kmsg allocates, for requests with as much structure per byte as can be had.
func TestCostBoundsAllocation(t *testing.T) {
	skipUnderRace(t)
	r := rand.New(rand.NewPCG(3, 4))
	everyVersion(func(a API, version int16) {
		for i := range 6 {
			h := RequestHeader{Key: a.Key, Version: version}
			req := random(r, a.Key, version, true)
			stretch(reflect.ValueOf(req).Elem(), []int{3, 100, 1000}[i/2], i%2 == 0)
			body := req.AppendTo(nil)
			if a.MaxFrame > 0 && len(body) > a.MaxFrame {
				continue
			}
			cost, err := Cost(h, body)
			if err != nil {
				if !errors.Is(err, ErrTooLarge) {
					t.Fatalf("%s version %d: %v", a.Name, version, err)
				}
				continue
			}
			got := allocated(func() { _, err = Decode(h, body) })
			if err != nil || got > cost+1024 {
				t.Errorf("%s version %d: body %d bytes, cost %d, allocated %d, %v", a.Name, version, len(body), cost, got, err)
			}
		}
	})
}

// stretch makes the slices of a request as long as n with the smallest elements there are, optionally with an unknown
// tag in each, which is the dearest thing a byte can buy.
func stretch(v reflect.Value, n int, tags bool) {
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		f := v.Field(i)
		switch f.Kind() {
		case reflect.Slice:
			if f.Type().Elem().Kind() == reflect.Uint8 {
				continue
			}
			f.Set(reflect.MakeSlice(f.Type(), n, n))
			if f.Type().Elem().Kind() != reflect.Struct {
				continue
			}
			for j := range n {
				if tags && f.Index(j).FieldByName("UnknownTags").IsValid() {
					f.Index(j).FieldByName("UnknownTags").Addr().Interface().(*kmsg.Tags).Set(120, nil)
				}
			}
			stretch(f.Index(0), n, tags)
		case reflect.Struct:
			stretch(f, n, tags)
		}
	}
}

// A frame that lies about its lengths costs nothing: it is refused before kmsg sees it, or what it costs is known.
func TestLyingLengthsCostNothing(t *testing.T) {
	skipUnderRace(t)
	r := rand.New(rand.NewPCG(5, 6))
	lies := [][]byte{
		{0x7f, 0xff, 0xff, 0xff}, {0, 3, 0xd0, 0x90}, {0, 0, 0x70, 0}, // int32 lengths
		{0xff, 0xff, 0xff, 0xff, 0x0f}, {0xd0, 0x86, 0x03}, {0x80, 0x80, 0x02}, // compact lengths and counts of tags
	}
	body := make([]byte, 64<<10)
	refused := 0
	everyVersion(func(a API, version int16) {
		h := RequestHeader{Key: a.Key, Version: version}
		valid := random(r, a.Key, version, true).AppendTo(nil)
		for at := range min(len(valid), 48) {
			for _, lie := range lies {
				copy(body, valid[:at])
				clear(body[at+copy(body[at:], lie):][:8])
				cost, err := Cost(h, body)
				if err != nil {
					refused++
					continue
				}
				if at%4 != 0 {
					continue
				}
				got := allocated(func() { _, err = Decode(h, body) })
				if got > cost+8192 {
					t.Fatalf("%s version %d, lie %x at %d: cost %d, allocated %d, %v", a.Name, version, lie, at, cost, got, err)
				}
			}
		}
	})
	if refused < 1000 {
		t.Fatalf("only %d lies were refused", refused)
	}
	h := RequestHeader{Key: 3, Version: 9}
	copy(body, lies[3])
	if n := testing.AllocsPerRun(100, func() { _, _ = Decode(h, body) }); n > 12 {
		t.Fatalf("refusing allocates %v times", n)
	}
}

// Eight million empty topics in 8 MiB: a request that does not lie at all, and yet takes too much.
func TestHonestButTooLarge(t *testing.T) {
	skipUnderRace(t)
	body := binary.AppendUvarint(nil, 4<<20-50+1)
	body = append(body, bytes.Repeat([]byte{1, 0}, 4<<20-50)...)
	body = append(body, 0, 0, 0, 0)
	var err error
	got := allocated(func() { _, err = Decode(RequestHeader{Key: 3, Version: 9}, body) })
	if !errors.Is(err, ErrTooLarge) || got > 4096 {
		t.Fatalf("allocated %d, %v", got, err)
	}
	if !strings.Contains(err.Error(), "Metadata") {
		t.Fatalf("%v does not say what", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		h    RequestHeader
		body []byte
		want error
	}{
		{"unknown key", RequestHeader{Key: 500}, nil, ErrUnknownAPI},
		{"removed", RequestHeader{Key: 7}, nil, ErrUnsupportedVersion},
		{"negative version", RequestHeader{Key: 3, Version: -1}, nil, ErrUnsupportedVersion},
		{"ApiVersions of the future", RequestHeader{Key: 18, Version: 5}, []byte{1, 1, 0}, ErrUnsupportedVersion},
		{"null where none may be", RequestHeader{Key: 12}, []byte{0xff, 0xff, 0, 0, 0, 0, 0, 0}, ErrMalformed},
		{"null topics of Metadata 0", RequestHeader{Key: 3}, []byte{0xff, 0xff, 0xff, 0xff}, ErrMalformed},
		{"four thousand million tags", RequestHeader{Key: 18, Version: 3}, []byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}, ErrMalformed},
		{"frame over the API's limit", RequestHeader{Key: 12}, make([]byte, frameSmall+1), ErrTooLarge},
	} {
		if _, err := Decode(c.h, c.body); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	// DETAILS 8: null is all topics, empty is none.
	null, err := Decode(RequestHeader{Key: 3, Version: 1}, []byte{0xff, 0xff, 0xff, 0xff})
	if err != nil || null.(*kmsg.MetadataRequest).Topics != nil {
		t.Fatalf("null topics: %v %v", null, err)
	}
	empty, err := Decode(RequestHeader{Key: 3, Version: 1}, []byte{0, 0, 0, 0})
	if err != nil || empty.(*kmsg.MetadataRequest).Topics == nil {
		t.Fatalf("no topics: %v %v", empty, err)
	}
	if d := cmp.Diff(0, len(empty.(*kmsg.MetadataRequest).Topics)); d != "" {
		t.Fatal(d)
	}
}

// No body makes Decode panic or allocate beyond its bound, whatever key and version stand before it.
func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	everyVersion(func(a API, version int16) {
		frame := AppendRequestHeader(nil, RequestHeader{Key: a.Key, Version: version, CorrelationID: 1})
		f.Add(random(r, a.Key, version, true).AppendTo(bytes.Clone(frame)))
		f.Add(random(r, a.Key, version, false).AppendTo(frame))
	})
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, body, err := ParseRequestHeader(frame)
		if err != nil {
			return
		}
		cost, err := Cost(h, body)
		if err != nil {
			if _, err := Decode(h, body); err == nil {
				t.Fatal("Decode takes what Cost refuses")
			}
			return
		}
		if cost > 1<<20 {
			t.Skip("the allocator's noise is measured elsewhere")
		}
		var req kmsg.Request
		got := allocated(func() { req, err = Decode(h, body) })
		if got > cost+64<<10 {
			t.Fatalf("key %d version %d: cost %d, allocated %d", h.Key, h.Version, cost, got)
		}
		if err == nil {
			if req.Key() != h.Key || req.GetVersion() != h.Version {
				t.Fatalf("decoded key %d version %d from %+v", req.Key(), req.GetVersion(), h)
			}
		}
	})
}
