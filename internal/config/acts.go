package config

import "strings"

// kind of a reason why a key does nothing.
type kind int8

const (
	never  kind = iota // it has no meaning in this house
	later              // its feature is not built; a value for it does no harm
	missed             // its feature is not built, and whoever sets it counts on it: that earns a warning
)

// reason is why a set of keys does nothing.
type reason struct {
	kind kind
	why  string
	keys []string // names, or prefixes that end in *
}

func (r *reason) text() string {
	switch {
	case r == nil:
		return ""
	case r.kind != never:
		return r.why
	}
	return "has no meaning here, because " + r.why
}

type inert []reason

// of finds why a key is inert; nil when it acts. A full name goes before a prefix.
func (in inert) of(name string) *reason {
	var found *reason
	for i := range in {
		for _, k := range in[i].keys {
			if k == name {
				return &in[i]
			}
			if p, ok := strings.CutSuffix(k, "*"); ok && strings.HasPrefix(name, p) {
				found = &in[i]
			}
		}
	}
	return found
}

// inertKeys is the one place that says which keys do not act; every other key of the tables does. Take a name out of
// here in the commit that makes it act, together with the test that shows its effect.
func inertKeys(s Scope) inert {
	switch s {
	case Topic:
		return inert{
			{never, "files grow as they are written: recovery need not read the zeros behind a preallocated end", []string{"preallocate"}},
			{missed, "tiered storage is not there yet", []string{"remote.*", "local.retention.bytes", "local.retention.ms"}},
			{later, "comes with clusters: one node has no followers to throttle",
				[]string{"leader.replication.throttled.replicas", "follower.replication.throttled.replicas"}},
		}
	case Group:
		return inert{}
	}
	return inert{
		{never, "goroutines are not configured: the runtime starts what the load needs", []string{
			"num.network.threads", "num.io.threads", "background.threads",
			"group.coordinator.threads", "group.coordinator.background.threads", "share.coordinator.threads",
			"num.replica.alter.log.dirs.threads"}},
		{never, "files grow as they are written: recovery need not read the zeros behind a preallocated end", []string{"log.preallocate"}},
		{never, "there is no request queue: a connection's reader works its requests off", []string{"queued.max.requests"}},
		{never, "parked requests are removed the moment they are done", []string{
			"fetch.purgatory.purge.interval.requests", "producer.purgatory.purge.interval.requests",
			"delete.records.purgatory.purge.interval.requests", "share.fetch.purgatory.purge.interval.requests"}},
		{never, "there is no Java virtual machine to plug classes or reporters into", []string{
			"metric.reporters", "kafka.metrics.reporters", "kafka.metrics.polling.interval.secs", "metrics.recording.level",
			"metrics.num.samples", "metrics.sample.window.ms", "security.providers", "ssl.provider",
			"ssl.keymanager.algorithm", "ssl.trustmanager.algorithm", "ssl.secure.random.implementation",
			"group.share.persister.class.name"}},
		{missed, "classes cannot be plugged in", []string{
			"create.topic.policy.class.name", "alter.config.policy.class.name", "client.quota.callback.class",
			"replica.selector.class", "config.providers", "principal.builder.class", "ssl.engine.factory.class"}},
		{never, "versions still in development are not offered", []string{
			"unstable.api.versions.enable", "unstable.feature.versions.enable"}},
		{never, "an append knows its end: coordinators write as soon as a batch of commands is done", []string{
			"group.coordinator.append.linger.ms", "group.coordinator.cached.buffer.max.bytes",
			"share.coordinator.append.linger.ms", "share.coordinator.cached.buffer.max.bytes"}},
		{never, "there is no controller event queue to be sampled", []string{
			"controller.performance.*"}},
		{missed, "TLS is not there yet", []string{"ssl.*"}},
		{missed, "SASL is not there yet", []string{"sasl.*", "connections.max.reauth.ms",
			"connection.failed.authentication.delay.ms"}},
		{missed, "delegation tokens are not there yet", []string{"delegation.token.*"}},
		{missed, "authorization is not there yet: every client may do everything", []string{"authorizer.class.name"}},
		{missed, "early start of listeners comes with authorizers", []string{"early.start.listeners"}},
		{missed, "quotas are not there yet", []string{"quota.window.*", "controller.quota.window.*", "max.connection.creation.rate"}},
		{later, "client telemetry is not there yet", []string{"telemetry.max.bytes"}},
		{missed, "tiered storage is not there yet", []string{"remote.*", "log.local.retention.ms", "log.local.retention.bytes",
			"follower.fetch.last.tiered.offset.enable"}},
		{later, "transactions of an outer two-phase commit (KIP-939) come later", []string{"transaction.two.phase.commit.enable"}},
		{never, "a coordinator serves the protocols that are built in", []string{"group.coordinator.rebalance.protocols"}},
		{never, "share groups have one assignor, the simple one", []string{"group.share.assignors"}},
		{never, "the rate at which replicas move between directories is kept to at every piece, not over windows", []string{
			"alter.log.dirs.replication.quota.window.*"}},
		{later, "comes with clusters: this version runs a single node", []string{
			"replica.lag.time.max.ms", "replica.socket.timeout.ms", "replica.socket.receive.buffer.bytes", "replica.fetch.*",
			"num.replica.fetchers", "auto.leader.rebalance.enable", "leader.imbalance.check.interval.seconds",
			"unclean.leader.election.interval.ms", "controller.socket.timeout.ms", "replication.quota.window.*",
			"leader.replication.throttled.rate", "follower.replication.throttled.rate", "controller.quorum.election.backoff.max.ms",
			"controller.quorum.fetch.*", "controller.quorum.request.timeout.ms", "controller.quorum.retry.backoff.ms",
			"controller.quorum.auto.join.enable", "socket.connection.setup.timeout.ms",
			"socket.connection.setup.timeout.max.ms"}},
	}
}
