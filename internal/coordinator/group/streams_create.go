package group

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// CreateInternalTopics is the effect that wants internal topics of a streams application to be created, for the client
// that has come with its topology. What becomes of it is told by InternalTopicsCreated.
type CreateInternalTopics struct {
	Client machine.Client
	Topics []kmsg.CreateTopicsRequestTopic
	// Backoff comes back with the answer.
	Backoff time.Duration
}

// InternalTopicsCreated is the command that tells of topics that were created or could not be. A failure is told to
// members for the time of Backoff, and only then is the topic tried again.
type InternalTopicsCreated struct {
	Topics  []InternalTopic
	Backoff time.Duration
}

// InternalTopic is one of them; Error is empty if it is there now.
type InternalTopic struct{ Name, Error string }

// creatingMax bounds the topics that are being created, or have failed. It is the limit of Kafka's memory of failures.
const creatingMax = 1000

// creation is a topic that the machine has asked for. An answer that never comes is waited for no longer than until.
type creation struct {
	until int64  // ms
	err   string // "" while nothing is known
}

// createInternal asks for topics that are missing and not asked for. It gives what is to be told of failures.
func (m *Machine) createInternal(t *turn, group string, missing []schema.StreamsTopicInfo) string {
	backoff := time.Duration(2*m.streamsHeartbeatInterval(t, group)) * time.Millisecond
	effect := CreateInternalTopics{Client: t.cmd.Client, Backoff: backoff}
	var failed []string
	for _, topic := range missing {
		c, known := m.creating[topic.Name]
		switch {
		case known && t.now < c.until && c.err != "":
			failed = append(failed, fmt.Sprintf("%s (%s)", topic.Name, c.err))
		case known && t.now < c.until:
		case known || m.roomForCreation(t):
			m.creating[topic.Name] = creation{until: t.now + backoff.Milliseconds()}
			effect.Topics = append(effect.Topics, creatable(topic))
		}
	}
	if len(effect.Topics) > 0 {
		t.out.Effects = append(t.out.Effects, effect)
	}
	if len(failed) == 0 {
		return ""
	}
	text := strings.Join(failed[:min(len(failed), 3)], ", ")
	if len(failed) > 3 {
		text += fmt.Sprintf(" and %d more", len(failed)-3)
	}
	return "; Creation failed: " + text + "."
}

func (m *Machine) roomForCreation(t *turn) bool {
	if len(m.creating) >= creatingMax {
		for name, c := range m.creating { // each on its own
			if c.until <= t.now {
				delete(m.creating, name)
			}
		}
	}
	return len(m.creating) < creatingMax
}

func creatable(topic schema.StreamsTopicInfo) kmsg.CreateTopicsRequestTopic {
	out := kmsg.NewCreateTopicsRequestTopic()
	out.Topic, out.NumPartitions, out.ReplicationFactor = topic.Name, topic.Partitions, topic.ReplicationFactor
	if out.ReplicationFactor == 0 {
		out.ReplicationFactor = -1
	}
	for _, kv := range topic.TopicConfigs {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		value := kv.Value
		c.Name, c.Value = kv.Key, &value
		out.Configs = append(out.Configs, c)
	}
	return out
}

func (m *Machine) internalTopicsCreated(t *turn, r InternalTopicsCreated) {
	failed := slices.DeleteFunc(slices.Clone(r.Topics), func(topic InternalTopic) bool { return topic.Error == "" })
	for _, topic := range r.Topics {
		delete(m.creating, topic.Name)
	}
	for _, topic := range failed {
		m.creating[topic.Name] = creation{until: t.now + r.Backoff.Milliseconds(), err: topic.Error}
		t.out.Events = append(t.out.Events, machine.Event{Name: "group.streams.topic.failed", Warn: true,
			Attrs: []machine.Attr{{Key: "topic", Value: topic.Name}, {Key: "error", Value: topic.Error}}})
	}
	t.answer(nil)
}
