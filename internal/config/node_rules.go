package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// brokerRules are the rules across keys that hold for the file and for every live change.
func brokerRules(v Values) []error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, &RuleError{fmt.Sprintf(format, args...), true})
		}
	}
	t := v.TopicDefaults()
	require(t.Int64("segment.ms") >= 1, "log.roll.ms must be greater than or equal to 1")
	require(t.Int64("segment.jitter.ms") >= 0, "log.roll.jitter.ms must be greater than or equal to 0")
	require(t.Int64("retention.ms") != 0, "log.retention.ms must be unlimited (-1) or, greater than or equal to 1")
	threads := v.Int64("log.cleaner.threads")
	require(threads > 0 && v.Int64("log.cleaner.dedupe.buffer.size")/max(threads, 1) > 1<<20,
		"log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.")
	wait := v.Int64("replica.fetch.wait.max.ms")
	require(wait <= v.Int64("replica.socket.timeout.ms"),
		"replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary socket timeouts")
	require(wait <= v.Int64("replica.lag.time.max.ms"),
		"replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent changes in ISR")
	if err := compactionLags(v, "log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"); err != nil {
		errs = append(errs, err)
	}
	if v.Bool("remote.log.storage.system.enable") {
		errs = appendErr(errs, localBroker(v))
	}
	require(v.Int64("queued.max.request.bytes") <= 0 || v.Int64("queued.max.request.bytes") >= v.Int64("socket.request.max.bytes"),
		"queued.max.request.bytes must be larger or equal to socket.request.max.bytes")
	errs = append(errs, perIP(v)...)
	delay, idle := v.Int64("connection.failed.authentication.delay.ms"), v.Int64("connections.max.idle.ms")
	require(idle < 0 || delay < idle, "connection.failed.authentication.delay.ms=%d should always be less than"+
		" connections.max.idle.ms=%d to prevent failed authentication responses from timing out", delay, idle)
	errs = append(errs, codecs(v)...)
	errs = append(errs, cordoned(v)...)
	return append(errs, groupRules(v)...)
}

// PerIPOverrides reads max.connections.per.ip.overrides: limits by address or host name.
func (v Values) PerIPOverrides() (map[string]int, error) {
	const key = "max.connections.per.ip.overrides"
	pairs, err := csvMap(key, v.String(key))
	if err != nil {
		return nil, err
	}
	m := map[string]int{}
	var invalid []string
	for _, p := range pairs {
		n, err := strconv.ParseInt(p[1], 10, 32)
		if err != nil {
			return nil, broken("Error parsing configuration property '%s': '%s' is not a number", key, p[1])
		}
		if strings.Trim(p[0], "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-%._:") != "" {
			invalid = append(invalid, p[0])
		}
		m[p[0]] = int(n)
	}
	if invalid != nil {
		return nil, broken("%s contains invalid addresses : %s", key, strings.Join(invalid, ","))
	}
	return m, nil
}

func perIP(v Values) []error {
	m, err := v.PerIPOverrides()
	if err != nil {
		return []error{err}
	}
	if v.Int("max.connections.per.ip") == 0 && len(m) == 0 {
		return []error{&RuleError{required: true, Text: "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set."}}
	}
	return nil
}

// codecs: internal topics name their codec by number.
func codecs(v Values) []error {
	var errs []error
	for _, name := range []string{"offsets.topic.compression.codec", "share.coordinator.state.topic.compression.codec"} {
		if n := v.Int(name); n < 0 || n > 4 {
			errs = append(errs, broken("Unknown compression type id: %d", n))
		}
	}
	return errs
}

func cordoned(v Values) []error {
	list, dirs := v.List("cordoned.log.dirs"), logDirs(v)
	if slices.Contains(list, "*") {
		if len(list) > 1 {
			return []error{&RuleError{required: true, Text: "When cordoned.log.dirs is set to *, it must not contain other values"}}
		}
		return nil
	}
	missing := slices.DeleteFunc(slices.Clone(list), func(d string) bool { return slices.Contains(dirs, d) })
	if len(missing) > 0 {
		return []error{&RuleError{required: true, Text: "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : " +
			strings.Join(missing, ", ")}}
	}
	return nil
}

// groupRules: what a group may be given lies between its bounds, heartbeats come more often than sessions end.
func groupRules(v Values) []error {
	var errs []error
	atLeastKey := func(a, b string) {
		if v.Int64(a) < v.Int64(b) {
			errs = append(errs, broken("%s must be greater than or equal to %s", a, b))
		}
	}
	atMostKey := func(a, b string) {
		if v.Int64(a) > v.Int64(b) {
			errs = append(errs, broken("%s must be less than or equal to %s", a, b))
		}
	}
	for _, g := range []string{"group.consumer.", "group.share.", "group.streams."} {
		for _, what := range []string{"heartbeat.interval.ms", "session.timeout.ms", "assignment.interval.ms"} {
			atLeastKey(g+"max."+what, g+"min."+what)
			atLeastKey(g+what, g+"min."+what)
			atMostKey(g+what, g+"max."+what)
		}
		if v.Int64(g+"heartbeat.interval.ms") >= v.Int64(g+"session.timeout.ms") {
			errs = append(errs, broken("%sheartbeat.interval.ms must be less than %ssession.timeout.ms", g, g))
		}
	}
	if n := len(v.List("group.share.assignors")); n != 1 {
		errs = append(errs, broken("group.share.assignors must contain exactly one assignor, but found %d", n))
	}
	atMostKey("group.streams.num.standby.replicas", "group.streams.max.standby.replicas")
	for _, what := range []string{"delivery.count.limit", "partition.max.record.locks", "record.lock.duration.ms"} {
		atLeastKey("group.share.max."+what, "group.share."+what)
		atLeastKey("group.share."+what, "group.share.min."+what)
	}
	atLeastKey("group.share.max.share.sessions", "group.share.max.size")
	if !slices.ContainsFunc(v.List("group.coordinator.rebalance.protocols"), func(p string) bool { return strings.EqualFold(p, "classic") }) {
		errs = append(errs, broken("Disabling the 'classic' protocol is not supported."))
	}
	return errs
}

