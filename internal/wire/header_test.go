package wire

import (
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klamm-io/klamm/internal/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func ptr(s string) *string { return &s }

func TestParseRequestHeader(t *testing.T) {
	for _, c := range []struct {
		name, frame string // hex
		want        RequestHeader
		body        string
		err         error
	}{
		{name: "v1", frame: "00030001 00000007 0003 616263 beef", want: RequestHeader{Key: 3, Version: 1, CorrelationID: 7, ClientID: ptr("abc")}, body: "beef"},
		{name: "v1 null client", frame: "00030001 ffffffff ffff beef", want: RequestHeader{Key: 3, Version: 1, CorrelationID: -1}, body: "beef"},
		{name: "v1 empty client", frame: "00030001 00000007 0000", want: RequestHeader{Key: 3, Version: 1, CorrelationID: 7, ClientID: ptr("")}},
		{name: "v2 no tags", frame: "00030009 00000007 0001 61 00 beef", want: RequestHeader{Key: 3, Version: 9, CorrelationID: 7, ClientID: ptr("a")}, body: "beef"},
		{name: "v2 two tags", frame: "00030009 00000007 0001 61 02 00 01 aa 05 00 beef", want: RequestHeader{Key: 3, Version: 9, CorrelationID: 7, ClientID: ptr("a")}, body: "beef"},
		// DETAILS 1: any version of ApiVersions gets as far as the handler.
		{name: "ApiVersions of the future", frame: "00127fff 00000007 ffff 00 beef", want: RequestHeader{Key: 18, Version: 32767, CorrelationID: 7}, body: "beef"},
		{name: "ApiVersions below zero", frame: "0012ffff 00000007 ffff beef", want: RequestHeader{Key: 18, Version: -1, CorrelationID: 7}, body: "beef"},
		{name: "short", frame: "000300090000", err: ErrMalformed},
		{name: "unknown key", frame: "00600000 00000007 ffff", err: ErrUnknownAPI},
		{name: "negative key", frame: "ffff0000 00000007 ffff", err: ErrUnknownAPI},
		{name: "Produce 2", frame: "00000002 00000007 ffff", err: ErrUnsupportedVersion},
		{name: "removed", frame: "00070000 00000007", err: ErrUnsupportedVersion},
		{name: "client longer than frame", frame: "00030001 00000007 0009 61", err: ErrMalformed},
		{name: "client of length -2", frame: "00030001 00000007 fffe 61", err: ErrMalformed},
		{name: "more tags than bytes", frame: "00030009 00000007 ffff ffffffff0f", err: ErrMalformed},
		{name: "tag longer than frame", frame: "00030009 00000007 ffff 01 00 09", err: ErrMalformed},
	} {
		frame, err := hex.DecodeString(spaceless(c.frame))
		if err != nil {
			t.Fatal(err)
		}
		h, body, err := ParseRequestHeader(frame)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if c.err != nil {
			continue
		}
		if d := cmp.Diff(c.want, h); d != "" {
			t.Errorf("%s:\n%s", c.name, d)
		}
		if got := hex.EncodeToString(body); got != c.body {
			t.Errorf("%s: body %s, want %s", c.name, got, c.body)
		}
	}
}

func spaceless(s string) string {
	var b []byte
	for i := range len(s) {
		if s[i] != ' ' {
			b = append(b, s[i])
		}
	}
	return string(b)
}

func TestRequestHeaderRoundTrip(t *testing.T) {
	everyVersion(func(a API, version int16) {
		for _, id := range []*string{nil, ptr(""), ptr("client")} {
			want := RequestHeader{Key: a.Key, Version: version, CorrelationID: 99, ClientID: id}
			got, body, err := ParseRequestHeader(AppendRequestHeader(nil, want))
			if err != nil || len(body) != 0 {
				t.Fatalf("%s version %d: %v, %d bytes left", a.Name, version, err, len(body))
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatal(d)
			}
		}
	})
}

func TestResponses(t *testing.T) {
	// DETAILS 1: the header of an ApiVersions answer has no tagged fields, although version 3 is flexible.
	versions := Encode(KeyApiVersions, 3, 7, &kmsg.ApiVersionsResponse{})
	if got := hex.EncodeToString(versions[0].Bytes[:10]); got != "0000001f"+"00000007"+"0000" && got[8:] != "00000007"+"0000" {
		t.Fatalf("ApiVersions: %s", got)
	}
	heartbeat := Encode(12, 4, 7, kmsg.NewPtrHeartbeatResponse())
	if got, want := hex.EncodeToString(heartbeat[0].Bytes), "0000000c"+"00000007"+"00"+"00000000"+"0000"+"00"; got != want {
		t.Fatalf("Heartbeat 4: %s, want %s", got, want)
	}
	classic := Encode(12, 0, 7, kmsg.NewPtrHeartbeatResponse())
	if got, want := hex.EncodeToString(classic[0].Bytes), "00000006"+"00000007"+"0000"; got != want {
		t.Fatalf("Heartbeat 0: %s, want %s", got, want)
	}
}

type reference struct{ n *int }

func (r reference) Release() { *r.n++ }

func TestResponseOfParts(t *testing.T) {
	released := 0
	body := Response{
		{Bytes: []byte("before")},
		{File: vfs.Range{File: noFile{}, Offset: 5, Length: 1000, Ref: reference{&released}}},
		{File: vfs.Range{File: noFile{}, Offset: 5, Length: 24}},
	}
	r := WithHeader(KeyFetch, 12, 7, body)
	if got, want := hex.EncodeToString(r[0].Bytes), "0000040b"+"00000007"+"00"; got != want {
		t.Fatalf("header %s, want %s", got, want)
	}
	if r.Len() != 4+0x40b || r.Memory() != 15 {
		t.Fatalf("length %d, memory %d", r.Len(), r.Memory())
	}
	r.Release()
	if released != 1 {
		t.Fatalf("released %d times", released)
	}
}

type noFile struct{ vfs.File }
