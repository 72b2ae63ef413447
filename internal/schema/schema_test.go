package schema

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// messages gives an empty one of every generated message.
func messages() []Message {
	all := []Message{new(EndTxnMarker), new(ProducerEntry), new(AbortedTxn)}
	for n := range int16(64) {
		for _, f := range []func(int16) Record{metadata, control, groupKey, groupValue, transactionKey, transactionValue, shareKey, shareValue} {
			if r := f(n); r != nil {
				all = append(all, r)
			}
		}
	}
	return all
}

func TestEveryRecordIsThere(t *testing.T) {
	count := func(f func(int16) Record) (n int) {
		for number := range int16(64) {
			if r := f(number); r != nil {
				n++
				if r.Type() != number {
					t.Fatalf("%s says type %d, stands under %d", r.RecordName(), r.Type(), number)
				}
			}
		}
		return n
	}
	got := []int{count(metadata), count(control), count(groupKey), count(groupValue), count(transactionKey), count(shareValue)}
	if diff := cmp.Diff([]int{26, 5, 22, 22, 1, 2}, got); diff != "" {
		t.Fatalf("records by kind (-want +got):\n%s", diff)
	}
}

// fill sets every field to a random value; nil, empty and full slices and pointers all occur.
func fill(v reflect.Value, rnd *rand.Rand) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), rnd)
		}
	case reflect.Pointer:
		if rnd.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), rnd)
		}
	case reflect.Slice:
		if n := rnd.IntN(4); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n-1, n-1))
			for i := range n - 1 {
				fill(v.Index(i), rnd)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(rnd.Uint64() & 0xff)
		}
	case reflect.String:
		v.SetString(strings.Repeat("é", rnd.IntN(100)))
	case reflect.Bool:
		v.SetBool(rnd.IntN(2) == 0)
	case reflect.Float64:
		v.SetFloat(rnd.NormFloat64())
	case reflect.Uint8, reflect.Uint16:
		v.SetUint(uint64(rnd.Uint32() & 0xff))
	default:
		v.SetInt(int64(int8(rnd.Uint32())) + rnd.Int64N(3)*100)
	}
}

// sameNil compares arrays that must not be null, where nil and empty are one, and differently the rest: it looks at
// what is written, so decoded values that encode to the same bytes in the highest version are equal.
func TestRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, m := range messages() {
		lowest, highest := m.Versions()
		for version := lowest; version <= highest; version++ {
			for range 50 {
				fill(reflect.ValueOf(m).Elem(), rnd)
				b := m.AppendTo([]byte("before"), version)[6:]
				got := reflect.New(reflect.TypeOf(m).Elem()).Interface().(Message)
				rest, err := got.ReadFrom(append(bytes.Clone(b), "behind"...), version)
				if err != nil || string(rest) != "behind" {
					t.Fatalf("%s version %d: rest %q, %v\n%+v", m.RecordName(), version, rest, err, m)
				}
				if again := got.AppendTo(nil, version); !bytes.Equal(again, b) {
					t.Fatalf("%s version %d:\n%x\n%x", m.RecordName(), version, b, again)
				}
				if version == highest && !bytes.Equal(b, m.AppendTo(nil, version)) {
					t.Fatalf("%s: encoding changed the record", m.RecordName())
				}
				for cut := range b {
					if _, err := got.ReadFrom(b[:cut], version); !errors.Is(err, ErrMalformed) {
						t.Fatalf("%s version %d cut to %d of %d bytes: %v", m.RecordName(), version, cut, len(b), err)
					}
				}
			}
		}
		if _, err := m.ReadFrom(nil, highest+1); !errors.Is(err, ErrUnknownVersion) {
			t.Fatalf("%s version %d: %v", m.RecordName(), highest+1, err)
		}
	}
}

