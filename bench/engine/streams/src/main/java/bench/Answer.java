package bench;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.serialization.Serializer;

/** What was known of the account just before one event. */
record Answer(String account, long at, long count, double sum, double least, double most) {

  /** Writes the Avro single-object encoding. */
  static final class Writer implements Serializer<Answer> {
    private final byte[] header;
    private final ByteArrayOutputStream out = new ByteArrayOutputStream(96);
    private BinaryEncoder encoder;

    Writer(byte[] header) {
      this.header = header;
    }

    @Override
    public byte[] serialize(String topic, Answer answer) {
      try {
        out.reset();
        out.write(header, 0, header.length);
        encoder = EncoderFactory.get().directBinaryEncoder(out, encoder);
        encoder.writeString(answer.account);
        encoder.writeLong(answer.at);
        encoder.writeLong(answer.count);
        boolean empty = answer.count == 0;
        number(empty, answer.sum);
        number(empty, answer.least);
        number(empty, answer.most);
        number(empty, answer.sum / answer.count);
        return out.toByteArray();
      } catch (IOException error) {
        throw new IllegalStateException(error);
      }
    }

    /** One of ["null", "double"]. */
    private void number(boolean isNull, double value) throws IOException {
      encoder.writeIndex(isNull ? 0 : 1);
      if (!isNull) {
        encoder.writeDouble(value);
      }
    }
  }
}
