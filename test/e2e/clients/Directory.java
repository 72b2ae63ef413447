import java.security.MessageDigest;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.quota.*;
import org.apache.kafka.common.serialization.*;

/**
 * Writes what a directory may hold, and tells all that a client can know of it: so that two brokers can be compared that have it one
 * after the other.
 *
 * <pre>Directory BOOTSTRAP write PHASE | portrait | quotas</pre>
 *
 * With CLASSIC=1 in the environment there is nothing that Kafka 3.9 does not have: groups of the consumer protocol and their
 * configurations.
 */
public class Directory {
    static String bootstrap;
    static Admin admin;
    static final boolean classic = System.getenv("CLASSIC") != null;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        switch (args[1]) {
            case "write" -> write(Integer.parseInt(args[2]));
            case "portrait" -> portrait();
            case "quotas" -> quotas();
            default -> throw new IllegalArgumentException(args[1]);
        }
        System.out.flush();
        Runtime.getRuntime().halt(0); // an open transaction stays open
    }

    static NewTopic topic(String name, int partitions, String... config) {
        Map<String, String> c = new HashMap<>();
        for (int i = 0; i < config.length; i += 2) c.put(config[i], config[i + 1]);
        return new NewTopic(name, partitions, (short) 1).configs(c);
    }

    static KafkaProducer<byte[], byte[]> producer(String... config) {
        Map<String, Object> c = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "acks", "all", "linger.ms", "5"));
        for (int i = 0; i < config.length; i += 2) c.put(config[i], config[i + 1]);
        return new KafkaProducer<>(c, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static ProducerRecord<byte[], byte[]> record(String topic, int partition, String key, String value) {
        var r = new ProducerRecord<>(topic, partition, key == null ? null : key.getBytes(), value == null ? null : value.getBytes());
        r.headers().add("h", ("of " + value).substring(0, Math.min(8, ("of " + value).length())).getBytes());
        return r;
    }

    static String filler(int n) {
        return "x".repeat(n);
    }

    static void set(ConfigResource.Type type, String name, String... config) throws Exception {
        List<AlterConfigOp> ops = new ArrayList<>();
        for (int i = 0; i < config.length; i += 2) ops.add(new AlterConfigOp(new ConfigEntry(config[i], config[i + 1]), AlterConfigOp.OpType.SET));
        admin.incrementalAlterConfigs(Map.of(new ConfigResource(type, name), ops)).all().get();
    }

    static void write(int phase) throws Exception {
        if (phase == 1) {
            String[] compact = {"cleanup.policy", "compact", "segment.bytes", "1048576", "min.cleanable.dirty.ratio", "0.01"};
            admin.createTopics(List.of(topic("plain", 3, "segment.bytes", "1048576"), topic("tx", 2), topic("compacted", 1, compact),
                topic("was-compacted", 1, compact), topic("log-append", 1, "message.timestamp.type", "LogAppendTime"))).all().get();
            set(ConfigResource.Type.TOPIC, "plain", "retention.ms", "864000000", "max.message.bytes", "2000000");
            set(ConfigResource.Type.BROKER, "", "message.max.bytes", "3000000");
            set(ConfigResource.Type.BROKER, "1", "log.cleaner.io.max.bytes.per.second", "100000000");
            if (!classic) set(ConfigResource.Type.GROUP, "g-consumer", "consumer.session.timeout.ms", "50000");
        } else {
            admin.createTopics(List.of(topic("phase-" + phase, 1))).all().get();
        }
        plain(phase);
        transactions(phase);
        if (phase == 1) compacted(); else more(phase);
        groups(phase);
        if (phase == 1) admin.deleteRecords(Map.of(new TopicPartition("plain", 0), RecordsToDelete.beforeOffset(10))).all().get();
        open(phase);
    }

    /** Every codec, with and without a producer id, several segments. */
    static void plain(int phase) {
        Random random = new Random(phase);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd"))
            for (String idempotent : List.of("true", "false"))
                try (var p = producer("compression.type", codec, "enable.idempotence", idempotent)) {
                    for (int i = 0; i < 300; i++) {
                        byte[] noise = new byte[2000];
                        random.nextBytes(noise);
                        p.send(record("plain", i % 3, "k" + i, phase + codec + i + HexFormat.of().formatHex(noise)));
                    }
                    p.send(record("log-append", 0, null, codec));
                }
    }

    static void transactions(int phase) {
        try (var p = producer("transactional.id", "tx-java")) {
            p.initTransactions();
            for (int n = 0; n < 6; n++) {
                p.beginTransaction();
                for (int i = 0; i < 50; i++) p.send(record("tx", i % 2, "t" + i, phase + (n % 3 == 1 ? " aborted " : " committed ") + n));
                p.flush();
                if (n % 3 == 1) {
                    p.abortTransaction();
                } else {
                    p.sendOffsetsToTransaction(Map.of(new TopicPartition("plain", 1), new OffsetAndMetadata(100L * phase + n, "in a transaction")),
                        new ConsumerGroupMetadata("g-tx"));
                    p.commitTransaction();
                }
            }
        }
    }

    /** A transaction that nobody ends before the node does. */
    static void open(int phase) {
        var p = producer("transactional.id", "tx-open", "transaction.timeout.ms", "900000");
        p.initTransactions();
        p.beginTransaction();
        for (int i = 0; i < 10; i++) p.send(record("tx", 0, "o" + i, phase + " open"));
        p.flush();
    }

    /** Two topics that the cleaner goes through; then it shall leave them as they are. One is not compacted any more. */
    static void compacted() throws Exception {
        int keys = 400, all = 20000;
        for (String topic : List.of("compacted", "was-compacted")) {
            try (var p = producer()) {
                for (int i = 0; i < all; i++) // some keys come often, some once: whole stretches go
                    p.send(record(topic, 0, i < 1000 ? "once" + i % 37 : "k" + i % keys, i % 97 == 0 ? null : i + filler(300)));
            }
        }
        for (String topic : List.of("compacted", "was-compacted")) {
            long end = System.nanoTime() + 90_000_000_000L;
            while (read(new TopicPartition(topic, 0), "read_uncommitted").count > all / 3) {
                if (System.nanoTime() > end) throw new IllegalStateException(topic + " is not compacted");
                Thread.sleep(500);
            }
        }
        set(ConfigResource.Type.TOPIC, "compacted", "min.cleanable.dirty.ratio", "1.0", "min.compaction.lag.ms", "100000000000");
        set(ConfigResource.Type.TOPIC, "was-compacted", "cleanup.policy", "delete", "retention.ms", "-1");
        Thread.sleep(2000); // a cleaning that is under way ends
    }

    static void more(int phase) {
        try (var p = producer("compression.type", "lz4")) {
            for (String topic : List.of("compacted", "was-compacted", "phase-" + phase))
                for (int i = 0; i < 3000; i++) p.send(record(topic, 0, "k" + i, phase + " " + i + filler(500)));
        }
    }

    static void groups(int phase) throws Exception {
        for (String protocol : classic ? List.of("classic") : List.of("classic", "consumer")) {
            Map<String, Object> c = Map.of("bootstrap.servers", bootstrap, "group.id", "g-" + protocol, "group.protocol", protocol,
                "auto.offset.reset", "earliest", "enable.auto.commit", "false");
            try (var consumer = new KafkaConsumer<>(c, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                consumer.subscribe(List.of("plain", "log-append"));
                int n = 0;
                for (long end = System.nanoTime() + 60_000_000_000L; n < 800; ) {
                    n += consumer.poll(Duration.ofMillis(200)).count();
                    if (System.nanoTime() > end) throw new IllegalStateException("group " + protocol + " got " + n);
                }
                consumer.commitSync();
            }
        }
        admin.alterConsumerGroupOffsets("g-manual", Map.of(new TopicPartition("tx", 0), new OffsetAndMetadata(7L + phase, Optional.of(0), "by hand"))).all().get();
        if (phase == 1) {
            admin.alterClientQuotas(List.of(new ClientQuotaAlteration(new ClientQuotaEntity(Map.of("client-id", "slow")),
                List.of(new ClientQuotaAlteration.Op("consumer_byte_rate", 12345.0))))).all().get();
        }
    }

    static void say(Object... words) {
        StringBuilder b = new StringBuilder();
        for (Object w : words) b.append(b.isEmpty() ? "" : " ").append(w);
        System.out.println(b);
    }

    static class Content {
        int count;
        String digest;
    }

    /** All that a consumer sees of a partition. */
    static Content read(TopicPartition p, String isolation) throws Exception {
        Map<String, Object> c = Map.of("bootstrap.servers", bootstrap, "isolation.level", isolation, "auto.offset.reset", "earliest", "enable.auto.commit", "false");
        Content out = new Content();
        MessageDigest d = MessageDigest.getInstance("SHA-256");
        try (var consumer = new KafkaConsumer<>(c, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(p));
            consumer.seekToBeginning(List.of(p));
            long end = consumer.endOffsets(List.of(p)).get(p), until = System.nanoTime() + 60_000_000_000L;
            while (consumer.position(p) < end) {
                for (var r : consumer.poll(Duration.ofMillis(200))) {
                    out.count++;
                    d.update((r.offset() + " " + r.timestamp() + " " + r.timestampType() + " ").getBytes());
                    for (byte[] b : new byte[][] {r.key(), r.value()}) d.update(b == null ? new byte[] {0} : b);
                    for (Header h : r.headers()) {
                        d.update(h.key().getBytes());
                        if (h.value() != null) d.update(h.value());
                    }
                }
                if (System.nanoTime() > until) throw new IllegalStateException(p + " ends at " + end + ", but nothing comes from " + consumer.position(p));
            }
        }
        out.digest = HexFormat.of().formatHex(d.digest()).substring(0, 16);
        return out;
    }

    static void portrait() throws Exception {
        say("cluster", admin.describeCluster().clusterId().get());
        say("features", new TreeMap<>(admin.describeFeatures().featureMetadata().get().finalizedFeatures()));
        TreeSet<String> names = new TreeSet<>(admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get());
        var topics = admin.describeTopics(names).allTopicNames().get();
        List<ConfigResource> resources = new ArrayList<>();
        for (String name : names) {
            say("topic", name, topics.get(name).topicId(), "partitions", topics.get(name).partitions().size());
            resources.add(new ConfigResource(ConfigResource.Type.TOPIC, name));
            if (!name.startsWith("__"))
                for (int i = 0; i < topics.get(name).partitions().size(); i++) partition(new TopicPartition(name, i));
        }
        resources.add(new ConfigResource(ConfigResource.Type.BROKER, "1"));
        if (!classic) resources.add(new ConfigResource(ConfigResource.Type.GROUP, "g-consumer"));
        configs(resources);
        for (var g : new TreeMap<>(byId(admin.listGroups().all().get())).values()) {
            say("group", g.groupId(), g.type().map(Object::toString).orElse("?"), g.groupState().map(Object::toString).orElse("?"));
            var offsets = admin.listConsumerGroupOffsets(g.groupId()).partitionsToOffsetAndMetadata().get();
            for (var e : new TreeMap<>(byText(offsets)).entrySet()) say("  offset", e.getKey(), e.getValue());
        }
        var transactions = new TreeMap<String, TransactionListing>();
        for (var t : admin.listTransactions().all().get()) transactions.put(t.transactionalId(), t);
        for (String id : transactions.keySet()) {
            var t = admin.describeTransactions(List.of(id)).description(id).get();
            say("transaction", id, t.state(), t.producerId(), t.producerEpoch(), t.transactionTimeoutMs(), new TreeSet<>(byText(toMap(t.topicPartitions())).keySet()));
        }
    }

    static Map<TopicPartition, Boolean> toMap(Set<TopicPartition> s) {
        Map<TopicPartition, Boolean> m = new HashMap<>();
        for (var p : s) m.put(p, true);
        return m;
    }

    static Map<String, GroupListing> byId(Collection<GroupListing> all) {
        Map<String, GroupListing> m = new HashMap<>();
        for (var g : all) m.put(g.groupId(), g);
        return m;
    }

    static <K, V> Map<String, V> byText(Map<K, V> in) {
        Map<String, V> m = new HashMap<>();
        for (var e : in.entrySet()) m.put(e.getKey().toString(), e.getValue());
        return m;
    }

    static void partition(TopicPartition p) throws Exception {
        long first = offset(p, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED), last = offset(p, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED);
        say("  offsets", p, first, last, "stable", offset(p, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED), "youngest",
            offset(p, OffsetSpec.maxTimestamp(), IsolationLevel.READ_UNCOMMITTED));
        for (String isolation : List.of("read_uncommitted", "read_committed")) {
            Content c = read(p, isolation);
            say("  records", p, isolation, c.count, c.digest);
        }
        var producers = new TreeMap<Long, ProducerState>();
        for (var s : admin.describeProducers(List.of(p)).all().get().get(p).activeProducers()) producers.put(s.producerId(), s);
        for (var s : producers.values())
            say("  producer", p, s.producerId(), s.producerEpoch(), s.lastSequence(), s.lastTimestamp(), s.coordinatorEpoch().orElse(-1), s.currentTransactionStartOffset().orElse(-1));
    }

    static long offset(TopicPartition p, OffsetSpec spec, IsolationLevel level) throws Exception {
        return admin.listOffsets(Map.of(p, spec), new ListOffsetsOptions(level)).partitionResult(p).get().offset();
    }

    static void configs(List<ConfigResource> resources) throws Exception {
        var sources = EnumSet.of(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, ConfigEntry.ConfigSource.DYNAMIC_BROKER_CONFIG,
            ConfigEntry.ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG, ConfigEntry.ConfigSource.DYNAMIC_GROUP_CONFIG);
        for (var e : admin.describeConfigs(resources).all().get().entrySet().stream().sorted(Comparator.comparing(e -> e.getKey().toString())).toList()) {
            TreeMap<String, String> own = new TreeMap<>();
            for (var c : e.getValue().entries()) if (sources.contains(c.source())) own.put(c.name(), c.value());
            say("config", e.getKey().type(), e.getKey().name(), own);
        }
    }

    static void quotas() throws Exception {
        try {
            say("quotas", admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get());
        } catch (ExecutionException e) {
            if (!(e.getCause() instanceof UnsupportedVersionException)) throw e;
            say("quotas: not served");
        }
    }
}
