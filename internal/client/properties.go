package client

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// property says who takes a name and what it does. A nil set accepts the value and drops it: Kafka knows the name, and
// it has no meaning outside the JVM client.
type property struct {
	kinds Kind
	set   func(s *settings, name, value string) error
}

var properties = map[string]property{
	"bootstrap.servers":                  {every, setServers},
	"bootstrap.controllers":              {Admin, setServers},
	"client.id":                          {every, text(func(s *settings) *string { return &s.clientID })},
	"client.rack":                        {Producer | Consumer, text(func(s *settings) *string { return &s.rack })},
	"security.protocol":                  {every, setSecurityProtocol},
	"request.timeout.ms":                 {every, millis(0, func(s *settings) *time.Duration { return &s.requestTimeout })},
	"default.api.timeout.ms":             {Admin | Consumer, millis(0, func(s *settings) *time.Duration { return &s.apiTimeout })},
	"retries":                            {Admin | Producer, number(0, math.MaxInt32, func(s *settings) *int64 { return &s.retries })},
	"retry.backoff.ms":                   {every, millis(0, func(s *settings) *time.Duration { return &s.backoff })},
	"retry.backoff.max.ms":               {every, millis(0, func(s *settings) *time.Duration { return &s.backoffMax })},
	"metadata.max.age.ms":                {every, millis(0, func(s *settings) *time.Duration { return &s.metadataMaxAge })},
	"connections.max.idle.ms":            {every, millis(-1, func(s *settings) *time.Duration { return &s.connIdle })},
	"socket.connection.setup.timeout.ms": {every, millis(0, func(s *settings) *time.Duration { return &s.dialTimeout })},

	"acks":                                     {Producer, setAcks},
	"enable.idempotence":                       {Producer, boolean(func(s *settings) *bool { return &s.idempotence })},
	"linger.ms":                                {Producer, millis(0, func(s *settings) *time.Duration { return &s.linger })},
	"batch.size":                               {Producer, number(0, math.MaxInt32, func(s *settings) *int64 { return &s.batchSize })},
	"max.request.size":                         {Producer, number(0, math.MaxInt32, func(s *settings) *int64 { return &s.maxRequest })},
	"buffer.memory":                            {Producer, number(0, math.MaxInt64, func(s *settings) *int64 { return &s.bufferMemory })},
	"max.block.ms":                             {Producer, millis(0, func(s *settings) *time.Duration { return &s.maxBlock })},
	"delivery.timeout.ms":                      {Producer, millis(0, func(s *settings) *time.Duration { return &s.deliveryTimeout })},
	"max.in.flight.requests.per.connection":    {Producer, number(1, math.MaxInt32, func(s *settings) *int64 { return &s.inFlight })},
	"compression.type":                         {Producer, oneOf([]string{"none", "gzip", "snappy", "lz4", "zstd"}, func(s *settings) *string { return &s.compression })},
	"compression.gzip.level":                   {Producer, setGzipLevel},
	"compression.lz4.level":                    {Producer, number(1, 17, func(s *settings) *int64 { return &s.lz4Level })},
	"compression.zstd.level":                   {Producer, number(-131072, 22, func(s *settings) *int64 { return &s.zstdLevel })},
	"transactional.id":                         {Producer, setTransactionalID},
	"transaction.timeout.ms":                   {Producer, millis(0, func(s *settings) *time.Duration { return &s.txnTimeout })},
	"partitioner.ignore.keys":                  {Producer, boolean(func(s *settings) *bool { return &s.ignoreKeys })},
	"partitioner.class":                        {Producer, setPartitioner},
	"partitioner.adaptive.partitioning.enable": {Producer, boolean(func(s *settings) *bool { return &s.adaptive })},

	"group.id":                      {Consumer, text(func(s *settings) *string { return &s.group })},
	"group.instance.id":             {Consumer, text(func(s *settings) *string { return &s.instance })},
	"group.protocol":                {Consumer, setGroupProtocol},
	"auto.offset.reset":             {Consumer, setOffsetReset},
	"enable.auto.commit":            {Consumer, boolean(func(s *settings) *bool { return &s.autoCommit })},
	"auto.commit.interval.ms":       {Consumer, millis(0, func(s *settings) *time.Duration { return &s.commitInterval })},
	"session.timeout.ms":            {Consumer, millis(0, func(s *settings) *time.Duration { return &s.sessionTimeout })},
	"heartbeat.interval.ms":         {Consumer, millis(0, func(s *settings) *time.Duration { return &s.heartbeat })},
	"max.poll.interval.ms":          {Consumer, millis(1, func(s *settings) *time.Duration { return &s.pollInterval })},
	"partition.assignment.strategy": {Consumer, setAssignors},
	"isolation.level":               {Consumer, oneOf([]string{"read_committed", "read_uncommitted"}, func(s *settings) *string { return &s.isolation })},
	"fetch.min.bytes":               {Consumer, number(0, math.MaxInt32, func(s *settings) *int64 { return &s.fetchMin })},
	"fetch.max.bytes":               {Consumer, number(0, math.MaxInt32, func(s *settings) *int64 { return &s.fetchMax })},
	"max.partition.fetch.bytes":     {Consumer, number(0, math.MaxInt32, func(s *settings) *int64 { return &s.fetchPartition })},
	"fetch.max.wait.ms":             {Consumer, millis(0, func(s *settings) *time.Duration { return &s.fetchWait })},
	"check.crcs":                    {Consumer, boolean(func(s *settings) *bool { return &s.checkCRCs })},
	"allow.auto.create.topics":      {Consumer, boolean(func(s *settings) *bool { return &s.autoCreate })},
	"exclude.internal.topics":       {Consumer, boolean(nil)},
	"max.poll.records":              {Consumer, number(1, math.MaxInt32, nil)}, // the caller's argument to PollRecords

	"key.serializer": {kinds: Producer}, "value.serializer": {kinds: Producer},
	"key.deserializer": {kinds: Consumer}, "value.deserializer": {kinds: Consumer},
	"send.buffer.bytes": {kinds: every}, "receive.buffer.bytes": {kinds: every},
	"reconnect.backoff.ms": {kinds: every}, "reconnect.backoff.max.ms": {kinds: every},
	"socket.connection.setup.timeout.max.ms": {kinds: every}, "client.dns.lookup": {kinds: every},
	"interceptor.classes": {kinds: Producer | Consumer}, "metric.reporters": {kinds: every},
	"enable.metrics.push": {kinds: every}, "auto.include.jmx.reporter": {kinds: every},
	"metadata.max.idle.ms": {kinds: Producer}, "security.providers": {kinds: every},
	"metadata.recovery.strategy": {kinds: every}, "metadata.recovery.rebootstrap.trigger.ms": {kinds: every},
	"config.providers": {kinds: every}, "group.remote.assignor": {kinds: Consumer},
	"share.acknowledgement.mode": {kinds: Consumer}, "share.acquire.mode": {kinds: Consumer},
	"partitioner.availability.timeout.ms": {kinds: Producer}, "partitioner.rack.aware": {kinds: Producer},
	"transaction.two.phase.commit.enable": {kinds: Producer},
}