// quorumRules are those of process.roles, listeners and the quorum; n's endpoints are worked out.
func (n *Node) quorumRules() []error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, broken(format, args...))
		}
	}
	require(n.Int("broker.id") == n.Int("node.id"), "You must set `node.id` to the same value as `broker.id`.")
	if !n.SelfFormat {
		require(len(n.Voters) > 0 || len(n.BootstrapServers) > 0, "If using process.roles, either controller.quorum.bootstrap.servers must "+
			"contain the set of bootstrap controllers or controller.quorum.voters must contain a parseable set of controllers.")
	}
	switch {
	case n.Roles.Broker && !n.Roles.Controller:
		n.brokerOnly(require)
	case !n.Roles.Broker && n.Roles.Controller:
		require(len(n.AdvertisedControllers) == len(n.Listeners)+len(n.ControllerEndpoints), "The listeners config must only contain KRaft controller "+
			"listeners from controller.listener.names when process.roles=controller")
		if !n.Null("inter.broker.listener.name") {
			require(!slices.Contains(n.ControllerListeners, n.InterBroker), "controller.listener.names must not contain an explicitly set "+
				"inter.broker.listener.name configuration value when process.roles=controller'")
		}
		n.controllerRules(require)
	default:
		n.controllerRules(require)
	}
	if n.Roles.Broker {
		n.brokerListeners(require)
	}
	for _, e := range slices.Concat(n.Advertised, n.AdvertisedControllers) {
		require(e.Host != "0.0.0.0", "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.")
	}
	return errs
}

func (n *Node) brokerOnly(require func(bool, string, ...any)) {
	require(!n.isVoter(), "If process.roles contains just the 'broker' role, the node id %d must not be included in the set of voters "+
		"controller.quorum.voters=%s", n.NodeID, n.voterIDs())
	require(len(n.ControllerEndpoints) == 0, "controller.listener.names must not contain a value appearing in the 'listeners' configuration "+
		"when running KRaft with just the broker role")
	protocol, _ := protocolMap(n.Values)
	for _, name := range n.ControllerListeners {
		_, ok := protocol[strings.ToUpper(name)]
		require(ok, "Controller listener with name %s defined in controller.listener.names not found in listener.security.protocol.map  "+
			"(an explicit security mapping for each controller listener is required if listener.security.protocol.map is non-empty, "+
			"or if there are security protocols other than PLAINTEXT in use)", strings.ToUpper(name))
	}
	require(!n.Bool("controller.quorum.auto.join.enable"),
		"controller.quorum.auto.join.enable is only supported when process.roles contains the 'controller' role.")
}

func (n *Node) controllerRules(require func(bool, string, ...any)) {
	require(len(n.Voters) == 0 || n.isVoter(), "If process.roles contains the 'controller' role, the node id %d must be included in the set of voters "+
		"controller.quorum.voters=%s", n.NodeID, n.voterIDs())
	if n.SelfFormat {
		return // a quorum of itself that nobody else talks to needs no controller listener
	}
	require(len(n.AdvertisedControllers) > 0, "controller.listener.names must contain at least one value appearing in the 'listeners' configuration "+
		"when running the KRaft controller role")
	bound := listenerNames(n.ControllerEndpoints)
	for _, name := range n.ControllerListeners {
		if !slices.Contains(bound, name) {
			require(false, "controller.listener.names must only contain values appearing in the 'listeners' configuration when running the KRaft controller role")
			break
		}
	}
}

func (n *Node) brokerListeners(require func(bool, string, ...any)) {
	told, bound := listenerNames(n.Advertised), listenerNames(slices.Concat(n.Listeners, n.ControllerEndpoints))
	require(len(told) > 0, "There must be at least one broker advertised listener. Perhaps all listeners appear in controller.listener.names?")
	if len(told) == 0 {
		return
	}
	require(slices.Contains(told, n.InterBroker), "inter.broker.listener.name must be a listener name defined in advertised.listeners. "+
		"The valid options based on currently configured listeners are %s", strings.Join(told, ","))
	for _, name := range told {
		if !slices.Contains(bound, name) {
			require(false, "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. "+
				"Found %s. The valid options based on the current configuration are %s", strings.Join(told, ","), strings.Join(bound, ","))
			break
		}
	}
}

func (n *Node) isVoter() bool {
	return slices.ContainsFunc(n.Voters, func(v Voter) bool { return v.ID == n.NodeID })
}

// voterIDs prints as Scala prints a set.
func (n *Node) voterIDs() string {
	var ids []string
	for _, v := range n.Voters {
		ids = append(ids, strconv.Itoa(int(v.ID)))
	}
	return fmt.Sprintf("Set(%s)", strings.Join(ids, ", "))
}
