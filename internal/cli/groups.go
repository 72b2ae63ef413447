package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/client"
)

func groupsOptions() *options {
	return newOptions(
		option{name: "bootstrap-server", arity: required, value: "server to connect to", help: "REQUIRED: Brokers to start from, host:port separated by commas."},
		option{name: "command-config", arity: required, value: "command config property file", help: "File of properties for the admin client."},
		option{name: "list", help: "Print the groups."},
		option{name: "group-type", arity: required, value: "type", help: "Only groups of this type: classic, consumer, share or streams."},
		option{name: "protocol", arity: required, value: "protocol", help: "Only groups with this protocol type."},
		option{name: "consumer", help: "Only consumer groups: those of type consumer, and classic groups whose protocol type is consumer or none."},
		option{name: "share", help: "Only share groups."},
		option{name: "streams", help: "Only streams groups."},
	)
}

// groupTypes are the types in the wire's spelling and in that of Java's toString.
var groupTypes = map[string]string{"classic": "Classic", "consumer": "Consumer", "share": "Share", "streams": "Streams"}

// groups is kafka-groups.
func groups(ctx context.Context, c *call) error {
	o := groupsOptions()
	if err := o.parse(c.args); err != nil {
		return o.wrong("%s", err)
	}
	if !o.has("bootstrap-server") && !o.has("help") && !o.has("version") {
		return o.wrong("Missing required option(s) [bootstrap-server]")
	}
	if err := o.start(c, "Print the groups of all types."); err != nil {
		return err
	}
	if !o.has("list") {
		return o.wrong("Command must include exactly one action: --list.")
	}
	wanted, err := o.text("group-type")
	if err != nil {
		return err
	}
	wanted = groupTypes[strings.ToLower(wanted)]
	if o.has("group-type") && wanted == "" {
		return errors.New("--group-type must be a valid group type.")
	}
	if err := firstError(
		o.refuse("consumer", "group-type", "protocol", "share", "streams"),
		o.refuse("share", "consumer", "group-type", "protocol", "streams"),
		o.refuse("streams", "consumer", "group-type", "protocol", "share")); err != nil {
		return err
	}
	if err := printGroups(ctx, c, o, wanted); err != nil {
		c.println("Error while executing groups command : " + err.Error())
		c.log("ERROR", "org.apache.kafka.tools.GroupsCommand", executionText(err)+"\n")
		return exit(1)
	}
	return nil
}

type listedGroup struct{ id, kind, protocol string }

func printGroups(ctx context.Context, c *call, o *options, wanted string) error {
	props, err := commandProperties(o)
	if err != nil {
		return err
	}
	a, err := newAdmin(ctx, c, props)
	if err != nil {
		return err
	}
	defer a.close()
	a.timeout = min(a.timeout, 30*time.Second)
	listed, err := listGroups(ctx, a)
	if err != nil {
		return err
	}
	protocol, err := o.text("protocol")
	if err != nil {
		return err
	}
	width := 20
	var rows []listedGroup
	for _, g := range listed {
		pass := true
		switch {
		case wanted != "":
			pass = g.kind == wanted && (!o.has("protocol") || g.protocol == protocol)
		case o.has("protocol"):
			pass = g.protocol == protocol
		case o.has("consumer"):
			pass = g.protocol == "consumer" || g.protocol == "" || g.kind == "Consumer"
		case o.has("share"):
			pass = g.kind == "Share"
		case o.has("streams"):
			pass = g.kind == "Streams"
		}
		if pass {
			rows = append(rows, g)
			width = max(width, len(g.id), len(g.protocol))
		}
	}
	c.printf("%-*s %-*s %-*s\n", width, "GROUP", width, "TYPE", width, "PROTOCOL")
	for _, g := range rows {
		c.printf("%-*s %-*s %-*s \n", width, g.id, width, g.kind, width, g.protocol)
	}
	return nil
}

// listGroups asks every broker for the groups that it coordinates.
func listGroups(ctx context.Context, a *admin) ([]listedGroup, error) {
	resp, err := ask(ctx, a, "listGroups", kmsg.NewPtrListGroupsRequest())
	if err != nil {
		return nil, err
	}
	if err := client.Error(resp.ErrorCode, nil); err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	var listed []listedGroup
	seen := map[string]bool{}
	for _, g := range resp.Groups {
		if !seen[g.Group] {
			seen[g.Group] = true
			listed = append(listed, listedGroup{g.Group, groupTypes[strings.ToLower(g.GroupType)], g.ProtocolType})
		}
	}
	return hashMapOrder(listed, 0, func(g listedGroup) int32 { return javaHash(g.id) }), nil
}
