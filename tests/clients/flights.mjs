// An application in another language: it produces boardings and consumes predictions, with kafkajs and avsc alone.
// Usage: node flights.mjs BOOTSTRAP PREFIX FLIGHT_ID...   (run where node_modules is; PREFIX is "flights", or "dev.flights")
import { createRequire } from "node:module";
const require = createRequire(`${process.cwd()}/`);
const avro = require("avsc");
const lz4 = require("lz4js");
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require("kafkajs");

// samestream compresses with LZ4, unless the property compression.type says otherwise; kafkajs knows only gzip by itself
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => Buffer.from(lz4.compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
});

const [bootstrap, prefix, ...flightIds] = process.argv.slice(2);
const boardingTopic = prefix.replace(/flights$/, "flights.boarding");
const kafka = new Kafka({ clientId: "other-language", brokers: bootstrap.split(","), logLevel: logLevel.ERROR });

// A value is C3 01, the schema's fingerprint (8 bytes), then the record; the schemas topic is keyed by the fingerprint in hex.
const fingerprintOf = (value) => value.subarray(2, 10).toString("hex");
const encode = (schema, record) =>
  Buffer.concat([Buffer.from([0xc3, 0x01]), Buffer.from(schema.fingerprint, "hex"), schema.type.toBuffer(record)]);

// Call `take` with every message of a topic from the start, until it returns true.
async function read(topic, take) {
  const consumer = kafka.consumer({ groupId: `${prefix}.other-language.${topic}`, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await new Promise((done, failed) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => failed(payload.error));
    consumer.run({ eachMessage: async ({ message }) => take(message) && done() }).catch(failed);
  });
  await consumer.disconnect();
}

const schemaText = avro.Type.forSchema({
  type: "record",
  name: "SchemaText",
  fields: ["fingerprint", "subject", "schema"].map((name) => ({ name, type: "string" })),
});
const schemas = new Map();
const wanted = [`${boardingTopic}-value`, "samestream.prediction"];
await read(`${prefix}.schemas`, ({ value }) => {
  const { fingerprint, subject, schema } = schemaText.fromBuffer(value.subarray(10));
  // unions of null and something are plain values in JavaScript; of text and number too
  const type = avro.Type.forSchema(JSON.parse(schema), { wrapUnions: false });
  schemas.set(subject, { fingerprint, type }).set(fingerprint, { fingerprint, type });
  return wanted.every((name) => schemas.has(name));
});

const producer = kafka.producer({ idempotent: true });
await producer.connect();
const boarding = schemas.get(`${boardingTopic}-value`);
await producer.send({
  topic: boardingTopic,
  messages: flightIds.map((flight_id, index) => ({
    key: flight_id,
    value: encode(boarding, {
      flight_id,
      carrier: "UA",
      origin: "EWR",
      dest: "SFO",
      tailnum: index % 2 ? null : "N14228",
      distance: 100.5 * (index + 1),
      scheduled_dep_hour: 10,
      at: Date.now() * 1000, // microseconds since 1970
    }),
  })),
});
await producer.disconnect();

const waiting = new Set(flightIds);
await read(`${prefix}.predictions.LateArrival`, ({ value }) => {
  const prediction = schemas.get(fingerprintOf(value)).type.fromBuffer(value.subarray(10));
  console.log(JSON.stringify(prediction));
  waiting.delete(prediction.entity);
  return waiting.size === 0;
});