// TestDecodedValues compares values, not bytes: what is null stays null, defaults come back.
func TestDecodedValues(t *testing.T) {
	rack := "r1"
	change := NewPartitionChange()
	change.PartitionID, change.ISR = 3, []int32{}
	for _, tc := range []struct {
		in, want Record
		version  int16
		hex      string
	}{
		{&Topic{Name: "ab", TopicID: UUID{15: 9}}, nil, 0, "010200" + "036162" + "00000000000000000000000000000009" + "00"},
		{&NoOp{}, nil, 0, "011400" + "00"},
		{change, nil, 2, "010502" + "00000003" + strings.Repeat("00", 16) + "01" + "000101"},
		{&Config{ResourceType: 2, Name: "k"}, nil, 0, "010400" + "02" + "01" + "026b" + "00" + "00"},
		{&AbortTransaction{Reason: &rack}, nil, 0, "011900" + "01" + "0003" + "03" + "7231"},
		// A version without the field: it comes back as its default.
		{&RegisterBroker{Fenced: true, InControlledShutdown: true, CordonedLogDirs: []UUID{{}}, Rack: &rack},
			&RegisterBroker{Fenced: true, Rack: &rack}, 0,
			"010000" + "00000000" + strings.Repeat("00", 16) + "0000000000000000" + "01" + "01" + "037231" + "01" + "00"},
	} {
		b := Encode(nil, tc.in, tc.version)
		if got := hex.EncodeToString(b); got != tc.hex {
			t.Fatalf("%s: got %s, want %s", tc.in.RecordName(), got, tc.hex)
		}
		got, version, err := Decode(b)
		if err != nil || version != tc.version {
			t.Fatalf("%s: version %d, %v", tc.in.RecordName(), version, err)
		}
		if tc.want == nil {
			tc.want = tc.in
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", tc.in.RecordName(), diff)
		}
		if _, _, err := Decode(append(b, 0)); !errors.Is(err, ErrMalformed) {
			t.Fatalf("%s with a byte behind it: %v", tc.in.RecordName(), err)
		}
	}
}

func TestUnknownTagsAreSkipped(t *testing.T) {
	b, _ := hex.DecodeString("011400" + "02" + "0503616263" + "8001" + "00")
	if r, _, err := Decode(b); err != nil || r.Type() != 20 {
		t.Fatal(r, err)
	}
	// Tag 6 (ELR) came in version 2: in version 0 it is unknown.
	b, _ = hex.DecodeString("010500" + "00000003" + strings.Repeat("00", 16) + "02" + "000101" + "060101")
	r, _, err := Decode(b)
	if err != nil || r.(*PartitionChange).EligibleLeaderReplicas != nil || r.(*PartitionChange).ISR == nil {
		t.Fatal(r, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for in, want := range map[string]error{
		"":                         ErrMalformed,
		"01":                       ErrMalformed,
		"ffffffffff":               ErrMalformed,
		"000200":                   ErrUnknownVersion, // the preview's frame
		"020200":                   ErrUnknownVersion,
		"010600":                   ErrUnknownType,
		"018080808001":             ErrMalformed,
		"010201":                   ErrUnknownVersion,
		"010200ffffffff0f":         ErrMalformed, // a string of 4 GiB
		"01020000":                 ErrMalformed, // a null name
		"01140001" + "0005" + "00": ErrMalformed, // a tag longer than the record
	} {
		b, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Decode(b); !errors.Is(err, want) {
			t.Fatalf("%s: got %v, want %v", in, err, want)
		}
	}
	_, _, err := Decode([]byte{1, 2, 0, 5, 'a'})
	if want := "TopicRecord version 0, byte 1 of 2: malformed record: 4 bytes needed, 1 left"; !strings.Contains(fmt.Sprint(err), want) {
		t.Fatalf("got %v, want %s", err, want)
	}
}

// TestLyingLengths: an array that announces more than the bytes can hold costs no memory.
func TestLyingLengths(t *testing.T) {
	b := []byte{1, 3, 0, 0, 0, 0, 0}
	b = append(b, make([]byte, 16)...)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0x07) // two thousand million replicas
	b = append(b, make([]byte, 1000)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, _, err := Decode(b); !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Fatalf("%d bytes allocated", used)
	}
}

func TestTooLongToWrite(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("a string that no reader takes was written")
		}
	}()
	Encode(nil, &Topic{Name: strings.Repeat("x", MaxString+1)}, 0)
}

