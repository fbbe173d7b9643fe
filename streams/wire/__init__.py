"""How values look on the wire: Avro, schemas, and the buffers that compiled code reads and writes."""
