package bench;

import java.io.IOException;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.util.Utf8;
import org.apache.kafka.common.serialization.Deserializer;

/** The two fields of an event that the job reads; all others are skipped, as code that Avro generates would. */
final class Trade {
  long at;
  double price;

  /** Reads the Avro single-object encoding: ten bytes of header, then the record. */
  static final class Reader implements Deserializer<Trade> {
    private static final int HEADER = 10;
    private BinaryDecoder decoder;

    @Override
    public Trade deserialize(String topic, byte[] bytes) {
      try {
        decoder = DecoderFactory.get().binaryDecoder(bytes, HEADER, bytes.length - HEADER, decoder);
        Trade trade = new Trade();
        decoder.skipString(); // account: the record's key
        decoder.skipString(); // symbol
        decoder.skipString(); // venue
        trade.price = decoder.readDouble();
        if (decoder.readIndex() == FEE_BRANCH) {
          decoder.readDouble(); // fee
        }
        decoder.readLong(); // quantity
        decoder.readLong(); // order
        decoder.readBoolean(); // is_buy
        decoder.skipString(); // note
        trade.at = decoder.readLong();
        return trade;
      } catch (IOException error) {
        throw new IllegalArgumentException("not a trade", error);
      }
    }

    private static final int FEE_BRANCH = 1; // of ["null", "double"]
  }
}
