package schema

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// apache walks the records of a file of testdata/apache-4.3.1 (see README.md there) with another codec than ours.
func apache(t *testing.T, file string, each func(control bool, key, value []byte)) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata/apache-4.3.1", file))
	if err != nil {
		t.Fatal(err)
	}
	for len(b) > 12 {
		n := 12 + int(binary.BigEndian.Uint32(b[8:]))
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(b[:n]); err != nil {
			t.Fatal(file, err)
		}
		b = b[n:]
		records := batch.Records
		for range batch.NumRecords {
			length, head := binary.Varint(records)
			size := head + int(length)
			var r kmsg.Record
			if err := r.ReadFrom(records[:size]); err != nil {
				t.Fatal(file, err)
			}
			records = records[size:]
			each(batch.Attributes&32 != 0, r.Key, r.Value)
		}
	}
}

// TestApacheMetadata reads every record of Apache's metadata log and snapshots and writes it again byte for byte.
func TestApacheMetadata(t *testing.T) {
	files, err := filepath.Glob("testdata/apache-4.3.1/*.checkpoint")
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	seen := map[string]int{}
	for _, file := range append(files, "metadata.log") {
		apache(t, filepath.Base(file), func(control bool, key, value []byte) {
			var r Record
			var again []byte
			if control {
				c, err := DecodeControlKey(key)
				if err != nil || !bytes.Equal(AppendControlKey(nil, c), key) {
					t.Fatalf("key %x: %v", key, err)
				}
				if r, err = DecodeControl(c, value); err != nil {
					t.Fatal(err)
				}
				again = r.AppendTo(nil, 0)
			} else {
				var version int16
				if r, version, err = Decode(value); err != nil {
					t.Fatalf("%x: %v", value, err)
				}
				again = Encode(nil, r, version)
			}
			if !bytes.Equal(again, value) {
				t.Fatalf("%s:\nread    %x\nwritten %x", r.RecordName(), value, again)
			}
			seen[r.RecordName()]++
		})
	}
	for _, name := range []string{"RegisterBrokerRecord", "BrokerRegistrationChangeRecord", "TopicRecord", "PartitionRecord",
		"PartitionChangeRecord", "RemoveTopicRecord", "ConfigRecord", "FeatureLevelRecord", "ProducerIdsRecord", "ClientQuotaRecord",
		"AccessControlEntryRecord", "RemoveAccessControlEntryRecord", "UserScramCredentialRecord", "RemoveUserScramCredentialRecord",
		"RegisterControllerRecord", "NoOpRecord", "BeginTransactionRecord", "EndTransactionRecord", "LeaderChangeMessage", "SnapshotHeaderRecord", "SnapshotFooterRecord"} {
		if seen[name] == 0 {
			t.Errorf("the samples hold no %s", name)
		}
	}
	t.Log(seen)
}

// TestApacheCoordinators does the same with the coordinators' logs.
func TestApacheCoordinators(t *testing.T) {
	for _, tc := range []struct {
		file  string
		log   Log
		types int
	}{{"group.log", GroupLog, 12}, {"transaction.log", TransactionLog, 1}, {"share.log", ShareLog, 2}} {
		seen := map[string]int{}
		apache(t, tc.file, func(control bool, key, value []byte) {
			if control {
				m, err := DecodeEndTxnMarker(value)
				if err != nil || !bytes.Equal(AppendValue(nil, m, 0), value) {
					t.Fatalf("%s marker %x: %v", tc.file, value, err)
				}
				return
			}
			k, err := DecodeKey(tc.log, key)
			if err != nil || !bytes.Equal(AppendKey(nil, k), key) {
				t.Fatalf("%s key %x: %v", tc.file, key, err)
			}
			seen[k.RecordName()]++
			if value == nil {
				return
			}
			v, version, err := DecodeValue(tc.log, k.Type(), value)
			if err != nil {
				t.Fatalf("%s %s %x: %v", tc.file, k.RecordName(), value, err)
			}
			if again := AppendValue(nil, v, version); !bytes.Equal(again, value) {
				t.Fatalf("%s %s:\nread    %x\nwritten %x", tc.file, v.RecordName(), value, again)
			}
		})
		if len(seen) < tc.types {
			t.Errorf("%s holds only %v", tc.file, seen)
		}
		t.Log(tc.file, seen)
	}
}

func TestApacheFiles(t *testing.T) {
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata/apache-4.3.1", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	state := read("quorum-state")
	q, err := DecodeQuorumState(state)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := q.AppendTo(nil); err != nil || !bytes.Equal(again, state) {
		t.Fatal(cmp.Diff(string(state), string(again)), err)
	}
	clean := read("kafka_cleanshutdown")
	epoch, err := DecodeCleanShutdown(clean)
	if err != nil || !bytes.Equal(AppendCleanShutdown(nil, epoch), clean) {
		t.Fatal(epoch, err, string(clean))
	}
	snapshot := read("producer.snapshot")
	entries, err := DecodeProducerSnapshot(snapshot)
	if err != nil || len(entries) == 0 || !bytes.Equal(AppendProducerSnapshot(nil, entries), snapshot) {
		t.Fatal(entries, err)
	}
}
