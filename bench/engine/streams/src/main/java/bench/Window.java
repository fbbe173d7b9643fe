package bench;

import java.nio.ByteBuffer;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** What is kept of a key's present window of five minutes. */
final class Window {
  static final long LENGTH_US = 300_000_000L;

  long start;
  long count;
  double sum;
  double least;
  double most;

  /** Empties it where an event belongs to another window. */
  void moveTo(long at) {
    long begins = Math.floorDiv(at, LENGTH_US) * LENGTH_US;
    if (begins != start || count == 0) {
      start = begins;
      count = 0;
      sum = 0;
      least = Double.POSITIVE_INFINITY;
      most = Double.NEGATIVE_INFINITY;
    }
  }

  void add(double price) {
    count++;
    sum += price;
    least = Math.min(least, price);
    most = Math.max(most, price);
  }

  /** Forty bytes. */
  static Serde<Window> serde() {
    Deserializer<Window> reader =
        (topic, bytes) -> {
          if (bytes == null) {
            return null;
          }
          ByteBuffer from = ByteBuffer.wrap(bytes);
          Window window = new Window();
          window.start = from.getLong();
          window.count = from.getLong();
          window.sum = from.getDouble();
          window.least = from.getDouble();
          window.most = from.getDouble();
          return window;
        };
    return Serdes.serdeFrom(
        (topic, window) ->
            ByteBuffer.allocate(40)
                .putLong(window.start)
                .putLong(window.count)
                .putDouble(window.sum)
                .putDouble(window.least)
                .putDouble(window.most)
                .array(),
        reader);
  }
}
