package cli

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/logdir"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/quorum"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// diskFormat makes log directories usable. In each it writes bootstrap.checkpoint first, in the metadata directory the
// voters behind it, and meta.properties last: a directory counts as formatted by that file alone, so one that a crash
// left half done is formatted again from the beginning.
type diskFormat struct {
	c               *call
	disk            vfs.FS
	node            config.Node
	clusterID       string
	ignoreFormatted bool
	features        features
	voter           *initialVoter // this node, where the quorum keeps its voters itself
}

func storageFormat(c *call, disk vfs.FS, p *parsed) error {
	n, err := readNode(p.last("--config"))
	if err != nil {
		return err
	}
	f := diskFormat{c: c, disk: disk, node: n, clusterID: p.last("--cluster-id"), ignoreFormatted: p.has("--ignore-formatted")}
	var release int16
	if p.has("--release-version") {
		if release, err = metadata.ParseMetadataVersion(p.last("--release-version")); err != nil {
			return err
		}
	}
	asked, err := askedFeatures(p.given["--feature"])
	if err != nil {
		return err
	}
	if err := f.chooseVoters(p); err != nil {
		return err
	}
	if p.has("--add-scram") {
		return errors.New("--add-scram is not supported: this release has no SASL yet.")
	}
	if f.clusterID == "" {
		return errors.New("You must specify the cluster id.")
	}
	// A node that takes care of itself (SelfFormat) has a quorum of its own without any flag, as `klamm start` makes it.
	dynamic := len(n.Voters) == 0 && (f.voter != nil || !n.SelfFormat)
	if f.features, err = newFeatures(release, asked, dynamic); err != nil {
		return err
	}
	return f.run()
}

// chooseVoters reads the flags that say who the quorum's voters are.
func (f *diskFormat) chooseVoters(p *parsed) error {
	list, named := p.last("--initial-controllers"), p.has("--initial-controllers")
	standalone := p.has("--standalone")
	switch {
	case len(f.node.Voters) > 0 && (named || standalone):
		return errors.New("You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone. " +
			"If you want to use dynamic quorum, please remove controller.quorum.voters and specify controller.quorum.bootstrap.servers instead.")
	case named:
		voters, err := parseVoters(list)
		if err != nil {
			return illegalArgument(err)
		}
		if len(voters) > 1 || voters[0].id != f.node.NodeID {
			return fmt.Errorf("--initial-controllers %s: this version runs a single node; clusters come later. Name this node (%d) alone, or use --standalone.", list, f.node.NodeID)
		}
		if d := voters[0].directory; reservedDirectory(d) || d.String()[0] == '-' {
			return fmt.Errorf("--initial-controllers: the directory id %s cannot be used; `random-uuid` makes one that can.", d)
		}
		f.voter = &voters[0]
	case standalone:
		if len(f.node.AdvertisedControllers) == 0 {
			return runtimeException("No controller listeners found.")
		}
		e := f.node.AdvertisedControllers[0]
		if e.Host == "" {
			e.Host = "localhost"
		}
		f.voter = &initialVoter{id: f.node.NodeID, host: e.Host, port: uint16(e.Port), directory: randomUUID()}
	case len(f.node.Voters) == 0 && !f.node.SelfFormat && !p.has("--no-initial-controllers"):
		return errors.New("Because controller.quorum.voters is not set on this controller, you must specify one of the following: " +
			"--standalone, --initial-controllers, or --no-initial-controllers.")
	}
	return nil
}

// reservedDirectory says whether an id is one of the hundred that mean no directory.
func reservedDirectory(id schema.UUID) bool {
	last := id[15]
	id[15] = 0
	return id == schema.UUID{} && last < 100
}

