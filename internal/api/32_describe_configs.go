package api

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/server"
)

// DescribeConfigs: v1-4
//
// Behaviour:
//   - Topics, this broker (by id), the cluster's default for brokers (""), groups. Values, sources, synonyms,
//     documentation are package config's (DETAILS 10).
//   - Null names are all keys, a list selects.
//   - Brokers' loggers have nothing to set here; client metrics come with telemetry.
func (h *Handler) describeConfigs(c *call, req *kmsg.DescribeConfigsRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for _, r := range req.Resources {
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = r.ResourceType, r.ResourceName
		entries, err := h.entries(r)
		if err != nil {
			message := err.Error()
			out.ErrorCode = Code(err)
			if m, ok := err.(*failure); ok {
				message = m.message
			}
			out.ErrorMessage = &message
			resp.Resources = append(resp.Resources, out)
			continue
		}
		for i := range entries {
			if r.ConfigNames == nil || slices.Contains(r.ConfigNames, entries[i].Key.Name) {
				out.Configs = append(out.Configs, describe(&entries[i], req))
			}
		}
		resp.Resources = append(resp.Resources, out)
	}
	return c.reply(resp)
}

// failure is an error of Kafka's with a message of its own.
type failure struct {
	code    *kerr.Error
	message string
}

func (f *failure) Error() string { return f.message }
func (f *failure) Unwrap() error { return f.code }

func failf(code *kerr.Error, format string, args ...any) error {
	return &failure{code, fmt.Sprintf(format, args...)}
}

func (h *Handler) entries(r kmsg.DescribeConfigsRequestResource) ([]config.Entry, error) {
	image, layers := h.Image(), h.Layers()
	switch r.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		if invalidName(r.ResourceName) {
			return nil, failf(kerr.InvalidTopicException, "Topic name is invalid: '%s'", r.ResourceName)
		}
		if _, ok := image.Topic(r.ResourceName); !ok {
			return nil, failf(kerr.UnknownTopicOrPartition, "%s", kerr.UnknownTopicOrPartition.Description)
		}
		return layers.Describe(config.Topic, image.Config(int8(r.ResourceType), r.ResourceName)), nil
	case kmsg.ConfigResourceTypeBroker:
		if r.ResourceName == "" {
			return layers.DescribeDefault(), nil
		}
		if id, err := strconv.Atoi(r.ResourceName); err != nil {
			return nil, failf(kerr.InvalidRequest, "Broker id must be an integer, but it is: %s", r.ResourceName)
		} else if int32(id) != h.NodeID {
			return nil, failf(kerr.InvalidRequest, "Unexpected broker id, expected %d or empty string, but received %s", h.NodeID, r.ResourceName)
		}
		return layers.Describe(config.Broker, nil), nil
	case groupResource:
		if r.ResourceName == "" {
			return nil, failf(kerr.InvalidRequest, "Group name must not be empty")
		}
		return layers.Describe(config.Group, image.Config(groupResource, r.ResourceName)), nil
	case kmsg.ConfigResourceTypeBrokerLogger:
		return nil, nil
	}
	return nil, failf(kerr.InvalidRequest, "Unsupported resource type: %d", r.ResourceType)
}

// groupResource is GROUP among the resource types.
const groupResource = 32

func describe(e *config.Entry, req *kmsg.DescribeConfigsRequest) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.ReadOnly, out.IsDefault, out.IsSensitive = e.Key.Name, e.ReadOnly, e.IsDefault(), e.Key.Sensitive
	out.Source, out.ConfigType = kmsg.ConfigSource(e.Source), kmsg.ConfigType(e.Key.Type)
	if !e.Null {
		out.Value = &e.Value
	}
	if req.IncludeDocumentation {
		doc := documentation(e.Key)
		out.Documentation = &doc
	}
	if req.IncludeSynonyms {
		for _, s := range e.Synonyms {
			w := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			w.Name, w.Source = s.Name, kmsg.ConfigSource(s.Source)
			if !s.Null {
				w.Value = &s.Value
			}
			out.ConfigSynonyms = append(out.ConfigSynonyms, w)
		}
	}
	return out
}

func documentation(k config.Key) string {
	if k.Acts || k.Reason == "" {
		return k.Doc
	}
	return k.Doc + " (Not acting in this version: " + k.Reason + ".)"
}

// ListConfigResources (74): v0-1
//
// Behaviour: v0 lists client metrics. v1 lists every resource that has a dynamic value, and every topic and broker; an
// unknown type is UNSUPPORTED_VERSION.
func (h *Handler) listConfigResources(c *call, req *kmsg.ListConfigResourcesRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.ListConfigResourcesResponse)
	types := req.ResourceTypes
	all := []int8{2, 4, 8, 16, groupResource}
	switch {
	case req.Version == 0:
		types = []int8{16}
	case len(types) == 0:
		types = all
	}
	add := func(t int8, name string) {
		resp.ConfigResources = append(resp.ConfigResources, kmsg.ListConfigResourcesResponseConfigResource{Name: name, Type: t})
	}
	image := h.Image()
	for _, t := range types {
		if !slices.Contains(all, t) {
			resp.ErrorCode, resp.ConfigResources = kerr.UnsupportedVersion.Code, nil
			return c.reply(resp)
		}
		resources(image, t, func(name string) { add(t, name) })
	}
	return c.reply(resp)
}

func resources(image *metadata.Image, t int8, add func(string)) {
	switch t {
	case 2:
		for topic := range image.Topics() {
			add(topic.Name)
		}
	case 4, 8:
		for b := range image.Brokers() {
			add(strconv.Itoa(int(b.ID)))
		}
	default:
		for name := range image.ConfigResources(t) {
			add(name)
		}
	}
}
