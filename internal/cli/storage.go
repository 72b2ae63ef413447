package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// uncaught is an exception that ends Kafka's tool itself: the first line that Java prints of it.
type uncaught struct{ exception }

func (e *uncaught) Error() string { return `Exception in thread "main" ` + e.exception.Error() }

func illegalArgument(err error) error {
	return &uncaught{exception{"java.lang.IllegalArgumentException", err.Error()}}
}

func runtimeException(message string) error {
	return &uncaught{exception{"java.lang.RuntimeException", message}}
}

// storage is kafka-storage: it makes log directories usable, and tells what is in them. It is the one tool that works on
// the disk of a node and asks no broker. Formatting is for nodes that this release can start; directories of every
// other kind can be looked at.
func storage(_ context.Context, c *call) error {
	p, err := storageArguments().parse(c)
	if errors.Is(err, errHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	disk := vfs.OS{}
	switch p.command {
	case "info":
		return storageInfo(c, disk, p.last("--config"))
	case "format":
		return storageFormat(c, disk, p)
	case "version-mapping":
		return versionMapping(c, p.last("--release-version"), p.has("--release-version"))
	case "feature-dependencies":
		return featureDependencies(c, p.given["--feature"])
	}
	c.println(randomUUID().String())
	return nil
}

func storageArguments() *argparser {
	releases := "The least is " + metadata.MetadataVersionName(metadata.MinimumMetadataVersion) +
		"; without the option it is " + metadata.MetadataVersionName(metadata.LatestMetadataVersion)
	configFile := argument{flags: []string{"--config", "-c"}, required: true, help: "The node's server.properties."}
	dynamic := " The quorum keeps its voters itself: controller.quorum.voters must not be set, controller.quorum.bootstrap.servers names the controllers."
	return &argparser{prog: "kafka-storage", about: "Prepares the log directories of a node and looks at them.", commands: []subcommand{
		{"info", "Tell whether and for which cluster and node the log directories are formatted.", []argument{configFile}},
		{"format", "Format the log directories of a node.", []argument{
			configFile,
			{flags: []string{"--cluster-id", "-t"}, required: true, help: "The id of the cluster, the same for all its nodes; random-uuid makes one."},
			{flags: []string{"--add-scram", "-S"}, help: "Credentials of a user to begin with. Not supported yet."},
			{flags: []string{"--ignore-formatted", "-g"}, flag: true, help: "Leave directories alone that are formatted, and format the others."},
			{flags: []string{"--release-version", "-r"}, help: "The release whose features the cluster begins with. " + releases},
			{flags: []string{"--feature", "-f"}, help: "A feature's level other than that of the release, as feature=level; may be given often. For example: `group.version=0`."},
			{flags: []string{"--standalone", "-s"}, flag: true, exclusive: true, help: "Make this controller the only voter of a new quorum." + dynamic},
			{flags: []string{"--no-initial-controllers", "-N"}, flag: true, exclusive: true, help: "Name no voters." + dynamic},
			{flags: []string{"--initial-controllers", "-I"}, exclusive: true, help: "Name the voters of a new quorum, as id@host:port:directory-id. " +
				"This release runs single nodes: the list must name this node alone." + dynamic},
		}},
		{"version-mapping", "Show which level of each feature a release begins with.", []argument{
			{flags: []string{"--release-version", "-r"}, help: "The release. " + releases}}},
		{"feature-dependencies", "Show which other features a feature's level needs.", []argument{
			{flags: []string{"--feature", "-f"}, required: true, help: "The feature, as feature=level; may be given often. For example: `eligible.leader.replicas.version=1`."}}},
		{"random-uuid", "Print a random id, as for a cluster.", nil},
	}}
}

// readNode reads a server.properties. A node whose values are all good but which breaks a rule comes back with the
// error; one without log directories was not read at all.
func readNode(file string) (config.Node, error) {
	f, err := os.Open(file)
	if err != nil {
		class, message := "java.io.IOException", err.Error()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			class, message = "java.nio.file.NoSuchFileException", file
		case errors.Is(err, fs.ErrPermission):
			class, message = "java.nio.file.AccessDeniedException", file
		}
		return config.Node{}, &uncaught{exception{class, message}}
	}
	defer f.Close()
	props, err := config.ParseProperties(f)
	if err != nil {
		return config.Node{}, &uncaught{exception{"java.io.IOException", file + ": " + err.Error()}}
	}
	n, _, err := config.NewNode(props)
	if err != nil {
		return n, &uncaught{exception{"org.apache.kafka.common.config.ConfigException", strings.Join(config.Explain(err), "\n")}}
	}
	return n, nil
}

// randomUUID makes an id of Java's random kind that may stand on a command line.
func randomUUID() schema.UUID {
	for {
		var id schema.UUID
		_, _ = rand.Read(id[:]) // never fails
		id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
		if !strings.HasPrefix(id.String(), "-") {
			return id
		}
	}
}