// run formats what is not formatted.
func (f *diskFormat) run() error {
	var empty, formatted, unreadable []string
	metas := map[string]logdir.Meta{}
	for _, dir := range storageDirectories(f.node) {
		m, err := logdir.ReadMeta(f.disk, dir)
		switch {
		case errors.Is(err, logdir.ErrNotFormatted):
			empty = append(empty, dir)
		case err != nil:
			f.c.log("ERROR", "org.apache.kafka.metadata.properties.MetaPropertiesEnsemble",
				fmt.Sprintf("Error while reading meta.properties file %s: %s", filepath.Join(dir, metaFile), metaReason(err, dir)))
			unreadable = append(unreadable, dir)
		default:
			formatted = append(formatted, dir)
			metas[dir] = m
		}
	}
	if err := f.verify(formatted, metas); err != nil {
		return err
	}
	if len(formatted) > 0 && !f.ignoreFormatted {
		first := hashMapOrder(formatted, int(math.Ceil(float64(len(formatted))/0.75)), javaHash)[0]
		return fmt.Errorf("Log directory %s is already formatted. Use --ignore-formatted to ignore this directory and format the others.", first)
	}
	for _, dir := range hashMapOrder(unreadable, 0, javaHash) {
		f.c.println("I/O error trying to read log directory " + dir + ". Ignoring...")
	}
	if len(unreadable) > 0 && len(empty) == 0 && len(formatted) == 0 {
		return errors.New("No available log directories to format.")
	}
	if len(empty) == 0 {
		f.c.println("All of the log directories are already formatted.")
		return nil
	}
	f.c.println("Bootstrap metadata: " + f.features.String())
	for _, dir := range hashMapOrder(empty, 0, javaHash) {
		if err := f.format(dir); err != nil {
			return err
		}
	}
	return nil
}

// verify holds what is formatted against what is to be.
func (f *diskFormat) verify(formatted []string, metas map[string]logdir.Meta) error {
	ids := map[schema.UUID]string{}
	for _, dir := range formatted {
		m, path := metas[dir], filepath.Join(dir, metaFile)
		if m.ClusterID != "" && m.ClusterID != f.clusterID {
			return runtimeException(fmt.Sprintf("Invalid cluster.id in: %s. Expected %s, but read %s", path, f.clusterID, m.ClusterID))
		}
		if m.NodeID >= 0 && m.NodeID != f.node.NodeID {
			return runtimeException(fmt.Sprintf("Stored node id %d doesn't match previous node id %d in %s. If you moved your data, make sure "+
				"your configured node id matches. If you intend to create a new node, you should remove all data in your data directories.",
				m.NodeID, f.node.NodeID, path))
		}
		if m.DirectoryID == schema.ZeroUUID {
			continue
		}
		if other, twice := ids[m.DirectoryID]; twice {
			return runtimeException(fmt.Sprintf("Duplicate directory ID Optional[%s] found. It was the ID of %s, but also of %s", m.DirectoryID, other, dir))
		}
		ids[m.DirectoryID] = dir
	}
	if f.voter != nil && !slices.Contains(formatted, f.node.MetadataLogDir) {
		if other, twice := ids[f.voter.directory]; twice {
			return fmt.Errorf("--initial-controllers: the directory id %s is that of %s.", f.voter.directory, other)
		}
	}
	return nil
}

// format writes one directory's files.
func (f *diskFormat) format(dir string) error {
	isMetadata := dir == f.node.MetadataLogDir
	kind := "data directory"
	switch {
	case isMetadata && f.voter != nil:
		kind = "dynamic metadata voter directory"
	case isMetadata:
		kind = "metadata directory"
	}
	f.c.printf("Formatting %s %s with %s %s.\n", kind, dir, metadata.MetadataVersionFeature, metadata.MetadataVersionName(f.features.version))
	now, codecs := f.c.now(), record.NewCodecs()
	fail := func(err error) error {
		return fmt.Errorf("Error while writing meta.properties file %s: %w", dir, err)
	}
	if err := f.disk.MkdirAll(dir, 0o755); err != nil {
		return fail(err)
	}
	if err := quorum.WriteBootstrap(f.disk, dir, codecs, f.features.records(), now.UnixMilli()); err != nil {
		return fail(err)
	}
	newID := randomUUID
	if isMetadata && f.voter != nil {
		newID = func() schema.UUID { return f.voter.directory }
		voters := []schema.Voter{f.voter.record(f.node.ControllerListeners[0])}
		if err := quorum.WriteVoters(f.disk, dir, codecs, voters, now.UnixMilli()); err != nil {
			return fail(err)
		}
	}
	_, err := logdir.Format(f.disk, []string{dir}, logdir.Meta{ClusterID: f.clusterID, NodeID: f.node.NodeID}, newID, now)
	if err != nil {
		return fail(err)
	}
	return nil
}