func text(at func(*settings) *string) func(*settings, string, string) error {
	return func(s *settings, _, v string) error { *at(s) = v; return nil }
}

func boolean(at func(*settings) *bool) func(*settings, string, string) error {
	return func(s *settings, name, v string) error {
		b := strings.EqualFold(v, "true")
		if !b && !strings.EqualFold(v, "false") {
			return invalid(name, v, "Expected value to be either true or false")
		}
		if at != nil {
			*at(s) = b
		}
		return nil
	}
}

func number(lo, hi int64, at func(*settings) *int64) func(*settings, string, string) error {
	return func(s *settings, name, v string) error {
		kind, bits := "INT", 32
		if hi == math.MaxInt64 {
			kind, bits = "LONG", 64
		}
		n, err := strconv.ParseInt(v, 10, bits)
		if err != nil {
			return invalid(name, v, "Not a number of type "+kind)
		}
		if n < lo {
			return invalid(name, v, "Value must be at least "+strconv.FormatInt(lo, 10))
		}
		if n > hi {
			return invalid(name, v, "Value must be no more than "+strconv.FormatInt(hi, 10))
		}
		if at != nil {
			*at(s) = n
		}
		return nil
	}
}

func millis(lo int64, at func(*settings) *time.Duration) func(*settings, string, string) error {
	return func(s *settings, name, v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return invalid(name, v, "Not a number of type LONG")
		}
		if n < lo {
			return invalid(name, v, "Value must be at least "+strconv.FormatInt(lo, 10))
		}
		*at(s) = time.Duration(min(n, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
		return nil
	}
}

func oneOf(allowed []string, at func(*settings) *string) func(*settings, string, string) error {
	return func(s *settings, name, v string) error {
		if !slices.Contains(allowed, v) {
			return invalid(name, v, "String must be one of: "+strings.Join(allowed, ", "))
		}
		*at(s) = v
		return nil
	}
}

func setServers(s *settings, _, v string) (err error) {
	s.servers, err = Servers(v)
	return err
}

func setSecurityProtocol(_ *settings, name, v string) error {
	switch strings.ToUpper(v) {
	case "PLAINTEXT":
		return nil
	case "SSL", "SASL_PLAINTEXT", "SASL_SSL":
		return &ConfigError{fmt.Sprintf("%s=%s is not supported yet: this build connects by PLAINTEXT only", name, v)}
	}
	return invalid(name, v, "String must be one of: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL")
}

func setAcks(s *settings, name, v string) error {
	switch v {
	case "all", "-1":
		s.acks = kgo.AllISRAcks()
	case "1":
		s.acks = kgo.LeaderAck()
	case "0":
		s.acks = kgo.NoAck()
	default:
		return invalid(name, v, "String must be one of: all, -1, 0, 1")
	}
	s.acksAll = v == "all" || v == "-1"
	return nil
}

func setGzipLevel(s *settings, name, v string) error {
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil {
		return invalid(name, v, "Not a number of type INT")
	}
	if n != -1 && (n < 1 || n > 9) {
		return invalid(name, v, "Value must be between 1 and 9 or equal to -1")
	}
	s.gzipLevel = n
	return nil
}

func setTransactionalID(s *settings, name, v string) error {
	if v == "" {
		return invalid(name, v, "String must be non-empty")
	}
	s.transactionalID = v
	return nil
}

func setPartitioner(s *settings, name, v string) error {
	switch simpleName(v) {
	case "RoundRobinPartitioner":
		s.partitioner = kgo.RoundRobinPartitioner()
	case "DefaultPartitioner", "UniformStickyPartitioner", "":
	default:
		return invalid(name, v, "Class "+v+" could not be found.")
	}
	return nil
}

func setGroupProtocol(s *settings, name, v string) error {
	switch strings.ToLower(v) {
	case "classic":
	case "consumer":
		s.serverSide = true
	default:
		return invalid(name, v, "String must be one of (case insensitive): CONSUMER, CLASSIC")
	}
	return nil
}

var isoDuration = regexp.MustCompile(`(?i)^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

// ParseISODuration reads the durations of java.time.Duration that are not negative: P1D, PT1H30M, PT0.5S.
func ParseISODuration(v string) (time.Duration, error) {
	m := isoDuration.FindStringSubmatch(v)
	if m == nil || strings.Join(m[1:], "") == "" {
		return 0, errors.New("Text cannot be parsed to a Duration")
	}
	var total float64
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] == "" {
			continue
		}
		f, err := strconv.ParseFloat(m[i+1], 64)
		if err != nil {
			return 0, fmt.Errorf("Text cannot be parsed to a Duration: %w", err)
		}
		total += f * float64(unit)
	}
	if total > math.MaxInt64 {
		return 0, errors.New("Text cannot be parsed to a Duration")
	}
	return time.Duration(total), nil
}

func setOffsetReset(s *settings, name, v string) error {
	lower := strings.ToLower(v)
	switch {
	case lower == "earliest":
		s.reset = kgo.NewOffset().AtStart()
	case lower == "latest":
		s.reset = kgo.NewOffset().AtEnd()
	case lower == "none":
		s.reset = kgo.NoResetOffset()
	case strings.HasPrefix(lower, "by_duration:"):
		d, err := ParseISODuration(v[len("by_duration:"):])
		if err != nil {
			return invalid(name, v, "Invalid value `"+v+"` for configuration "+name+". "+
				"The value must be either 'earliest', 'latest', 'none' or of the format 'by_duration:<PnDTnHnMn.nS.>'.")
		}
		s.reset = kgo.LookbackOffset(d)
	default:
		return invalid(name, v, "Invalid value `"+v+"` for configuration "+name+". "+
			"The value must be either 'earliest', 'latest', 'none' or of the format 'by_duration:<PnDTnHnMn.nS.>'.")
	}
	return nil
}

func setAssignors(s *settings, name, v string) error {
	s.balancers = nil
	for _, class := range strings.Split(v, ",") {
		class = strings.TrimSpace(class)
		switch strings.ToLower(simpleName(class)) {
		case "rangeassignor", "range":
			s.balancers = append(s.balancers, kgo.RangeBalancer())
		case "roundrobinassignor", "roundrobin":
			s.balancers = append(s.balancers, kgo.RoundRobinBalancer())
		case "stickyassignor", "sticky":
			s.balancers = append(s.balancers, kgo.StickyBalancer())
		case "cooperativestickyassignor", "cooperative-sticky":
			s.balancers = append(s.balancers, kgo.CooperativeStickyBalancer())
		default:
			return invalid(name, v, "Class "+class+" could not be found.")
		}
	}
	return nil
}

func simpleName(class string) string { return class[strings.LastIndexAny(class, ".$")+1:] }
