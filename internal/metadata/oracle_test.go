package metadata

import (
	"encoding/binary"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
)

// apache gives the records of a file that Apache Kafka 4.3.1 wrote (see the README in schema/testdata), with the
// offset of each; control records are left out.
func apache(t *testing.T, file string, each func(offset int64, epoch int32, r schema.Record)) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../schema/testdata/apache-4.3.1", file))
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
		for i := range batch.NumRecords {
			length, head := binary.Varint(records)
			size := head + int(length)
			var kr kmsg.Record
			if err := kr.ReadFrom(records[:size]); err != nil {
				t.Fatal(file, err)
			}
			records = records[size:]
			if batch.Attributes&32 != 0 {
				continue
			}
			r, _, err := schema.Decode(kr.Value)
			if err != nil {
				t.Fatal(file, err)
			}
			each(batch.FirstOffset+int64(i), batch.PartitionLeaderEpoch, r)
		}
	}
}

func apply(t *testing.T, d *Delta, r schema.Record) {
	t.Helper()
	switch r.(type) {
	case *schema.BeginTransaction, *schema.EndTransaction:
		return // the bootstrap records stand in one transaction, which ended
	}
	if err := d.Apply(r); err != nil {
		t.Fatal(err)
	}
}

// dump gives an image's snapshot as lines.
func dump(i *Image) []string {
	var lines []string
	for r, version := range i.Records() {
		lines = append(lines, r.RecordName()+" "+hex.EncodeToString(schema.Encode(nil, r, version)))
	}
	return lines
}

// TestApacheLogMakesApacheSnapshots replays Apache's log, one delta a record, and compares the image at each snapshot's
// offset with the snapshot that Apache made there, record by record.
func TestApacheLogMakesApacheSnapshots(t *testing.T) {
	snapshots := map[int64]string{18: "00000000000000000019-0000000001.checkpoint", 63: "00000000000000000064-0000000001.checkpoint",
		123: "00000000000000000124-0000000001.checkpoint", 184: "00000000000000000185-0000000003.checkpoint"}
	image, compared := Empty(), 0
	apache(t, "metadata.log", func(offset int64, epoch int32, r schema.Record) {
		d := NewDelta(image)
		apply(t, d, r)
		image = d.Image(offset, epoch)
		file, ok := snapshots[offset]
		if !ok {
			return
		}
		compared++
		loaded := NewDelta(Empty())
		written := map[string]bool{} // Apache writes some of its maps in hash order
		apache(t, file, func(_ int64, _ int32, r schema.Record) {
			apply(t, loaded, r)
			written[r.RecordName()+" "+hex.EncodeToString(schema.Encode(nil, r, RecordVersion(r, 30)))] = true
		})
		snapshot := loaded.Image(offset, epoch)
		if diff := cmp.Diff(dump(snapshot), dump(image)); diff != "" {
			t.Fatalf("%s: image of the snapshot and of the log differ:\n%s", file, diff)
		}
		ours := map[string]bool{}
		for _, line := range dump(image) {
			ours[line] = true
		}
		// Endpoints and features stand in hash order inside a registration: compared above, as values.
		drop := func(line string, _ bool) bool { return line[:8] == "Register" }
		maps.DeleteFunc(ours, drop)
		maps.DeleteFunc(written, drop)
		if diff := cmp.Diff(written, ours); diff != "" {
			t.Fatalf("%s: records that Apache and we would write differ:\n%s", file, diff)
		}
		if d := Diff(snapshot, image); len(d.Topics().Changed)+len(d.Brokers())+len(d.Configs())+len(d.ACLs()) != 0 || d.FeaturesChanged() {
			t.Fatalf("%s: Diff finds %+v", file, d.Topics())
		}
	})
	if compared != len(snapshots) {
		t.Fatalf("%d snapshots compared", compared)
	}
}