// TestSameAsKmsg compares with the independent codecs of the records that kmsg has too.
func TestSameAsKmsg(t *testing.T) {
	s := "x1"
	check := func(name string, ours, theirs []byte) {
		t.Helper()
		if !bytes.Equal(ours, theirs) {
			t.Fatalf("%s:\nours   %x\ntheirs %x", name, ours, theirs)
		}
	}
	ok := kmsg.OffsetCommitKey{Version: 1, Group: "g", Topic: "t", Partition: 7}
	check("OffsetCommitKey", AppendKey(nil, &OffsetCommitKey{"g", "t", 7}), ok.AppendTo(nil))
	for v := int16(0); v <= 3; v++ {
		ov := kmsg.OffsetCommitValue{Version: v, Offset: 1, LeaderEpoch: 2, Metadata: "m", CommitTimestamp: 3, ExpireTimestamp: 4}
		check("OffsetCommitValue", AppendValue(nil, &OffsetCommitValue{Offset: 1, LeaderEpoch: 2, Metadata: "m", CommitTimestamp: 3, ExpireTimestamp: 4}, v), ov.AppendTo(nil))
		gv := kmsg.GroupMetadataValue{Version: v, ProtocolType: "consumer", Generation: 4, Leader: &s, CurrentStateTimestamp: 5,
			Members: []kmsg.GroupMetadataValueMember{{MemberID: "m", InstanceID: &s, ClientID: "c", ClientHost: "/h",
				RebalanceTimeoutMillis: 1, SessionTimeoutMillis: 2, Subscription: []byte{1}, Assignment: []byte{2, 3}}}}
		ours := &GroupMetadataValue{ProtocolType: "consumer", Generation: 4, Leader: &s, CurrentStateTimestamp: 5,
			Members: []MemberMetadata{{MemberID: "m", GroupInstanceID: &s, ClientID: "c", ClientHost: "/h",
				RebalanceTimeout: 1, SessionTimeout: 2, Subscription: []byte{1}, Assignment: []byte{2, 3}}}}
		check("GroupMetadataValue", AppendValue(nil, ours, v), gv.AppendTo(nil))
	}
	tv := kmsg.TxnMetadataValue{ProducerID: 1, ProducerEpoch: 2, TimeoutMillis: 3, State: 4, LastUpdateTimestamp: 5, StartTimestamp: 6,
		Topics: []kmsg.TxnMetadataValueTopic{{Topic: "t", Partitions: []int32{0, 1}}}}
	check("TransactionLogValue", AppendValue(nil, &TransactionLogValue{ProducerID: 1, ProducerEpoch: 2, TransactionTimeoutMillis: 3, TransactionStatus: 4,
		TransactionLastUpdateTimestampMillis: 5, TransactionStartTimestampMillis: 6,
		TransactionPartitions: []TransactionPartitions{{"t", []int32{0, 1}}}}, 0), tv.AppendTo(nil))
	lc := kmsg.LeaderChangeMessage{LeaderID: 3, Voters: []kmsg.LeaderChangeMessageVoter{{VoterID: 3}}}
	check("LeaderChange", (&LeaderChange{LeaderID: 3, Voters: []LeaderChangeVoter{{VoterID: 3}}}).AppendTo(nil, 0), lc.AppendTo(nil))
	marker := kmsg.EndTxnMarker{CoordinatorEpoch: 9}
	check("EndTxnMarker", AppendValue(nil, &EndTxnMarker{9}, 0), marker.AppendTo(nil))
	ck := kmsg.ControlRecordKey{Type: 1}
	check("ControlRecordKey", AppendControlKey(nil, ControlCommit), ck.AppendTo(nil))
}

