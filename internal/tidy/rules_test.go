package tidy

// imports says which packages may know which. "a, b < c" lets c import a and b, and whatever they may import.
// Packages are named below internal/; public packages and commands by their path from the module's root.
// "logdir, quorum < cli" is for kafka-storage's format alone, which writes what those packages read.
const imports = `
NONE < config, vfs, schema, record, connect;
vfs < wire;
record, vfs, schema < storage;
schema < metadata < quota, auth;
metadata < machine < controller, coordinator/group, coordinator/txn, coordinator/share;
metadata < isr;
schema, record < raft;
storage < logdir;
wire, auth < server;
wire, metadata < peer, fetch;
raft, controller, logdir, peer, config < quorum;
NONE < background;
background, isr, logdir, fetch, peer, config < replica;
NONE < share/delivery;
background, replica, share/delivery < share;
machine, record, metadata < coordinator;
peer, metadata < lifecycle;
NONE < metrics;
replica, share, share/delivery, coordinator, coordinator/group, coordinator/txn, coordinator/share, auth, quota, fetch, server, config < api;
api, server, quorum, replica, lifecycle, coordinator, metrics < node < klammtest;
config < client < cli, registry, connectd, console, streams;
schema, record, storage, metadata < cli;
logdir, quorum < cli;
connect < connector, connectd;
node, cli, registry, connectd, console < cmd/klamm;
NONE < tidy;
`

// never lists imports that the closure above would allow but the house does not. A left side imports none of the right.
var never = map[string][]string{
	"storage": {"metadata"},
	"replica": {"coordinator"},
	"api":     {"storage", "quorum", "logdir", "net", "os"},
	"server":  {"api"},
	// The tools speak the wire, or read and write a node's directories with the packages that know their formats. They
	// decide nothing of what a node decides. (quorum, for kafka-storage, knows controller and raft itself.)
	"cli": {"controller", "raft", "machine", "isr", "peer", "coordinator", "replica", "server", "api", "node"},
}

// Classes of packages. Pure packages decide and do nothing else; synchronous ones do I/O through vfs only.
var (
	pure        = []string{"wire", "record", "schema", "metadata", "machine", "raft", "controller", "isr", "config", "coordinator/group", "coordinator/txn", "coordinator/share", "share/delivery", "quota"}
	synchronous = []string{"vfs", "storage", "fetch"}
	runtime     = []string{"background", "logdir", "quorum", "coordinator", "replica", "share", "peer", "lifecycle", "server", "api", "node", "client", "cli", "metrics", "auth"}
)

// refused imports of pure packages.
var refusedPure = []string{"context", "net", "net/http", "os", "os/signal", "sync", "sync/atomic", "log", "log/slog", "math/rand"}

// refusedSync imports of synchronous packages. (vfs itself is the way to the operating system.)
var refusedSync = []string{"context", "net", "net/http", "os/signal", "log", "log/slog", "math/rand"}

// refusedTime functions of package time in pure and synchronous packages.
var refusedTime = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// exempt files may use what their class refuses; each with the reason.
var exempt = map[string]string{
	"record/codecs.go": "holds the pools of compressors and buffers (sync.Pool), passed in by the caller",
	"vfs/os.go":        "is the operating system's file system",
}
