package config

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// The functions here answer CreateTopics, AlterConfigs and IncrementalAlterConfigs: one error, the first, in Kafka's
// words. For topics and groups its code is INVALID_CONFIG, for brokers INVALID_REQUEST.

// ValidateTopic checks a topic's overrides against the defaults alone.
func ValidateTopic(overrides map[string]string) error { return Layers{}.ValidateTopic(nil, overrides) }

// ValidateGroup checks a group's overrides against the defaults alone.
func ValidateGroup(overrides map[string]string) error { return Layers{}.ValidateGroup(overrides) }

// ValidateBroker checks the dynamic values of one broker, or of the cluster's default, against the defaults alone.
func ValidateBroker(props map[string]string, perBroker bool) error {
	return Layers{}.ValidateBroker(props, perBroker)
}

func first(err error) error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return first(joined.Unwrap()[0])
	}
	return err
}

// ValidateTopic checks all overrides a topic is to have; existing are those it has now.
func (l Layers) ValidateTopic(existing, overrides map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		if !tables[Topic].known(name) {
			return broken("Unknown topic config name: %s", name)
		}
	}
	b, _ := l.Broker()
	v, err := b.TopicDefaults().With(overrides)
	if err != nil {
		return first(err)
	}
	if err := compactionLags(v, "min.compaction.lag.ms", "max.compaction.lag.ms"); err != nil {
		return err
	}
	if !v.Bool("remote.storage.enable") {
		if strings.EqualFold(existing["remote.storage.enable"], "true") && !v.Bool("remote.log.delete.on.disable") {
			return broken("It is invalid to disable remote storage without deleting remote data. " +
				"If you want to keep the remote data and turn to read only, please set `remote.storage.enable=true,remote.log.copy.disable=true`. " +
				"If you want to disable remote storage and delete all remote data, please set `remote.storage.enable=false,remote.log.delete.on.disable=true`.")
		}
		return nil
	}
	return tiered(v, b)
}

func compactionLags(v Values, least, most string) error {
	if a, b := v.Int64(least), v.Int64(most); a > b {
		return broken("conflict topic config setting min.compaction.lag.ms (%d) > max.compaction.lag.ms (%d)", a, b)
	}
	return nil
}

// tiered holds the rules of a topic with remote storage.
func tiered(v, broker Values) error {
	if !broker.Bool("remote.log.storage.system.enable") {
		return broken("Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.")
	}
	if p := v.List("cleanup.policy"); len(p) > 0 && !slices.Equal(p, []string{"delete"}) {
		return broken("Remote log storage only supports topics with cleanup.policy=delete or cleanup.policy being an empty list.")
	}
	for _, unit := range []string{"bytes", "ms"} {
		if err := localWithin(v, "local.retention."+unit, "retention."+unit); err != nil {
			return err
		}
	}
	if v.Bool("remote.log.copy.disable") {
		for _, unit := range []string{"bytes", "ms"} {
			local, all := v.Int64("local.retention."+unit), v.Int64("retention."+unit)
			if local != -2 && local != all {
				return broken("When `remote.log.copy.disable` is set to true, the `local.retention.%s` "+
					"and `retention.%s` must be set to the identical value because there will be no more logs copied to the remote storage.", unit, unit)
			}
		}
	}
	return nil
}

// localWithin: what stays local is part of what stays at all.
func localWithin(v Values, localKey, allKey string) error {
	local, all := v.Int64(localKey), v.Int64(allKey)
	if all < 0 || local == -2 {
		return nil
	}
	k, _ := Lookup(v.t.scope, localKey)
	text, _ := v.Text(localKey)
	limit, _ := v.Text(allKey)
	if local == -1 {
		return k.invalid(text, text, "Value must not be -1 as "+allKey+" value is set as "+limit+".")
	}
	if local > all {
		return k.invalid(text, text, "Value must not be more than "+allKey+" property value: "+limit)
	}
	return nil
}

// ValidateGroup checks all overrides a group is to have.
func (l Layers) ValidateGroup(overrides map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		if !tables[Group].known(name) {
			return broken("Unknown group config name: %s", name)
		}
	}
	b, _ := l.Broker()
	v, err := b.GroupDefaults().With(overrides)
	if err != nil {
		return first(err)
	}
	for _, name := range []string{"consumer.heartbeat.interval.ms", "consumer.session.timeout.ms", "consumer.assignment.interval.ms",
		"share.heartbeat.interval.ms", "share.session.timeout.ms", "share.record.lock.duration.ms", "share.delivery.count.limit",
		"share.partition.max.record.locks", "share.assignment.interval.ms", "streams.heartbeat.interval.ms",
		"streams.session.timeout.ms", "streams.assignment.interval.ms"} {
		kind, rest, _ := strings.Cut(name, ".")
		least, most := "group."+kind+".min."+rest, "group."+kind+".max."+rest
		if v.Int64(name) < b.Int64(least) {
			return broken("%s must be greater than or equal to %s", name, least)
		}
		if v.Int64(name) > b.Int64(most) {
			return broken("%s must be less than or equal to %s", name, most)
		}
	}
	if v.Int("streams.num.standby.replicas") > b.Int("group.streams.max.standby.replicas") {
		return broken("streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas")
	}
	for _, kind := range []string{"consumer", "share", "streams"} {
		session, beat := kind+".session.timeout.ms", kind+".heartbeat.interval.ms"
		if v.Int64(session) <= v.Int64(beat) {
			return broken("%s must be greater than %s", session, beat)
		}
	}
	return nil
}

