package cli

import (
	"fmt"
	"regexp"
	"strings"
)

// internalTopics are the ones that --exclude-internal leaves out.
var internalTopics = map[string]bool{"__consumer_offsets": true, "__transaction_state": true, "__share_group_state": true}

// topicFilter is the list of patterns that --topic takes: a comma is an alternative, blanks do not count, quotes around
// it (left by property files) fall away, and the pattern matches the whole name.
type topicFilter struct{ pattern *regexp.Regexp }

func newTopicFilter(list string) (*topicFilter, error) {
	list = strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(list), ",", "|"), " ", "")
	list = strings.Trim(list, `"'`)
	re, err := wholeMatch(list)
	if err != nil {
		return nil, fmt.Errorf("%s is an invalid regex.", list)
	}
	return &topicFilter{re}, nil
}

func (f *topicFilter) allows(topic string, excludeInternal bool) bool {
	return (f == nil || f.pattern.MatchString(topic)) && !(excludeInternal && internalTopics[topic])
}

// wholeMatch compiles a pattern as Java's String.matches uses it. Go's syntax has no look-around and no back-references;
// such a pattern is invalid here.
func wholeMatch(pattern string) (*regexp.Regexp, error) {
	return regexp.Compile(`^(?:` + pattern + `)$`)
}
