package config

// metricsKeys are the keys of metrics and quotas.
func metricsKeys() []Key {
	return []Key{
		{Name: "metric.reporters", Type: List, Default: "org.apache.kafka.common.metrics.JmxReporter", rule: distinct{empty: true}, Importance: Low, Dynamic: ClusterWide,
			Doc: "Plug-in classes that receive the metrics of Apache Kafka's Java process."},
		{Name: "metrics.num.samples", Type: Int, Default: "2", rule: atLeast(1), Importance: Low,
			Doc: "How many samples a rate is computed from."},
		{Name: "metrics.sample.window.ms", Type: Long, Default: "30000", rule: atLeast(1), Importance: Low,
			Doc: "Length of one sample of a rate."},
		{Name: "metrics.recording.level", Type: String, Default: "INFO", Importance: Low,
			Doc: "How fine-grained metrics are recorded."},
		{Name: "kafka.metrics.reporters", Type: List, rule: distinct{empty: true}, Importance: Low,
			Doc: "Plug-in classes for Apache Kafka's older kind of metrics."},
		{Name: "kafka.metrics.polling.interval.secs", Type: Int, Default: "10", rule: atLeast(1), Importance: Low,
			Doc: "How often the older kind of metrics is polled."},
		{Name: "telemetry.max.bytes", Type: Int, Default: "1048576", rule: atLeast(1), Importance: Low,
			Doc: "Largest report of client metrics that is accepted."},
		{Name: "client.quota.callback.class", Type: Class, NoDefault: true, Importance: Low,
			Doc: "A plug-in class that decides on quotas."},
		{Name: "quota.window.num", Type: Int, Default: "11", rule: atLeast(1), Importance: Low,
			Doc: "How many windows client quotas are measured over."},
		{Name: "quota.window.size.seconds", Type: Int, Default: "1", rule: atLeast(1), Importance: Low,
			Doc: "Length of one window of client quotas."},
		{Name: "controller.quota.window.num", Type: Int, Default: "11", rule: atLeast(1), Importance: Low,
			Doc: "How many windows the quota on topic changes is measured over."},
		{Name: "controller.quota.window.size.seconds", Type: Int, Default: "1", rule: atLeast(1), Importance: Low,
			Doc: "Length of one window of the quota on topic changes."},
		{Name: "replication.quota.window.num", Type: Int, Default: "11", rule: atLeast(1), Importance: Low,
			Doc: "How many windows the replication throttle is measured over."},
		{Name: "replication.quota.window.size.seconds", Type: Int, Default: "1", rule: atLeast(1), Importance: Low,
			Doc: "Length of one window of the replication throttle."},
		{Name: "alter.log.dirs.replication.quota.window.num", Type: Int, Default: "11", rule: atLeast(1), Importance: Low,
			Doc: "How many windows the throttle on moves between directories is measured over."},
		{Name: "alter.log.dirs.replication.quota.window.size.seconds", Type: Int, Default: "1", rule: atLeast(1), Importance: Low,
			Doc: "Length of one window of the throttle on moves between directories."},
	}
}
