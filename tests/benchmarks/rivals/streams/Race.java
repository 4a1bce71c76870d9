import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The same work in Kafka Streams, exactly_once_v2: the processor API, a persistent (RocksDB) store with its cache and changelog,
 * Jackson's streaming parser. `../spec.py` says what the work is. Told by the environment; arguments: threads, and how many
 * events to read first, with another application id, so that the virtual machine is warm.
 */
public final class Race {
    static final long DAY = 86_400_000L;
    static final String[] STAGES = {"contact", "mql", "sql"};
    static final double[] ENTER = {0, 25, 45};
    static final double[] LEAVE = {0, 18, 35};
    static final double[] POINTS = {1, 8, 1, 3, 5, 6, 20};
    static final double[] CAPS = {10, 24, 5, 9, 15, 12, 28};
    static final double[] HALF_LIVES = {14 * DAY, 7 * DAY, 14 * DAY, 14 * DAY, 14 * DAY, 14 * DAY, 14 * DAY};
    static final int REMEMBERED = 64;
    static final int WITHIN = 7;
    static final double ALLOWANCE = 1e-9;
    static final JsonFactory JSON = new JsonFactory();

    /** A lead, and how it is stored. */
    static final class State {
        long clock;
        int stage;
        int days;
        int sequence;
        final double[] sums = new double[POINTS.length];
        final ArrayList<String> ids = new ArrayList<>(REMEMBERED + 1);

        byte[] pack() {
            int size = 24 + 8 * sums.length;
            byte[][] raw = new byte[ids.size()][];
            for (int n = 0; n < raw.length; n++) {
                raw[n] = ids.get(n).getBytes(StandardCharsets.ISO_8859_1);
                size += 2 + raw[n].length;
            }
            ByteBuffer to = ByteBuffer.allocate(size);
            to.putLong(clock).putInt(stage).putInt(days).putInt(sequence).putInt(raw.length);
            for (double sum : sums) to.putDouble(sum);
            for (byte[] id : raw) to.putShort((short) id.length).put(id);
            return to.array();
        }

        static State unpack(byte[] packed) {
            ByteBuffer from = ByteBuffer.wrap(packed);
            State state = new State();
            state.clock = from.getLong();
            state.stage = from.getInt();
            state.days = from.getInt();
            state.sequence = from.getInt();
            int count = from.getInt();
            for (int n = 0; n < state.sums.length; n++) state.sums[n] = from.getDouble();
            for (int n = 0; n < count; n++) {
                int length = from.getShort();
                state.ids.add(new String(packed, from.position(), length, StandardCharsets.ISO_8859_1));
                from.position(from.position() + length);
            }
            return state;
        }

        double score() {
            double total = 0;
            for (int n = 0; n < sums.length; n++) total += Math.min(CAPS[n], POINTS[n] * sums[n]);
            int seen = Integer.bitCount(days);
            return total + (seen >= 5 ? 10 : seen >= 3 ? 5 : 0);
        }
    }

    /** What the rules look at. */
    static final class Event {
        String id;
        String type;
        String subject;
        long at;
        String pageType;

        static Event decode(byte[] value) throws Exception {
            Event event = new Event();
            try (JsonParser json = JSON.createParser(value)) {
                json.nextToken();
                while (json.nextToken() == JsonToken.FIELD_NAME) {
                    String name = json.currentName();
                    json.nextToken();
                    switch (name) {
                        case "id" -> event.id = json.getText();
                        case "type" -> event.type = json.getText();
                        case "subject" -> event.subject = json.getText();
                        case "time" -> event.at = Instant.parse(json.getText()).toEpochMilli();
                        case "data" -> {
                            while (json.nextToken() == JsonToken.FIELD_NAME) {
                                String inner = json.currentName();
                                json.nextToken();
                                if (inner.equals("page_type")) event.pageType = json.getText();
                                else json.skipChildren();
                            }
                        }
                        default -> json.skipChildren();
                    }
                }
            }
            return event;
        }
    }

    static int rule(String type) {
        return switch (type) {
            case "page.viewed" -> 0;
            case "email.opened" -> 2;
            case "email.clicked" -> 3;
            case "content.downloaded" -> 4;
            case "form.submitted" -> 5;
            case "webinar.attended" -> 6;
            default -> -1;
        };
    }

    /** Folds one event after the other. */
    static final class Scoring implements Processor<String, byte[], String, byte[]> {
        private final AtomicBoolean first;
        private final AtomicLong seen;
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, byte[]> leads;

        Scoring(AtomicBoolean first, AtomicLong seen) {
            this.first = first;
            this.seen = seen;
        }

