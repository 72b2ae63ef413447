package cli

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// lineReader makes a record of a line, as Kafka's LineMessageReader does: headers up to headers.delimiter, then the key
// up to key.separator, then the value, where parse.headers and parse.key ask for them. Bytes that are not UTF-8 go to
// the broker as they came; Java replaces them.
type lineReader struct {
	topic                  string
	parseKey, parseHeaders bool
	keySeparator           string
	headersDelimiter       string
	headersSeparator       *regexp.Regexp // Kafka splits headers by a pattern
	headersKeySeparator    string
	ignoreError            bool
	nullMarker             string
	hasNull                bool
	line                   int
}

func newLineReader(props map[string]string) (*lineReader, error) {
	r := &lineReader{topic: props["topic"], keySeparator: "\t", headersDelimiter: "\t", headersKeySeparator: ":"}
	isTrue := func(name string) bool { return strings.EqualFold(strings.TrimSpace(props[name]), "true") }
	r.parseKey, r.parseHeaders, r.ignoreError = isTrue("parse.key"), isTrue("parse.headers"), isTrue("ignore.error")
	set := func(name string, at *string) {
		if v, ok := props[name]; ok {
			*at = v
		}
	}
	separator := ","
	set("key.separator", &r.keySeparator)
	set("headers.delimiter", &r.headersDelimiter)
	set("headers.separator", &separator)
	set("headers.key.separator", &r.headersKeySeparator)
	r.nullMarker, r.hasNull = props["null.marker"]
	for _, pair := range []struct{ a, b, nameA, nameB string }{
		{r.headersDelimiter, separator, "headers.delimiter", "headers.separator"},
		{r.headersDelimiter, r.headersKeySeparator, "headers.delimiter", "headers.key.separator"},
		{separator, r.headersKeySeparator, "headers.separator", "headers.key.separator"},
	} {
		if pair.a == pair.b {
			return nil, kafkaException("%s and %s may not be equal", pair.nameA, pair.nameB)
		}
	}
	for _, s := range []struct{ value, name string }{
		{r.keySeparator, "key.separator"}, {separator, "headers.separator"},
		{r.headersDelimiter, "headers.delimiter"}, {r.headersKeySeparator, "headers.key.separator"},
	} {
		if r.hasNull && s.value == r.nullMarker {
			return nil, kafkaException("null.marker and %s may not be equal", s.name)
		}
	}
	var err error
	if r.headersSeparator, err = regexp.Compile(separator); err != nil {
		return nil, fmt.Errorf("headers.separator %q is not a pattern: %w", separator, err)
	}
	return r, nil
}

// exception is an error that Kafka's tools print with its Java class.
type exception struct{ class, message string }

func (e *exception) Error() string {
	if e.message == "" {
		return e.class
	}
	return e.class + ": " + e.message
}

func kafkaException(format string, args ...any) error {
	return &exception{"org.apache.kafka.common.KafkaException", fmt.Sprintf(format, args...)}
}

// record reads the next line.
func (r *lineReader) record(line string) (*kgo.Record, error) {
	r.line++
	rec := &kgo.Record{Topic: r.topic}
	rest := line
	headers, hasHeaders, err := r.cut(r.parseHeaders, line, &rest, r.headersDelimiter, "headers delimiter")
	if err != nil {
		return nil, err
	}
	key, hasKey, err := r.cut(r.parseKey, line, &rest, r.keySeparator, "key separator")
	if err != nil {
		return nil, err
	}
	if hasKey {
		rec.Key = r.bytes(key)
	}
	rec.Value = r.bytes(rest)
	if hasHeaders && !r.isNull(headers) {
		rec.Headers, err = r.headers(headers)
	}
	return rec, err
}

func (r *lineReader) isNull(s string) bool { return r.hasNull && s == r.nullMarker }

func (r *lineReader) bytes(s string) []byte {
	if r.isNull(s) {
		return nil
	}
	return []byte(s)
}

func (r *lineReader) cut(enabled bool, line string, rest *string, separator, name string) (part string, found bool, err error) {
	if !enabled {
		return "", false, nil
	}
	part, after, found := strings.Cut(*rest, separator)
	if !found {
		if r.ignoreError {
			return "", false, nil
		}
		return "", false, kafkaException("No %s found on line number %d: '%s'", name, r.line, line)
	}
	*rest = after
	return part, true, nil
}

func (r *lineReader) headers(list string) ([]kgo.RecordHeader, error) {
	pairs := r.headersSeparator.Split(list, -1)
	for len(pairs) > 1 && pairs[len(pairs)-1] == "" { // as Java's split
		pairs = pairs[:len(pairs)-1]
	}
	var headers []kgo.RecordHeader
	for _, pair := range pairs {
		key, value, found := strings.Cut(pair, r.headersKeySeparator)
		switch {
		case !found && r.ignoreError:
			headers = append(headers, kgo.RecordHeader{Key: pair})
			continue
		case !found:
			return nil, kafkaException("No header key separator found in pair '%s' on line number %d", pair, r.line)
		case r.isNull(key):
			return nil, kafkaException("Header keys should not be equal to the null marker '%s' as they can't be null", r.nullMarker)
		}
		headers = append(headers, kgo.RecordHeader{Key: key, Value: r.bytes(value)})
	}
	return headers, nil
}
