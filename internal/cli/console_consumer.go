package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

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
	beginnings
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
			return &exception{"java.util.regex.PatternSyntaxException", s.include}
		}
		more = append(more, kgo.ConsumeRegex(), kgo.ConsumeTopics(`^(?:`+s.include+`)$`))
	}
	if s.commit {
		more = append(more, s.beginnings.options(s)...)
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
	if s.partition < 0 { // leaving revokes what is assigned, and that commits
		if err := s.cl.LeaveGroupContext(closing); err != nil {
			s.log("WARN", consoleConsumerClass, "The group could not be left: "+err.Error())
		}
	}
	s.cl.CloseAllowingRebalance()
}
