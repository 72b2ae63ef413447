package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/client"
)

// admin asks a cluster; it is what Kafka's tools have in AdminClient.
type admin struct {
	cl             *kgo.Client
	timeout        time.Duration // default.api.timeout.ms: one question with all its attempts
	requestTimeout time.Duration // request.timeout.ms: what a request that waits at the broker asks for
}

// creationError is a client that could not be made; Kafka's tools show the reason as a cause.
type creationError struct {
	what  string
	cause error
}

func (e *creationError) Error() string { return e.what + "\nCaused by: " + e.cause.Error() }
func (e *creationError) Unwrap() error { return e.cause }

// commandProperties reads --command-config and puts --bootstrap-server over it.
func commandProperties(o *options) (map[string]string, error) {
	props := map[string]string{}
	file, err := o.text("command-config")
	if err != nil {
		return nil, err
	}
	if file != "" {
		if props, err = client.ReadProperties(file); err != nil {
			return nil, err
		}
	}
	server, err := o.text("bootstrap-server")
	if err != nil {
		return nil, err
	}
	if server != "" {
		props["bootstrap.servers"] = server
	}
	return props, nil
}

// newAdmin makes the client; nothing is sent before the first question.
func newAdmin(ctx context.Context, c *call, props map[string]string) (*admin, error) {
	if props["client.id"] == "" {
		props["client.id"] = "adminclient-1"
	}
	cl, err := newClient(ctx, c, props, client.Admin, "[AdminClient clientId="+props["client.id"]+"]")
	if err != nil {
		return nil, &creationError{"Failed to create new KafkaAdminClient", err}
	}
	return &admin{
		cl:             cl,
		timeout:        millis(props["default.api.timeout.ms"], time.Minute),
		requestTimeout: millis(props["request.timeout.ms"], 30*time.Second),
	}, nil
}

// millis reads a property that newClient has checked already.
func millis(value string, fallback time.Duration) time.Duration {
	if d, err := time.ParseDuration(strings.TrimSpace(value) + "ms"); err == nil {
		return d
	}
	return fallback
}

func (a *admin) close() { a.cl.Close() }

// newClient makes a client of any kind, with the checks and complaints of Java's.
func newClient(ctx context.Context, c *call, props map[string]string, kind client.Kind, who string, more ...kgo.Opt) (*kgo.Client, error) {
	opts, warnings, err := client.Options(props, kind)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		c.log("WARN", "org.apache.kafka.clients.ClientConfig", string(w))
	}
	if err := resolvable(ctx, c, props["bootstrap.servers"]); err != nil {
		return nil, err
	}
	opts = append(opts, kgo.SoftwareNameAndVersion("klamm-tools", kafkaVersion), kgo.WithHooks(&connectionLog{c: c, who: who}))
	return kgo.NewClient(append(opts, more...)...)
}

// resolvable fails where no bootstrap host has an address: waiting would not help. A host among several that is unknown
// is only worth a warning.
func resolvable(ctx context.Context, c *call, list string) error {
	servers, err := client.Servers(list)
	if err != nil {
		return err
	}
	found := false
	for _, s := range servers {
		host, _, err := net.SplitHostPort(s)
		if err != nil {
			return fmt.Errorf("bootstrap.servers: %w", err)
		}
		if net.ParseIP(host) == nil {
			if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
				c.log("WARN", "org.apache.kafka.clients.ClientUtils", fmt.Sprintf("Couldn't resolve server %s from bootstrap.servers as DNS resolution failed for %s", s, host))
				continue
			}
		}
		found = true
	}
	if !found {
		return &client.ConfigError{Message: "No resolvable bootstrap urls given in bootstrap.servers"}
	}
	return nil
}

// connectionLog tells on standard error of brokers that do not answer: a tool that waits a minute says why.
type connectionLog struct {
	c   *call
	who string
}

// OnBrokerConnect implements kgo.HookBrokerConnect. kgo numbers seeds up from the smallest int32, Java down from -1.
func (l *connectionLog) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	node := int64(meta.NodeID)
	if node < -1 {
		node = -1 - (node - math.MinInt32)
	}
	l.c.log("WARN", "org.apache.kafka.clients.NetworkClient", fmt.Sprintf("%s Connection to node %d (%s) could not be established. Node may not be available.",
		l.who, node, net.JoinHostPort(meta.Host, fmt.Sprint(meta.Port))))
}

// ask sends one request, name being Java's name for the call, and repeats it while no broker can be reached, until
// default.api.timeout.ms.
func ask[R kmsg.Response](ctx context.Context, a *admin, name string, req interface {
	kmsg.Request
	RequestWith(context.Context, kmsg.Requestor) (R, error)
}) (R, error) {
	bounded, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	for {
		resp, err := req.RequestWith(bounded, a.cl)
		if !isDial(err) || pause(bounded, redialAfter) != nil {
			return resp, explain(ctx, name, err)
		}
	}
}

// redialAfter is the pause between two attempts to reach any broker at all.
const redialAfter = 500 * time.Millisecond

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// explain words a failed call as Java's admin client does.
func explain(ctx context.Context, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case isDial(err), errors.Is(err, context.DeadlineExceeded):
		return &client.KafkaError{Code: 7, Class: "TimeoutException", Message: "Timed out waiting for a node assignment. Call: " + name}
	case unsupported(err):
		return &client.KafkaError{Code: 35, Class: "UnsupportedVersionException", Message: "The node does not support " + strings.ToUpper(name)}
	}
	return err
}

// unsupported reports that no broker knows the request. kgo has the two errors unexported.
func unsupported(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "request key is unknown") || strings.Contains(err.Error(), "broker is too old"))
}

// askEach sends a request whose parts go to several brokers and hands every answered part to done, and every part that
// could not be sent, with the reason, to failed. It is an error only when no broker can be reached.
func askEach[Q kmsg.Request, R kmsg.Response](ctx context.Context, a *admin, name string, req Q, done func(R), failed func(Q, error)) error {
	bounded, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	for {
		shards := a.cl.RequestSharded(bounded, req)
		if len(shards) == 1 && isDial(shards[0].Err) && pause(bounded, redialAfter) == nil {
			continue
		}
		for _, s := range shards {
			if s.Err == nil {
				if r, ok := s.Resp.(R); ok {
					done(r)
				}
				continue
			}
			var code *kerr.Error
			part, ok := s.Req.(Q)
			if !ok || !errors.As(s.Err, &code) {
				return explain(ctx, name, s.Err)
			}
			failed(part, client.Error(code.Code, nil))
		}
		return nil
	}
}

// listedTopic is a topic in the cluster's listing.
type listedTopic struct {
	id         [16]byte
	internal   bool
	partitions []int32
}

// listTopics returns all topics by name. One with an error in the listing is left out, as by Java's client.
func listTopics(ctx context.Context, a *admin) (map[string]listedTopic, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = nil
	resp, err := ask(ctx, a, "listTopics", req)
	if err != nil {
		return nil, err
	}
	all := map[string]listedTopic{}
	for _, topic := range resp.Topics {
		if topic.Topic == nil || topic.ErrorCode != 0 {
			continue
		}
		l := listedTopic{id: topic.TopicID, internal: topic.IsInternal}
		for _, p := range topic.Partitions {
			l.partitions = append(l.partitions, p.Partition)
		}
		all[*topic.Topic] = l
	}
	return all, nil
}
