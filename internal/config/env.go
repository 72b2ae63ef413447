package config

import (
	"regexp"
	"slices"
	"strings"
)

// notKeys are variables of the official images and of Kafka's start scripts that begin with KAFKA_ but configure
// the Java process, the logging or the container.
var notKeys = []string{
	"KAFKA_VERSION", "KAFKA_HOME", "KAFKA_HEAP_OPTS", "KAFKA_OPTS", "KAFKA_JMX_OPTS", "KAFKA_JMX_PORT",
	"KAFKA_JMX_HOSTNAME", "KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_GC_LOG_OPTS", "KAFKA_LOG4J_OPTS", "KAFKA_LOG4J_LOGGERS",
	"KAFKA_LOG4J_ROOT_LOGLEVEL", "KAFKA_TOOLS_LOG4J_LOGLEVEL", "KAFKA_DEBUG", "KAFKA_CLUSTER_ID", "KAFKA_MODE",
	"KAFKA_USER",
}

// FromEnv takes a node's keys out of an environment as the official images do: KAFKA_LOG_DIRS is log.dirs; two
// underscores stand for one, three for a hyphen. Where advertised listeners are given and no listeners, the same ones
// are bound on every address. What is no key of Kafka's is left out: the images' other variables, and those that
// Kubernetes sets for a service named kafka.
func FromEnv(environ []string) map[string]string {
	props := map[string]string{}
	for _, e := range environ {
		name, value, ok := strings.Cut(e, "=")
		rest, ours := strings.CutPrefix(name, "KAFKA_")
		if !ok || !ours || rest == "" || slices.Contains(notKeys, name) || ofKubernetes(rest, value) {
			continue
		}
		key := strings.ReplaceAll(strings.ToLower(rest), "_", ".")
		key = strings.ReplaceAll(key, "...", "-")
		props[strings.ReplaceAll(key, "..", "_")] = value
	}
	if props["listeners"] == "" && props["advertised.listeners"] != "" && props["process.roles"] != "controller" {
		props["listeners"] = everywhere(props["advertised.listeners"])
	}
	return props
}

var hostOfURL = regexp.MustCompile(`://(\[[^\]]*\]|[^:,]*):`)

// everywhere binds on every address what is advertised on one.
func everywhere(advertised string) string {
	return hostOfURL.ReplaceAllString(advertised, "://0.0.0.0:")
}

func ofKubernetes(rest, value string) bool {
	return rest == "SERVICE_HOST" || strings.HasPrefix(rest, "SERVICE_PORT") ||
		rest == "PORT" && strings.HasPrefix(value, "tcp://") || strings.HasPrefix(rest, "PORT_")
}
