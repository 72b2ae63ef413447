package group

import (
	"errors"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
)

// A member's regular expression (RE2, which must match the whole name) is resolved to topics for the whole group, by a
// job: there may be many topics. The result is written, and raises the group's epoch if it is news. Until then the
// expression matches nothing, and the member waits without partitions.

// regexRefreshMin is the shortest time between two resolutions of a group's expressions.
const regexRefreshMin = 10 * time.Second

// resolvingMax is when a job is thought to be lost.
const resolvingMax = time.Minute

// imageTopics is what resolving names needs.
type imageTopics interface {
	Topic(name string) (*metadata.Topic, bool)
}

// regexChange is what a member's new expression means to the group.
type regexChange int8

const (
	regexSame     regexChange = iota
	regexPending              // it is not resolved yet: the group's epoch rises when it is
	regexReplaced             // the topics are known
)

// regexesResolved is the command that a job comes back as.
type regexesResolved struct {
	group    string
	resolved map[string]*resolvedRegex
}

// changeRegex takes in a new expression, and starts resolving where it is due.
func (m *Machine) changeRegex(t *turn, g *consumer, member, updated *consumerMember) (regexChange, error) {
	before, after := member.regex, updated.regex
	change, refresh := regexSame, false
	if before != after {
		change = regexPending
		if before != "" && g.regexes[before] == 1 {
			t.write(expressionTombstone(g.id, before))
		}
		switch {
		case after == "":
			change = regexReplaced
		case g.regexes[after] == 0:
			if err := checkRegex(after); err != nil {
				return regexSame, err
			}
			refresh = true
		case g.resolved[after] != nil:
			change = regexReplaced
		}
	}
	if refresh || len(g.regexes) > 0 {
		m.resolveIfDue(t, g, before, after, refresh)
	}
	return change, nil
}

// resolveIfDue starts a resolution: not while one runs, not within regexRefreshMin of the last, and only if there is a
// new expression, there are new topics, or the last is older than the refresh interval.
func (m *Machine) resolveIfDue(t *turn, g *consumer, before, after string, refresh bool) {
	if since, ok := m.resolving[g.id]; ok && t.now < since+resolvingMax.Milliseconds() {
		return
	}
	last := g.lastResolved()
	if last != nil && t.now <= last.at+regexRefreshMin.Milliseconds() {
		return
	}
	regexes := maps.Clone(g.regexes)
	if before != "" {
		tally(regexes, before, -1)
	}
	if after != "" {
		tally(regexes, after, 1)
	}
	switch {
	case len(regexes) == 0:
		return
	case refresh, last == nil, len(regexes) != len(g.resolved):
	case last.image < m.newTopics:
	case t.now > last.at+m.config.RegexRefreshInterval.Milliseconds():
	default:
		return
	}
	m.resolving[g.id] = t.now
	group, image, now, list := g.id, t.Image, t.now, slices.Sorted(maps.Keys(regexes))
	t.out.Jobs = append(t.out.Jobs, func() any { return resolveRegexes(group, image, now, list) })
}

// lastResolved is one of the group's resolutions; all are made at once. The smallest expression's is taken, so that a
// reload sees the same.
func (g *consumer) lastResolved() *resolvedRegex {
	var smallest string
	var last *resolvedRegex
	for regex, r := range g.resolved { // the minimum
		if last == nil || regex < smallest {
			smallest, last = regex, r
		}
	}
	return last
}

// checkRegex refuses what is not a regular expression.
func checkRegex(regex string) error {
	_, err := regexp.Compile(regex)
	if err == nil {
		return nil
	}
	description := err.Error()
	var s *syntax.Error
	if errors.As(err, &s) {
		description = s.Code.String()
	}
	return refuse(kerr.InvalidRegularExpression, "SubscribedTopicRegex `%s` is not a valid regular expression: %s.", regex, description)
}

func resolveRegexes(group string, image *metadata.Image, now int64, regexes []string) regexesResolved {
	out := regexesResolved{group: group, resolved: map[string]*resolvedRegex{}}
	for _, regex := range regexes {
		r := &resolvedRegex{image: image.Offset, at: now}
		out.resolved[regex] = r
		// Written by an earlier version that took it for valid, it matches nothing.
		if whole, err := regexp.Compile(`\A(?:` + regex + `)\z`); err == nil {
			for topic := range image.Topics() {
				if whole.MatchString(topic.Name) {
					r.topics = append(r.topics, topic.Name)
				}
			}
		}
	}
	return out
}

// regexesAreResolved writes what a job found.
func (m *Machine) regexesAreResolved(t *turn, r regexesResolved) {
	delete(m.resolving, r.group)
	g, _ := m.groups[r.group].(*consumer)
	if g == nil {
		return
	}
	bump := false
	subs := subscriptions{byName: g.byName, byRegex: maps.Clone(g.byRegex)}
	for _, regex := range slices.Sorted(maps.Keys(r.resolved)) {
		if g.regexes[regex] == 0 {
			continue // nobody has it any more
		}
		found := r.resolved[regex]
		var had []string
		old := g.resolved[regex]
		if old != nil {
			had = old.topics
		}
		if !slices.Equal(had, found.topics) {
			bump = true
			for _, topic := range had {
				tally(subs.byRegex, topic, -1)
			}
			for _, topic := range found.topics {
				tally(subs.byRegex, topic, 1)
			}
		}
		// A member that changed from an expression with topics to one that matches none has given up what it had, and
		// nobody else gets that before there is a new target. Apache's coordinator compares the topics only.
		if old == nil && g.meantForOthers(regex, found, t.Image) {
			bump = true
		}
		t.write(expressionRecord(g.id, regex, found))
	}
	hash := m.groupHash(t.Image, subs.topics())
	if bump || hash != g.hash {
		t.write(epochRecord(g.id, g.epoch+1, hash))
		t.event("group.rebalance", machine.Attr{Key: "group", Value: g.id}, machine.Attr{Key: "epoch", Value: g.epoch + 1})
		g.checked, g.checkedAt = true, g.epoch+1
	}
}

// meantForOthers says that a member with the expression has a target with topics that it is not subscribed to any more.
func (g *consumer) meantForOthers(regex string, found *resolvedRegex, image imageTopics) bool {
	for _, m := range g.members { // all are looked at, or one is found: order cannot matter
		if m.regex != regex {
			continue
		}
		ids := topicIDs(image, m.topics, found.topics)
		for _, tp := range g.targets[m.id] {
			if _, ok := ids[tp.topic]; !ok {
				return true
			}
		}
	}
	return false
}
