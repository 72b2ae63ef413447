package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/client"
)

func deleteRecordsOptions() *options {
	return newOptions(
		option{name: "bootstrap-server", arity: required, value: "server(s) to use for bootstrapping", help: "REQUIRED: Brokers to start from, host:port separated by commas."},
		option{name: "offset-json-file", arity: required, value: "Offset json file path", help: "REQUIRED: File that says below which offset records go, -1 for all:\n{\"partitions\":\n  [{\"topic\": \"foo\", \"partition\": 1, \"offset\": 1}],\n \"version\":1\n}"},
		option{name: "command-config", arity: required, value: "command config property file path", help: "File of properties for the admin client."},
	)
}

// offsetFileMax bounds the file: 16 MiB name some 200,000 partitions.
const offsetFileMax = 16 << 20

// deleteRecords is kafka-delete-records. A partition that refuses has its error in the result and does not change the
// exit code; for one that does not exist Java's tool would ask for a minute first.
func deleteRecords(ctx context.Context, c *call) error {
	o := deleteRecordsOptions()
	if err := o.parse(c.args); err != nil {
		return err
	}
	if err := o.start(c, "Delete the records of partitions below an offset."); err != nil {
		return err
	}
	if err := o.requireAll("bootstrap-server", "offset-json-file"); err != nil {
		return err
	}
	props, err := commandProperties(o)
	if err != nil {
		return err
	}
	a, err := newAdmin(ctx, c, props)
	if err != nil {
		return err
	}
	defer a.close()
	file, err := o.text("offset-json-file")
	if err != nil {
		return err
	}
	wanted, err := readOffsetFile(file)
	if err != nil {
		return err
	}
	c.println("Executing records delete operation")
	results, err := deleteBefore(ctx, a, wanted)
	if err != nil {
		return err
	}
	c.println("Records delete operation completed:")
	for _, r := range hashMapOrder(results, 0, func(r deletion) int32 { return r.javaHash() }) {
		if r.err != nil {
			c.printf("partition: %s\terror: %s\n", r.topicPartition, executionText(r.err))
		} else {
			c.printf("partition: %s\tlow_watermark: %d\n", r.topicPartition, r.offset)
		}
	}
	return nil
}

// deletion is a partition with the offset to delete before or, afterwards, its low watermark.
type deletion struct {
	topicPartition
	offset int64
	err    error
}

func readOffsetFile(path string) ([]deletion, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("offset file: %w", err)
	}
	if info.Size() > offsetFileMax {
		return nil, fmt.Errorf("offset file %s: more than %d bytes", path, offsetFileMax)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("offset file: %w", err)
	}
	var content struct {
		Version    *int `json:"version"`
		Partitions *[]struct {
			Topic     *string `json:"topic"`
			Partition *int32  `json:"partition"`
			Offset    *int64  `json:"offset"`
		} `json:"partitions"`
	}
	if !json.Valid(b) {
		return nil, errors.New("The input string is not a valid JSON")
	}
	if err := json.Unmarshal(b, &content); err != nil {
		return nil, fmt.Errorf("offset file %s: %w", path, err)
	}
	if content.Version != nil && *content.Version != 1 {
		return nil, fmt.Errorf("Not supported version field value %d", *content.Version)
	}
	if content.Partitions == nil {
		return nil, errors.New("Missing partitions field")
	}
	var wanted []deletion
	var twice []string
	seen := map[topicPartition]int{}
	for _, p := range *content.Partitions {
		for _, field := range []struct {
			name    string
			missing bool
		}{{"topic", p.Topic == nil}, {"partition", p.Partition == nil}, {"offset", p.Offset == nil}} {
			if field.missing {
				return nil, fmt.Errorf("No such field exists: `%s`", field.name)
			}
		}
		tp := topicPartition{*p.Topic, *p.Partition}
		if seen[tp]++; seen[tp] == 2 {
			twice = append(twice, tp.String())
		}
		wanted = append(wanted, deletion{topicPartition: tp, offset: *p.Offset})
	}
	if len(twice) > 0 {
		return nil, fmt.Errorf("Offset json file contains duplicate topic partitions: %s", strings.Join(twice, ","))
	}
	return wanted, nil
}

func deleteBefore(ctx context.Context, a *admin, wanted []deletion) ([]deletion, error) {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = int32(a.requestTimeout.Milliseconds())
	at := map[string]int{}
	for _, w := range wanted {
		i, ok := at[w.topic]
		if !ok {
			i = len(req.Topics)
			at[w.topic] = i
			topic := kmsg.NewDeleteRecordsRequestTopic()
			topic.Topic = w.topic
			req.Topics = append(req.Topics, topic)
		}
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Partition, p.Offset = w.partition, w.offset
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	var results []deletion
	err := askEach(ctx, a, "deleteRecords", req, func(resp *kmsg.DeleteRecordsResponse) {
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				results = append(results, deletion{topicPartition{t.Topic, p.Partition}, p.LowWatermark, client.Error(p.ErrorCode, nil)})
			}
		}
	}, func(part *kmsg.DeleteRecordsRequest, err error) {
		for _, t := range part.Topics {
			for _, p := range t.Partitions {
				results = append(results, deletion{topicPartition: topicPartition{t.Topic, p.Partition}, err: err})
			}
		}
	})
	return results, err
}