// TestApacheFacts compares the image with what kafka-topics, kafka-configs, kafka-acls and kafka-features printed.
func TestApacheFacts(t *testing.T) {
	d := NewDelta(Empty())
	var image *Image
	apache(t, "metadata.log", func(offset int64, epoch int32, r schema.Record) {
		apply(t, d, r)
		if offset == 184 { // the tools printed before the shutdown, which the log's end holds
			image = d.Image(offset, epoch)
		}
	})

	partitions := map[string]int{}
	for topic := range image.Topics() {
		partitions[topic.Name+" "+topic.ID.String()] = len(topic.Partitions)
		for id, p := range topic.Partitions {
			if p.Leader != 1 || !cmp.Equal(p.ISR, []int32{1}) || !cmp.Equal(p.Replicas, []int32{1}) {
				t.Fatalf("%s-%d: %+v", topic.Name, id, p)
			}
			broker, _ := image.Broker(1)
			if dir, ok := p.Directory(1); !ok || dir != broker.LogDirs[0] {
				t.Fatalf("%s-%d is in directory %s", topic.Name, id, dir)
			}
		}
	}
	want := map[string]int{
		"zebra fNDqUWiRRzqYYUkz4cFodA": 4, "orders Yfftc2TYRHK0z9p_2oY7Tg": 3, "late G-nNDa2uRNS7MU7xM2UkcA": 1,
		"__share_group_state odU7gWnFSDKY0uHp6mgMQg": 1, "__consumer_offsets i2ts-a_RT3GWK0fKng_ckg": 2,
		"__transaction_state vO36iiGDQ8OK2IpTnmaK5w": 1,
	}
	if diff := cmp.Diff(want, partitions); diff != "" {
		t.Fatalf("topics (-want +got):\n%s", diff)
	}
	if image.TopicCount() != 6 || image.PartitionCount() != 12 {
		t.Fatal(image.TopicCount(), image.PartitionCount())
	}
	if diff := cmp.Diff(map[string]string{"cleanup.policy": "compact", "max.message.bytes": "2000000"}, image.Config(TopicConfig, "orders")); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff(map[string]string{"log.cleaner.threads": "2", "min.insync.replicas": "1"}, image.Config(BrokerConfig, "")); diff != "" {
		t.Fatal(diff)
	}
	if image.Config(TopicConfig, "doomed") != nil {
		t.Fatal("a deleted topic has a configuration")
	}
	features := maps.Collect(image.Features())
	if diff := cmp.Diff(map[string]int16{"metadata.version": 30, "eligible.leader.replicas.version": 1, "group.version": 1,
		"share.version": 1, "streams.version": 1, "transaction.version": 2}, features); diff != "" {
		t.Fatal(diff)
	}
	client := "c1"
	q, ok := image.Quota([]schema.QuotaEntity{{EntityType: "client-id", EntityName: &client}})
	if !ok || !cmp.Equal(q.Values, map[string]float64{"consumer_byte_rate": 2048, "request_percentage": 12.5, "producer_byte_rate": 1024}) {
		t.Fatal(q)
	}
	if q, ok = image.Quota([]schema.QuotaEntity{{EntityType: "user"}}); !ok || q.Values["request_percentage"] != 50 {
		t.Fatal(q)
	}
	var acls, scram []string
	for a := range image.ACLs() {
		acls = append(acls, a.Principal)
	}
	if len(acls) != 5 {
		t.Fatal(acls)
	}
	for s := range image.SCRAMs() {
		scram = append(scram, s.Name)
	}
	if diff := cmp.Diff([]string{"bob", "carol"}, scram); diff != "" {
		t.Fatal(diff)
	}
	if b, ok := image.Broker(1); !ok || !b.Active() || b.Epoch != 142 {
		t.Fatalf("%+v", b)
	}
	after := d.Image(201, 3)
	if b, ok := after.Broker(1); !ok || b.Active() || !b.InControlledShutdown {
		t.Fatalf("after a controlled shutdown: %+v", b)
	}
	if p, _ := after.Partition("late", 0); p.Leader != NoLeader || len(p.ISR) != 0 || !cmp.Equal(p.ELR, []int32{1}) {
		t.Fatalf("after a controlled shutdown: %+v", p)
	}
}