        @Override
        public void init(ProcessorContext<String, byte[]> given) {
            context = given;
            leads = given.getStateStore("leads");
        }

        @Override
        public void process(Record<String, byte[]> record) {
            if (!first.get() && first.compareAndSet(false, true)) System.out.println("FIRST " + System.currentTimeMillis() / 1000.0);
            if (seen != null) seen.incrementAndGet();
            Event event;
            try {
                event = Event.decode(record.value());
            } catch (Exception err) {
                throw new IllegalArgumentException(err);
            }
            byte[] packed = leads.get(event.subject);
            State state = packed == null ? new State() : State.unpack(packed);
            if (packed == null) state.clock = event.at;
            if (state.ids.contains(event.id)) return;
            state.ids.add(event.id);
            if (state.ids.size() > REMEMBERED) state.ids.remove(0);
            if (event.at > state.clock) {
                for (int n = 0; n < state.sums.length; n++)
                    if (state.sums[n] != 0) state.sums[n] *= Math.pow(2, (state.clock - event.at) / HALF_LIVES[n]);
                long days = event.at / DAY - state.clock / DAY;
                state.days = event.at - state.clock < WITHIN * DAY ? state.days << days & (1 << WITHIN) - 1 : 0;
                state.clock = event.at;
                if (state.stage > 0) fall(state, event.subject, state.score(), record);
            }
            int rule = rule(event.type);
            if (rule >= 0) state.sums[rule] += Math.pow(2, (event.at - state.clock) / HALF_LIVES[rule]);
            if (rule == 0) {
                if ("pricing".equals(event.pageType)) state.sums[1] += Math.pow(2, (event.at - state.clock) / HALF_LIVES[1]);
                long ago = state.clock / DAY - event.at / DAY;
                if (ago < WITHIN) state.days |= 1 << ago;
            }
            double now = state.score();
            int before = state.stage;
            while (state.stage + 1 < STAGES.length && now >= ENTER[state.stage + 1] - ALLOWANCE)
                move(state, event.subject, state.stage + 1, now, record);
            if (state.stage == before) fall(state, event.subject, now, record);
            leads.put(event.subject, state.pack());
        }

        private void fall(State state, String lead, double now, Record<String, byte[]> record) {
            while (state.stage > 0 && now < LEAVE[state.stage] - ALLOWANCE) move(state, lead, state.stage - 1, now, record);
        }

        private void move(State state, String lead, int to, double now, Record<String, byte[]> record) {
            String type = to > state.stage ? "lead." + STAGES[to] : "lead.cooled";
            state.sequence++;
            String output = "{\"id\":\"" + lead + ":" + state.sequence + "\",\"type\":\"" + type + "\",\"subject\":\"" + lead
                + "\",\"time\":" + state.clock + ",\"data\":{\"from\":\"" + STAGES[state.stage] + "\",\"to\":\"" + STAGES[to]
                + "\",\"score\":" + now + "}}";
            state.stage = to;
            context.forward(new Record<>(lead, output.getBytes(StandardCharsets.UTF_8), record.timestamp()));
        }
    }

    static KafkaStreams streams(String id, int threads, String output, AtomicBoolean first, AtomicLong seen) {
        Map<String, String> told = System.getenv();
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, id);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, told.get("RACE_KAFKA"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, told.get("RACE_FOLDER"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, threads);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        settings.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
        Topology topology = new Topology();
        topology.addSource("log", Serdes.String().deserializer(), Serdes.ByteArray().deserializer(), told.get("RACE_INPUT"));
        topology.addProcessor("score", () -> new Scoring(first, seen), "log");
        topology.addStateStore(
            Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("leads"), Serdes.String(), Serdes.ByteArray())
                .withCachingEnabled().withLoggingEnabled(Map.of()), "score");
        topology.addSink("out", output, Serdes.String().serializer(), Serdes.ByteArray().serializer(), "score");
        return new KafkaStreams(topology, settings);
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> told = System.getenv();
        int threads = Integer.parseInt(arguments[0]);
        long warm = Long.parseLong(arguments[1]);
        String name = told.get("RACE_NAME");
        if (warm > 0) {
            AtomicLong seen = new AtomicLong();
            try (KafkaStreams before = streams(name + "-warm", threads, told.get("RACE_OUTPUT") + ".warm", new AtomicBoolean(true), seen)) {
                before.start();
                while (seen.get() < warm) Thread.sleep(50);
            }
        }
        KafkaStreams streams = streams(name, threads, told.get("RACE_OUTPUT"), new AtomicBoolean(), null);
        CountDownLatch end = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> { streams.close(); end.countDown(); }));
        streams.start();
        end.await();
    }
}
