package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/client"
)

const consoleConsumerClass = formatters + "ConsoleConsumer"

// consoleConsumer is kafka-console-consumer. It ends with 0 when --max-messages or --timeout-ms is reached and also
// when the cluster refuses to hand out records; with 1 when it cannot begin or cannot print a record. In every case the
// last line on standard error counts the records.
//
// Without --partition it is a member of a group, by the classic protocol unless group.protocol says consumer. Commits
// cover what was printed, and the position where an assigned partition without an offset began, so that a group that
// saw no record still comes back to where it was.
func consoleConsumer(ctx context.Context, c *call) error {
	o := consumerOptions()
	if err := o.parse(c.args); err != nil {
		return o.wrong("%s", err)
	}
	r, err := readConsumption(c, o)
	if err != nil {
		return err
	}
	if o.has("enable-systest-events") {
		defer c.println("shutdown_complete")
	}
	s := &session{call: c, consumption: r}
	if err := s.open(ctx); err != nil {
		s.logError("Unknown error when running consumer: ", err)
		return exit(1)
	}
	err = s.consume(ctx)
	s.close(ctx)
	c.out.Flush()
	c.errln(fmt.Sprintf("Processed a total of %d messages", s.count))
	if err != nil {
		s.logError("Unknown error when running consumer: ", err)
		return exit(1)
	}
	return nil
}

// session is a running consumer.
type session struct {
	*call
	*consumption
	cl     *kgo.Client
	count  int64
	commit bool
}

func (s *session) logError(what string, err error) {
	s.log("ERROR", consoleConsumerClass, what)
	s.errln(err.Error())
}

func (s *session) open(ctx context.Context) error {
	var more []kgo.Opt
	who := fmt.Sprintf("[Consumer clientId=%s, groupId=%s]", s.props["client.id"], s.props["group.id"])
	s.commit = !strings.EqualFold(strings.TrimSpace(s.props["enable.auto.commit"]), "false")
	switch {
	case s.partition >= 0:
		delete(s.props, "group.id")
		s.commit = false
		more = append(more, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.topic: {s.partition: s.from}}))
	case s.topic != "":
		more = append(more, kgo.ConsumeTopics(s.topic))
	default:
		if _, err := wholeMatch(s.include); err != nil {
			return &exception{"java.util.regex.PatternSyntaxException", err.Error()}
		}
		more = append(more, kgo.ConsumeRegex(), kgo.ConsumeTopics(`^(?:`+s.include+`)$`))
	}
	if s.commit {
		more = append(more, kgo.AdjustFetchOffsetsFn(s.beginnings))
	}
	var err error
	s.cl, err = newClient(ctx, s.call, s.props, client.Consumer, who, more...)
	var bad *client.ConfigError
	if errors.As(err, &bad) {
		return &exception{"org.apache.kafka.common.config.ConfigException", bad.Message}
	}
	return err
}

// pollMax is how many records are taken at once, as Kafka's max.poll.records.
const pollMax = 500

