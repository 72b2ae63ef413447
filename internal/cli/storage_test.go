package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/logdir"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

func runStorage(args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code, _ = Run(context.Background(), "kafka-storage", args, strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), code
}

// TestArgparse compares the last lines of standard error, behind the usage, with argparse4j's.
func TestArgparse(t *testing.T) {
	const of = "kafka-storage: error: "
	tests := []struct {
		args string
		want string
	}{
		{"", of + "too few arguments"},
		{"nosuch", "kafka-storage:  error:  invalid  choice:   'nosuch'  (choose  from  'info',\n" +
			"'format', 'version-mapping', 'feature-dependencies', 'random-uuid')"},
		{"--nope", of + "unrecognized arguments: '--nope'"},
		{"f", "kafka-storage:  error:   ambiguous   command:   f   could   match  feature-\ndependencies, format"},
		{"random-uuid x", of + "unrecognized arguments: 'x'"},
		{"random-uuid -- x", of + "unrecognized arguments: 'x'"},
		{"-- random-uuid", of + "unrecognized arguments: 'random-uuid'"},
		{"info", of + "argument --config/-c is required"},
		{"format", of + "argument --cluster-id/-t is required"},
		{"format -t x", of + "argument --config/-c is required"},
		{"format -c", of + "argument --config/-c: expected one argument"},
		{"format -t -x", of + "argument --cluster-id/-t: expected one argument"},
		{"format -t -1", of + "argument --config/-c is required"}, // a negative number is a value
		{"format -c a -t", of + "argument --cluster-id/-t: expected one argument"},
		{"format -c a -t x foo bar", of + "unrecognized arguments: 'foo bar'"},
		{"format -x", of + "unrecognized arguments: '-x'"},
		{"format -sx", of + "unrecognized arguments: '-sx'"},
		{"format -sN", "kafka-storage: error:  argument  --no-initial-controllers/-N:  not  allowed\nwith argument --standalone/-s"},
		{"format --standalone --initial-controllers x", "kafka-storage: error: argument  --initial-controllers/-I:  not allowed with\nargument --standalone/-s"},
		{"format --standalone=x", "kafka-storage: error: argument  --standalone/-s:  ignore  implicit argument\n'x'"},
		{"format --c x", "kafka-storage: error: ambiguous option:  --c  could  match --cluster-id, --\nconfig"},
		{"@nofile", of + "Could not read arguments from file 'nofile'"},
	}
	for _, tt := range tests {
		out, errs, code := runStorage(strings.Fields(tt.args)...)
		if code != 1 || out != "" {
			t.Errorf("%s: exit code %d, output %q", tt.args, code, out)
		}
		if i := strings.LastIndex(errs, "kafka-storage:"); !strings.HasPrefix(errs, "usage: kafka-storage ") || i < 0 || errs[i:] != tt.want+"\n" {
			t.Errorf("%s: -want +got:\n%s", tt.args, cmp.Diff(tt.want+"\n", errs))
		}
	}
}

func TestArgparseValues(t *testing.T) {
	tests := []struct {
		args string
		want map[string][]string
	}{
		{"format -c a -t b", map[string][]string{"--config": {"a"}, "--cluster-id": {"b"}}},
		{"form --config=a=b -tx -gs", map[string][]string{"--config": {"a=b"}, "--cluster-id": {"x"}, "--ignore-formatted": {""}, "--standalone": {""}}},
		{"format -t=x -gc a", map[string][]string{"--config": {"a"}, "--cluster-id": {"x"}, "--ignore-formatted": {""}}},
		{"format -c a -t b -t c -f x -f y", map[string][]string{"--config": {"a"}, "--cluster-id": {"b", "c"}, "--feature": {"x", "y"}}},
	}
	for _, tt := range tests {
		p, err := storageArguments().parse(&call{args: strings.Fields(tt.args)})
		if err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		if diff := cmp.Diff(tt.want, p.given); diff != "" || p.command != "format" {
			t.Errorf("%s: command %s, -want +got:\n%s", tt.args, p.command, diff)
		}
	}
}