// keystoreKeys can change only for one listener: listener.name.<name>.ssl.keystore.location and so on.
var keystoreKeys = []string{"ssl.key.password", "ssl.keystore.certificate.chain", "ssl.keystore.key", "ssl.keystore.location",
	"ssl.keystore.password", "ssl.keystore.type", "ssl.truststore.certificates", "ssl.truststore.location",
	"ssl.truststore.password", "ssl.truststore.type"}

// checkDynamic says whether these may be dynamic values at their level.
func checkDynamic(props map[string]string, perBroker bool) error {
	var fixed, keystore, single []string
	for _, name := range slices.Sorted(maps.Keys(props)) {
		k, known := Lookup(Broker, name)
		if known && k.Dynamic == ReadOnly {
			fixed = append(fixed, name)
		}
		if slices.Contains(keystoreKeys, name) {
			keystore = append(keystore, name)
		}
		base, ofListener := listenerBase(name)
		if known && k.Dynamic == PerBroker || ofListener && base != "max.connections" &&
			base != "max.connection.creation.rate" && base != "num.network.threads" {
			single = append(single, name)
		}
	}
	switch {
	case len(fixed) > 0:
		return broken("Cannot update these configs dynamically: %s", javaList(fixed))
	case len(keystore) > 0:
		return broken("These security configs can be dynamically updated only per-listener using the listener prefix: %s", javaList(keystore))
	}
	if _, _, err := Parse(Broker, props); err != nil {
		return first(err)
	}
	if !perBroker && len(single) > 0 {
		return broken("Cannot update these configs at default cluster level, broker id must be specified: %s", javaList(single))
	}
	return nil
}

// ValidateBroker checks all dynamic values that one broker (perBroker), or the cluster's default, is to have.
// An unknown name is allowed, as Kafka allows it for plug-ins.
func (l Layers) ValidateBroker(props map[string]string, perBroker bool) error {
	if err := checkDynamic(props, perBroker); err != nil {
		return err
	}
	now, _ := l.Broker()
	if perBroker {
		l.ThisBroker = props
	} else {
		l.DefaultBroker = props
	}
	m, _ := l.merged() // what was stored before and is left out now is not this request's fault
	v, _, _ := Parse(Broker, m)
	if errs := brokerRules(v); len(errs) > 0 {
		var r *RuleError
		if errors.As(errs[0], &r) && r.required {
			return broken("requirement failed: %s", r.Text)
		}
		return errs[0]
	}
	if err := reconfigurable(now, v); err != nil {
		return broken("Invalid dynamic configuration: %s", err)
	}
	return nil
}

// reconfigurable holds the rules about steps from one value to another, and those that Kafka checks only then.
func reconfigurable(now, next Values) error {
	for _, name := range []string{"num.io.threads", "num.replica.fetchers", "num.recovery.threads.per.data.dir", "background.threads"} {
		a, b := now.Int(name), next.Int(name)
		switch {
		case a != b && b < a/2:
			return broken("Dynamic thread count update validation failed for %s=%d, value should be at least half the current value %d", name, b, a)
		case b > a*2:
			return broken("Dynamic thread count update validation failed for %s=%d, value should not be greater than double the current value %d", name, b, a)
		}
	}
	a, b := now.Int("log.cleaner.threads"), next.Int("log.cleaner.threads")
	switch {
	case b == a:
	case b < 1:
		return broken("Log cleaner threads should be at least 1")
	case b < a/2:
		return broken("Log cleaner threads cannot be reduced to less than half the current value %d", a)
	case b > a*2:
		return broken("Log cleaner threads cannot be increased to more than double the current value %d", a)
	}
	if err := localBroker(next); err != nil {
		return err
	}
	dirs := logDirs(next)
	for _, d := range next.List("cordoned.log.dirs") {
		if d != "*" && !slices.Contains(dirs, d) {
			return broken("Invalid entry in cordoned.log.dirs: %s. All cordoned log dirs must be entries of log.dirs or log.dir.", d)
		}
	}
	return nil
}

// localBroker is localWithin for the broker's keys, whose retention has three units.
func localBroker(v Values) error {
	t := v.TopicDefaults()
	for _, unit := range []string{"ms", "bytes"} {
		if err := localWithin(t, "local.retention."+unit, "retention."+unit); err != nil {
			return broken("%s", strings.NewReplacer("local.retention", "log.local.retention", " retention", " log.retention").Replace(err.Error()))
		}
	}
	return nil
}