// consume prints records until there is a reason to stop. Its error is a record that could not be printed.
func (s *session) consume(ctx context.Context) error {
	for s.max < 0 || s.count < s.max {
		n := pollMax
		if s.max >= 0 {
			n = int(min(int64(n), s.max-s.count))
		}
		bounded, cancel := ctx, context.CancelFunc(func() {})
		if s.timeout > 0 {
			bounded, cancel = context.WithTimeout(ctx, s.timeout)
		}
		fetches := s.cl.PollRecords(bounded, n)
		timedOut := bounded.Err() != nil && ctx.Err() == nil
		cancel()
		for iter := fetches.RecordIter(); !iter.Done(); {
			if stop, err := s.print(iter.Next()); stop || err != nil {
				return err
			}
		}
		if s.out.Flush() != nil {
			s.errln("Unable to write to standard out, closing consumer.")
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if err := fatal(fetches.Errors()); err != nil {
			s.logError("Error processing message, terminating consumer process: ", err)
			return nil
		}
		if fetches.NumRecords() == 0 && timedOut {
			s.logError("Error processing message, terminating consumer process: ", &exception{class: "org.apache.kafka.common.errors.TimeoutException"})
			return nil
		}
	}
	return nil
}

func (s *session) print(r *kgo.Record) (stop bool, err error) {
	s.count++
	if err := s.formatter.write(s.out, r); err != nil {
		if !s.skipErrors {
			return true, err
		}
		s.logError("Error processing message, skipping this message: ", err)
	}
	if s.commit {
		s.cl.MarkCommitRecords(r)
	}
	return false, nil
}

// fatal finds the error that ends a consumer as it ends Java's: what the cluster refuses for good. Everything else the
// client gets over by itself.
func fatal(errs []kgo.FetchError) error {
	for _, e := range errs {
		var loss *kgo.ErrDataLoss
		var code *kerr.Error
		switch {
		case errors.Is(e.Err, context.Canceled), errors.Is(e.Err, context.DeadlineExceeded), errors.As(e.Err, &loss):
		case errors.Is(e.Err, kgo.ErrClientClosed):
			return e.Err
		case errors.As(e.Err, &code):
			if !code.Retriable && !rejoins[code.Code] {
				return refusal(code.Code, e.Topic)
			}
		}
	}
	return nil
}

// rejoins are refusals that a group member answers by joining again.
var rejoins = map[int16]bool{
	kerr.UnknownMemberID.Code: true, kerr.IllegalGeneration.Code: true, kerr.RebalanceInProgress.Code: true,
	kerr.FencedMemberEpoch.Code: true, kerr.StaleMemberEpoch.Code: true, kerr.MemberIDRequired.Code: true,
	kerr.UnknownTopicID.Code: true, kerr.InconsistentTopicID.Code: true,
}

func refusal(code int16, topic string) error {
	switch code {
	case kerr.InvalidTopicException.Code:
		return &exception{"org.apache.kafka.common.errors.InvalidTopicException", "Invalid topics: [" + topic + "]"}
	case kerr.TopicAuthorizationFailed.Code:
		return &exception{"org.apache.kafka.common.errors.TopicAuthorizationException", "Not authorized to access topics: [" + topic + "]"}
	}
	return javaException(kerr.ErrorForCode(code))
}

// closingMax bounds the last commit and the farewell to the group.
const closingMax = 30 * time.Second

func (s *session) close(ctx context.Context) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closingMax)
	defer cancel()
	if s.commit {
		if err := s.cl.CommitMarkedOffsets(closing); err != nil {
			s.log("WARN", consoleConsumerClass, "The last offsets could not be committed: "+err.Error())
		}
	}
	if s.partition < 0 {
		if err := s.cl.LeaveGroupContext(closing); err != nil {
			s.log("WARN", consoleConsumerClass, "The group could not be left: "+err.Error())
		}
	}
	s.cl.CloseAllowingRebalance()
}

// beginnings pins partitions without a committed offset to where auto.offset.reset puts them now, and marks that place
// for the next commit. Java's consumer commits its position, consumed or not; kgo commits records. Without this a group
// that starts at the end and is stopped before the first record would skip what is written until it comes back.
func (s *session) beginnings(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	var timestamp int64
	switch s.props["auto.offset.reset"] {
	case "earliest":
		timestamp = -2
	case "latest":
		timestamp = -1
	default:
		return offsets, nil
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	if s.props["isolation.level"] == "read_committed" {
		req.IsolationLevel = 1
	}
	for topic, partitions := range offsets {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for partition, offset := range partitions {
			if offset.EpochOffset().Offset < 0 {
				p := kmsg.NewListOffsetsRequestTopicPartition()
				p.Partition, p.Timestamp = partition, timestamp
				t.Partitions = append(t.Partitions, p)
			}
		}
		if len(t.Partitions) > 0 {
			req.Topics = append(req.Topics, t)
		}
	}
	if len(req.Topics) == 0 {
		return offsets, nil
	}
	resp, err := req.RequestWith(ctx, s.cl)
	if err != nil {
		return offsets, nil // the client asks again by itself, and only the mark is lost
	}
	marks := map[string]map[int32]kgo.EpochOffset{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 || p.Offset < 0 {
				continue
			}
			offsets[t.Topic][p.Partition] = kgo.NewOffset().At(p.Offset)
			if marks[t.Topic] == nil {
				marks[t.Topic] = map[int32]kgo.EpochOffset{}
			}
			marks[t.Topic][p.Partition] = kgo.EpochOffset{Epoch: p.LeaderEpoch, Offset: p.Offset}
		}
	}
	s.cl.MarkCommitOffsets(marks)
	return offsets, nil
}
