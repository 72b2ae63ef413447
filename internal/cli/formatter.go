package cli

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// formatter writes one record. An error leaves behind what was written before it, as Kafka's formatters do.
type formatter interface {
	write(w *bufio.Writer, r *kgo.Record) error
}

const formatters = "org.apache.kafka.tools.consumer."

// newFormatter makes a formatter by its Java class.
func newFormatter(c *call, class string, props map[string]string) (formatter, error) {
	switch class {
	case formatters + "DefaultMessageFormatter":
		return newRecordFormatter(c, props), nil
	case formatters + "LoggingMessageFormatter":
		return &loggingFormatter{newRecordFormatter(c, props), c}, nil
	case formatters + "NoOpMessageFormatter":
		return noFormatter{}, nil
	}
	return nil, fmt.Errorf("%s", class) // Java's message of a class that is not there is its name
}

// recordFormatter is Kafka's DefaultMessageFormatter: the parts that print.* select, in a fixed order.
type recordFormatter struct {
	timestamp, partition, offset, delivery, epoch, headers, key, value bool

	keySeparator, lineSeparator, headersSeparator string
	null                                          []byte
	keyDeserializer, valueDeserializer            deserializer
	headersDeserializer                           deserializer
}

func newRecordFormatter(c *call, props map[string]string) *recordFormatter {
	f := &recordFormatter{value: true, keySeparator: "\t", lineSeparator: "\n", headersSeparator: ",", null: []byte("null")}
	for name, at := range map[string]*bool{
		"print.timestamp": &f.timestamp, "print.partition": &f.partition, "print.offset": &f.offset, "print.delivery": &f.delivery,
		"print.epoch": &f.epoch, "print.headers": &f.headers, "print.key": &f.key, "print.value": &f.value,
	} {
		if v, ok := props[name]; ok {
			*at = strings.EqualFold(strings.TrimSpace(v), "true")
		}
	}
	for name, at := range map[string]*string{"key.separator": &f.keySeparator, "line.separator": &f.lineSeparator, "headers.separator": &f.headersSeparator} {
		if v, ok := props[name]; ok {
			*at = v
		}
	}
	if v, ok := props["null.literal"]; ok {
		f.null = []byte(v)
	}
	f.keyDeserializer = configured(c, props, "key.deserializer")
	f.valueDeserializer = configured(c, props, "value.deserializer")
	f.headersDeserializer = configured(c, props, "headers.deserializer")
	return f
}

// configured makes the deserializer that a property names. One that cannot be had is told, and bytes print as they are.
func configured(c *call, props map[string]string, name string) deserializer {
	class, ok := props[name]
	if !ok {
		return nil
	}
	own := "value.deserializer.encoding"
	if name == "key.deserializer" {
		own = "key.deserializer.encoding"
	}
	encoding := props[name+"."+own]
	if encoding == "" {
		encoding = props[name+".deserializer.encoding"]
	}
	d, err := newDeserializer(class, encoding)
	if err != nil {
		c.log("ERROR", formatters+"DefaultMessageFormatter", "Unable to instantiate a deserializer from "+class)
		c.errln(err.Error())
		return nil
	}
	return d
}

func (f *recordFormatter) write(w *bufio.Writer, r *kgo.Record) error {
	after := func(more bool) {
		if more {
			w.WriteString(f.keySeparator)
		} else {
			w.WriteString(f.lineSeparator)
		}
	}
	beyondEpoch := f.headers || f.key || f.value
	beyondPartition := f.offset || f.delivery || f.epoch || beyondEpoch
	if f.timestamp {
		w.WriteString(timestampText(r))
		after(f.partition || beyondPartition)
	}
	if f.partition {
		w.WriteString("Partition:" + strconv.Itoa(int(r.Partition)))
		after(beyondPartition)
	}
	if f.offset {
		w.WriteString("Offset:" + strconv.FormatInt(r.Offset, 10))
		after(f.delivery || f.epoch || beyondEpoch)
	}
	if f.delivery {
		w.WriteString("Delivery:NOT_PRESENT") // counts belong to share groups
		after(f.epoch || beyondEpoch)
	}
	if f.epoch {
		w.WriteString("Epoch:NOT_PRESENT") // Kafka's console consumer hands its formatter records without it
		after(beyondEpoch)
	}
	if f.headers {
		if err := f.writeHeaders(w, r); err != nil {
			return err
		}
		after(f.key || f.value)
	}
	if f.key {
		if err := f.writeBytes(w, f.keyDeserializer, r.Key); err != nil {
			return err
		}
		after(f.value)
	}
	if f.value {
		if err := f.writeBytes(w, f.valueDeserializer, r.Value); err != nil {
			return err
		}
		w.WriteString(f.lineSeparator)
	}
	return nil
}

func (f *recordFormatter) writeHeaders(w *bufio.Writer, r *kgo.Record) error {
	if len(r.Headers) == 0 {
		w.WriteString("NO_HEADERS")
	}
	for i, h := range r.Headers {
		if i > 0 {
			w.WriteString(f.headersSeparator)
		}
		w.WriteString(h.Key + ":")
		if err := f.writeBytes(w, f.headersDeserializer, h.Value); err != nil {
			return err
		}
	}
	return nil
}

// writeBytes prints null as its literal, and hands that literal to the deserializer too where there is one: so does
// Kafka, and an IntegerDeserializer makes a number of it.
func (f *recordFormatter) writeBytes(w *bufio.Writer, d deserializer, b []byte) error {
	if b == nil {
		b = f.null
	}
	if d == nil {
		w.Write(b)
		return nil
	}
	s, err := d(b)
	if err != nil {
		return err
	}
	w.WriteString(s)
	return nil
}

func timestampText(r *kgo.Record) string {
	switch r.Attrs.TimestampType() {
	case 0:
		return "CreateTime:" + strconv.FormatInt(r.Timestamp.UnixMilli(), 10)
	case 1:
		return "LogAppendTime:" + strconv.FormatInt(r.Timestamp.UnixMilli(), 10)
	}
	return "NO_TIMESTAMP"
}

// loggingFormatter prints as the default formatter does and logs each record at INFO, on standard error.
type loggingFormatter struct {
	*recordFormatter
	c *call
}

func (f *loggingFormatter) write(w *bufio.Writer, r *kgo.Record) error {
	if err := f.recordFormatter.write(w, r); err != nil {
		return err
	}
	line := ""
	if t := timestampText(r); t != "NO_TIMESTAMP" {
		line = t + ", "
	}
	if r.Key == nil {
		line += "key:null "
	} else {
		line += "key:" + string(r.Key) + ", "
	}
	if r.Value == nil {
		line += "value:null"
	} else {
		line += "value:" + string(r.Value)
	}
	f.c.log("INFO", formatters+"LoggingMessageFormatter", line)
	return nil
}

// noFormatter counts records without printing them.
type noFormatter struct{}

func (noFormatter) write(*bufio.Writer, *kgo.Record) error { return nil }