func TestControl(t *testing.T) {
	if got, err := DecodeControlKey([]byte{0, 1, 0, 5, 9}); err != nil || got != ControlKRaftVersion {
		t.Fatal(got, err)
	}
	for _, b := range [][]byte{nil, {0, 0, 0}, {0xff, 0xff, 0, 0}} {
		if _, err := DecodeControlKey(b); err == nil {
			t.Fatalf("%x was read", b)
		}
	}
	want := &LeaderChange{Version: 1, LeaderID: 2, Voters: []LeaderChangeVoter{{2, UUID{1}}}}
	got, err := DecodeControl(ControlLeaderChange, want.AppendTo(nil, 1))
	if diff := cmp.Diff(Record(want), got); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	if _, err := DecodeControl(ControlCommit, []byte{0, 0}); !errors.Is(err, ErrUnknownType) {
		t.Fatal(err)
	}
	marker, err := DecodeEndTxnMarker([]byte{0, 7, 0, 0, 1, 0, 5})
	if err != nil || marker.CoordinatorEpoch != 256 {
		t.Fatal(marker, err)
	}
	if _, err := DecodeEndTxnMarker([]byte{0xff, 0xff, 0, 0, 1, 0}); err == nil {
		t.Fatal("a negative version was read")
	}
}

func TestNoAllocationToEncode(t *testing.T) {
	k, v := &OffsetCommitKey{"group", "topic", 1}, NewOffsetCommitValue()
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { buf = AppendValue(AppendKey(buf[:0], k), v, 4) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for n := range int16(64) {
		if r := metadata(n); r != nil {
			fill(reflect.ValueOf(r).Elem(), rnd)
			_, v := r.Versions()
			f.Add(Encode(nil, r, v))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, v, err := Decode(b)
		if err != nil {
			return
		}
		again := Encode(nil, r, v)
		r2, v2, err := Decode(again)
		if err != nil || v2 != v || !bytes.Equal(again, Encode(nil, r2, v2)) {
			t.Fatalf("%x became %x: %v", b, again, err)
		}
	})
}

func FuzzCoordinatorRecord(f *testing.F) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for log := GroupLog; log <= ShareLog; log++ {
		for n := range int16(24) {
			if r := log.record(n, false); r != nil {
				fill(reflect.ValueOf(r).Elem(), rnd)
				k := log.record(n, true)
				fill(reflect.ValueOf(k).Elem(), rnd)
				_, v := r.Versions()
				f.Add(int8(log), AppendKey(nil, k), AppendValue(nil, r, v))
			}
		}
	}
	f.Fuzz(func(t *testing.T, log int8, key, value []byte) {
		k, err := DecodeKey(Log(log), key)
		if err != nil {
			return
		}
		if b := AppendKey(nil, k); !bytes.HasPrefix(key, b) {
			t.Fatalf("%x became %x", key, b)
		}
		r, v, err := DecodeValue(Log(log), k.Type(), value)
		if err != nil {
			return
		}
		b := AppendValue(nil, r, v)
		if r, v, err = DecodeValue(Log(log), k.Type(), b); err != nil || !bytes.Equal(b, AppendValue(nil, r, v)) {
			t.Fatalf("%x became %x: %v", value, b, err)
		}
	})
}

func FuzzControl(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2}, (&LeaderChange{Version: 1, Voters: make([]LeaderChangeVoter, 2)}).AppendTo(nil, 1))
	f.Add([]byte{0, 0, 0, 6}, (&KRaftVoters{Voters: []Voter{{Endpoints: []VoterEndpoint{{"n", "h", 9}}}}}).AppendTo(nil, 0))
	f.Add([]byte{0, 0, 0, 1}, []byte{0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		c, err := DecodeControlKey(key)
		if err != nil {
			return
		}
		if _, err := DecodeEndTxnMarker(value); err == nil && len(value) < 6 {
			t.Fatal("a marker in too few bytes")
		}
		r, err := DecodeControl(c, value)
		if err != nil {
			return
		}
		_, highest := r.Versions()
		b := r.AppendTo(nil, highest)
		if _, err := r.ReadFrom(b, highest); err != nil {
			t.Fatalf("%x became %x: %v", value, b, err)
		}
	})
}

func TestFloat(t *testing.T) {
	q := &ClientQuota{Value: math.Inf(1)}
	r, _, err := Decode(Encode(nil, q, 0))
	if err != nil || !math.IsInf(r.(*ClientQuota).Value, 1) {
		t.Fatal(r, err)
	}
}
