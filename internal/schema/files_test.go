package schema

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQuorumState(t *testing.T) {
	for _, tc := range []struct {
		text string
		want QuorumState
	}{
		// As Apache Kafka 4.3.1 wrote it.
		{`{"clusterId":"","leaderId":1,"leaderEpoch":1,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}`,
			QuorumState{LeaderID: 1, LeaderEpoch: 1, VotedID: -1, CurrentVoters: []int32{1}}},
		{`{"leaderId":-1,"leaderEpoch":7,"votedId":3,"votedDirectoryId":"AQAAAAAAAAAAAAAAAAAAAA","data_version":1}`,
			QuorumState{Version: 1, LeaderID: -1, LeaderEpoch: 7, VotedID: 3, VotedDirectoryID: UUID{1}}},
		{`{"leaderId":1,"leaderEpoch":1,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}`,
			QuorumState{Version: 1, LeaderID: 1, LeaderEpoch: 1, VotedID: -1}},
	} {
		got, err := DecodeQuorumState([]byte(tc.text))
		if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
		text, err := got.AppendTo(nil)
		if diff := cmp.Diff(tc.text, string(text)); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	}
	for _, bad := range []string{"", "[]", "{}", `{"data_version":0}`, `{"leaderId":1,"leaderEpoch":1,"votedId":-1,"data_version":0}`,
		`{"leaderId":1,"leaderEpoch":1,"votedId":-1,"data_version":1}`,
		`{"leaderId":1,"leaderEpoch":1,"votedId":-1,"votedDirectoryId":"!","data_version":1}`,
		`{"leaderId":1,"leaderEpoch":1,"votedId":-1,"currentVoters":[],"data_version":2}`,
		`{"leaderId":99999999999,"leaderEpoch":1,"votedId":-1,"currentVoters":[],"data_version":0}`} {
		if q, err := DecodeQuorumState([]byte(bad)); err == nil {
			t.Fatalf("%s was read as %+v", bad, q)
		}
	}
	if _, err := (&QuorumState{Version: 2}).AppendTo(nil); !errors.Is(err, ErrUnknownVersion) {
		t.Fatal(err)
	}
}

// DETAILS 27
func TestCleanShutdown(t *testing.T) {
	text := AppendCleanShutdown(nil, 42)
	if diff := cmp.Diff(`{"version":0,"brokerEpoch":42}`, string(text)); diff != "" {
		t.Fatal(diff)
	}
	if got, err := DecodeCleanShutdown(text); err != nil || got != 42 {
		t.Fatal(got, err)
	}
	if got, err := DecodeCleanShutdown([]byte(`{"version":3,"brokerEpoch":7,"more":[]}`)); err != nil || got != 7 {
		t.Fatal(got, err)
	}
	for _, bad := range []string{"", "{}", `{"version":0}`, `{"version":0,"brokerEpoch":"7"}`} {
		if got, err := DecodeCleanShutdown([]byte(bad)); err == nil {
			t.Fatalf("%q was read as %d", bad, got)
		}
	}
}

func TestProducerSnapshot(t *testing.T) {
	entries := []ProducerEntry{{1, 2, 3, 4, 5, 6, 7, 8}, {ProducerID: 2, LastSequence: -1, LastOffset: -1, CurrentTxnFirstOffset: -1}}
	b := AppendProducerSnapshot([]byte("x"), entries)[1:]
	if len(b) != 10+2*ProducerEntrySize {
		t.Fatalf("%d bytes", len(b))
	}
	if got := hex.EncodeToString(b[6:56]); got != "00000002"+"0000000000000001"+"0002"+"00000003"+"0000000000000004"+"00000005"+"0000000000000006"+"00000007"+"0000000000000008" {
		t.Fatal(got)
	}
	got, err := DecodeProducerSnapshot(b)
	if diff := cmp.Diff(entries, got); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := DecodeProducerSnapshot(bad); err == nil {
			t.Fatalf("byte %d changed and nobody saw it", i)
		}
		if _, err := DecodeProducerSnapshot(b[:i]); err == nil {
			t.Fatalf("cut to %d bytes and nobody saw it", i)
		}
	}
}

func TestAbortedTxn(t *testing.T) {
	want := AbortedTxn{1, 2, 3, 4}
	b := AppendValue(nil, &want, 0)
	if got, err := DecodeAbortedTxn(b); err != nil || got != want || len(b) != AbortedTxnSize {
		t.Fatal(got, err, len(b))
	}
	if _, err := DecodeAbortedTxn(b[:33]); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
}

func FuzzFiles(f *testing.F) {
	f.Add(AppendProducerSnapshot(nil, make([]ProducerEntry, 2)))
	f.Add([]byte(`{"leaderId":-1,"leaderEpoch":7,"votedId":3,"votedDirectoryId":"AQAAAAAAAAAAAAAAAAAAAA","data_version":1}`))
	f.Add(AppendCleanShutdown(nil, 1))
	f.Add(AppendValue(nil, &AbortedTxn{1, 2, 3, 4}, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := DecodeQuorumState(b); err == nil {
			if _, err := q.AppendTo(nil); err != nil {
				t.Fatal(err)
			}
		}
		if entries, err := DecodeProducerSnapshot(b); err == nil && len(entries)*ProducerEntrySize > len(b) {
			t.Fatal("more entries than bytes")
		}
		_, _ = DecodeCleanShutdown(b)
		_, _ = DecodeAbortedTxn(b)
	})
}