func TestArgparseUsage(t *testing.T) {
	const want = `usage: kafka-storage format [-h] --config CONFIG --cluster-id CLUSTER_ID
                     [--add-scram ADD_SCRAM] [--ignore-formatted]
                     [--release-version RELEASE_VERSION]
                     [--feature FEATURE] [--standalone |
                     --no-initial-controllers |
                     --initial-controllers INITIAL_CONTROLLERS]
`
	out, _, code := runStorage("format", "-h")
	if code != 0 || !strings.HasPrefix(out, want) {
		t.Fatalf("exit code %d, -want +got:\n%s", code, cmp.Diff(want, out))
	}
	for _, line := range strings.Split(out, "\n") {
		if len(line) > argWidth {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
}

// TestWrap has lines that argparse4j wrapped.
func TestWrap(t *testing.T) {
	tests := []struct {
		text string
		want string
	}{
		{"Get information about the Kafka log directories on this node.", "Get information about  the  Kafka  log directories\n" +
			"                         on this node."},
		{"The setting to use for a specific feature, in feature=level format. For example: `kraft.version=1`.",
			"The setting to  use  for  a  specific  feature, in\n                         feature=level   format.   For   example:   `kraft.\n" +
				"                         version=1`."},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, wrap(tt.text, argHelpColumn)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

func TestNewFeatures(t *testing.T) {
	exception := `Exception in thread "main" java.lang.IllegalArgumentException: `
	tests := []struct {
		release int16
		asked   string
		static  bool
		want    string // levels by name: elr group kraft share streams transaction; or the error
	}{
		{want: "mv30 elr1 group1 kraft1 share1 streams1 txn2"},
		{static: true, want: "mv30 elr1 group1 kraft0 share1 streams1 txn2"},
		{release: 19, want: "mv19 elr0 group0 kraft1 share0 streams0 txn0"},
		{asked: "metadata.version=25", want: "mv25 elr0 group1 kraft1 share0 streams0 txn2"},
		{asked: "group.version=0 transaction.version=1", want: "mv30 elr1 group0 kraft1 share1 streams1 txn1"},
		{asked: "group.version=0 group.version=1", want: "mv30 elr1 group1 kraft1 share1 streams1 txn2"},
		{asked: "metadata.version=20", release: 20, want: "Use --release-version instead of --feature metadata.version=X to avoid ambiguity."},
		{asked: "metadata.version=5", want: exception + "No MetadataVersion with feature level 5. Valid feature levels are from 7 to 30."},
		{asked: "group.version=2", want: exception + "No feature:group.version with feature level 2"},
		{asked: "group.version=-1", want: exception + "No feature:group.version with feature level -1"},
		{asked: "kraft.version=2", want: exception + "No feature:kraft.version with feature level 2"},
		{asked: "kraft.version=0", static: true, want: "mv30 elr1 group1 kraft0 share1 streams1 txn2"},
		{asked: "kraft.version=0", want: "Cannot set kraft.version to 0 if controller.quorum.voters is empty and one of the flags --standalone, " +
			"--initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, try removing the --feature flag for kraft.version."},
		{asked: "kraft.version=1", static: true, want: "Cannot set kraft.version to 1 unless controller.quorum.voters is empty and one of the flags --standalone, " +
			"--initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, try using one of --standalone, " +
			"--initial-controllers, or --no-initial-controllers and removing controller.quorum.voters."},
		{asked: "eligible.leader.replicas.version=1", release: 19, want: exception + "eligible.leader.replicas.version could not be set to 1 because it depends on metadata.version level 23"},
		{asked: "group.version", want: `Exception in thread "main" java.lang.RuntimeException: Can't parse feature=level string group.version: equals sign not found.`},
		{asked: "group.version=z", want: `Exception in thread "main" java.lang.RuntimeException: Can't parse feature=level string group.version=z: unable to parse z as a short.`},
	}
	for _, tt := range tests {
		asked, err := askedFeatures(strings.Fields(tt.asked))
		var f features
		if err == nil {
			f, err = newFeatures(tt.release, asked, !tt.static)
		}
		got := errText(err)
		if err == nil {
			var b strings.Builder
			cl := &call{out: bufio.NewWriter(&b)}
			cl.printf("mv%d elr%d group%d kraft%d share%d streams%d txn%d", f.version, f.levels[metadata.ELRVersionFeature], f.levels[metadata.GroupVersionFeature],
				f.levels[metadata.KRaftVersionFeature], f.levels[metadata.ShareVersionFeature], f.levels[metadata.StreamsVersionFeature], f.levels[metadata.TransactionVersionFeature])
			cl.out.Flush()
			got = b.String()
		}
		if got != tt.want {
			t.Errorf("release %d, %q:\n got %s\nwant %s", tt.release, tt.asked, got, tt.want)
		}
	}
}

func TestParseVoters(t *testing.T) {
	const id = "EXpFVwukTGCGbA2bAyHHeQ"
	tests := []struct{ text, want string }{
		{"", "No voters given."},
		{",", "No voters given."},
		{"x", "No @ found in dynamic voter string."},
		{"@x", "Invalid @ at beginning of dynamic voter string."},
		{"1@", "No hostname found after node id."},
		{"a@h:1:x", "Failed to parse node id in dynamic voter string."},
		{"-1@h:1:x", "Invalid negative node id -1 in dynamic voter string."},
		{"1@[h", "Hostname began with left bracket, but no right bracket was found."},
		{"1@[::1]9:x", "Port section must start with a colon."},
		{"1@h", "No colon following hostname could be found."},
		{"1@h:x", "No colon following port could be found."},
		{"1@h:x:y", "Failed to parse port in dynamic voter string."},
		{"1@h:70000:y", "Invalid port 70000 in dynamic voter string."},
		{"1@h:1:y", "Failed to parse directory ID in dynamic voter string."},
		{"1@h:1:" + id + ",1@h:1:" + id, "Node id 1 was specified more than once."},
		{"1@h:1:" + id, ""},
		{" 1@[::1]:65535:" + id + "==,,2@h:0:" + id, ""},
	}
	for _, tt := range tests {
		if _, err := parseVoters(tt.text); errText(err) != tt.want {
			t.Errorf("%q: error %q, want %q", tt.text, errText(err), tt.want)
		}
	}
	directory, err := schema.ParseUUID(id)
	if err != nil {
		t.Fatal(err)
	}
	voters, _ := parseVoters("1@[::1]:9093:" + id)
	want := schema.Voter{VoterID: 1, VoterDirectoryID: directory, Endpoints: []schema.VoterEndpoint{{Name: "CONTROLLER", Host: "::1", Port: 9093}},
		KRaftVersionFeature: schema.KRaftVersionRange{MaxSupportedVersion: 1}}
	if diff := cmp.Diff(want, voters[0].record("controller")); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
}

func FuzzParseVoters(f *testing.F) {
	f.Add("1@[::1]:65535:EXpFVwukTGCGbA2bAyHHeQ,2@h:0:3ClO81KXRayD2xdHlcmA1Q")
	f.Add("1@h:1:AAAAAAAAAAAAAAAAAAAAAA==")
	f.Fuzz(func(t *testing.T, text string) {
		voters, err := parseVoters(text)
		if err == nil && len(voters) == 0 {
			t.Fatalf("%q: no voters and no error", text)
		}
	})
}

func FuzzArgparse(f *testing.F) {
	f.Add("format -gs -c a -t=b --feature x=1 -- y")
	f.Add("-h")
	f.Fuzz(func(t *testing.T, line string) {
		words := strings.FieldsFunc(strings.ReplaceAll(line, "@", ""), func(r rune) bool { return r == ' ' }) // no files
		p, err := storageArguments().parse(&call{args: words, out: bufio.NewWriter(&bytes.Buffer{})})
		if err == nil && p.command == "" {
			t.Fatalf("%q: neither a command nor an error", line)
		}
	})
}

// TestFormatStopsAnywhere fails each operation on the disk in turn, and lets the memory crash there. A directory that
// counts as formatted then has all it needs, and a second run formats the rest.
func TestFormatStopsAnywhere(t *testing.T) {
	node, _, err := config.NewNode(map[string]string{"process.roles": "broker,controller", "node.id": "1", "controller.quorum.bootstrap.servers": "localhost:9093",
		"listeners": "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093", "controller.listener.names": "CONTROLLER", "log.dirs": "/data/a,/data/p"})
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.UnixMilli(1) }
	whole := []string{"/data/a/bootstrap.checkpoint", "/data/a/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"}
	for stop := 1; ; stop++ {
		mem := vfs.NewMem(now)
		if err := errors.Join(mem.MkdirAll("/data", 0o755), mem.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
		operations := 0
		disk := vfs.NewFaults(mem, func(vfs.Op) error {
			if operations++; operations >= stop {
				return errors.New("the disk is gone")
			}
			return nil
		})
		voter := &initialVoter{id: 1, host: "localhost", port: 9093, directory: randomUUID()}
		begin, err := newFeatures(0, nil, true)
		if err != nil {
			t.Fatal(err)
		}
		f := diskFormat{c: &call{out: bufio.NewWriter(&bytes.Buffer{}), stderr: &bytes.Buffer{}, now: now}, disk: disk, node: node, clusterID: "c",
			ignoreFormatted: true, features: begin, voter: voter}
		failure := f.run()
		mem.Crash(nil)
		if failure == nil && operations < stop {
			if stop < 20 {
				t.Fatalf("only %d operations", operations)
			}
			checkFormatted(t, mem, whole, true)
			return
		}
		checkFormatted(t, mem, whole, false)
		disk.Set(nil)
		if err := f.run(); err != nil {
			t.Fatalf("after a stop at operation %d: %v", stop, err)
		}
		checkFormatted(t, mem, whole, true)
	}
}

// checkFormatted holds that files are there where the directory is formatted, or that it is formatted (must).
func checkFormatted(t *testing.T, disk vfs.FS, files []string, must bool) {
	t.Helper()
	for _, dir := range []string{"/data/a", "/data/p"} {
		_, err := logdir.ReadMeta(disk, dir)
		if errors.Is(err, logdir.ErrNotFormatted) && !must {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range append(files, "/data/p/bootstrap.checkpoint") {
			if !strings.HasPrefix(f, dir+"/") {
				continue
			}
			if info, err := disk.Stat(f); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
				t.Fatalf("%s is formatted, but %s is not there", dir, f)
			}
		}
	}
}
