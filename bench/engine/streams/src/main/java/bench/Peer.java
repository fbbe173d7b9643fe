package bench;

import java.io.FileReader;
import java.io.IOException;
import java.util.HexFormat;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The job on Kafka Streams: one answer for each event, of the same account's earlier events in the same five minutes.
 *
 * <p>Usage: Peer PROPERTIES BOOTSTRAP FROM TO memory|rocksdb HEADER(hex) STATE_FOLDER [NAME=VALUE...]. Exactly once: what it
 * keeps is logged to a topic of its own, in the transaction that holds the answers and the offsets.
 */
public final class Peer {
  private static final String STORE = "windows";

  public static void main(String[] given) throws IOException {
    Properties settings = new Properties();
    try (FileReader file = new FileReader(given[0])) {
      settings.load(file);
    }
    settings.put("bootstrap.servers", given[1]);
    settings.put("application.id", given[3] + ".peer");
    settings.put("state.dir", given[6]);
    for (int i = 7; i < given.length; i++) {
      settings.put(given[i].split("=", 2)[0], given[i].split("=", 2)[1]);
    }
    KeyValueBytesStoreSupplier kept =
        given[4].equals("memory") ? Stores.inMemoryKeyValueStore(STORE) : Stores.persistentKeyValueStore(STORE);
    StreamsBuilder builder = new StreamsBuilder();
    builder.addStateStore(
        Stores.keyValueStoreBuilder(kept, Serdes.String(), Window.serde()).withCachingDisabled());
    builder.stream(given[2], Consumed.with(Serdes.String(), Serdes.serdeFrom((t, v) -> null, new Trade.Reader())))
        .process(Answering::new, STORE)
        .to(given[3], Produced.with(Serdes.String(), Serdes.serdeFrom(new Answer.Writer(HexFormat.of().parseHex(given[5])), (t, v) -> null)));
    KafkaStreams streams = new KafkaStreams(builder.build(), settings);
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse
              .SHUTDOWN_CLIENT;
        });
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
  }

  /** Answers, then adds the event. */
  private static final class Answering extends ContextualProcessor<String, Trade, String, Answer> {
    private KeyValueStore<String, Window> windows;

    @Override
    public void init(ProcessorContext<String, Answer> context) {
      super.init(context);
      windows = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<String, Trade> event) {
      Window window = windows.get(event.key());
      if (window == null) {
        window = new Window();
      }
      window.moveTo(event.value().at);
      context()
          .forward(
              event.withValue(
                  new Answer(
                      event.key(), event.value().at, window.count, window.sum, window.least, window.most)));
      window.add(event.value().price);
      windows.put(event.key(), window);
    }
  }
}
