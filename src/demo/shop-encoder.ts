/** Rows of the shop as Kafka messages: Confluent's header, then Avro. */

import avro from 'avsc'

/** A row as it is kept: decimals as their unscaled integer, dates in days, timestamps in milliseconds. */
export type ShopRow = Record<string, number | string | null>

/** What Debezium adds to a row. */
export interface ChangeMetadata {
  deleted: boolean
  /** Milliseconds since 1970. */
  timestamp: number
  lsn: number
}

const SLAB_BYTES = 64 * 1024

/** Encodes by one schema under its id. Messages are slices of larger blocks: no buffer for each, unless it is larger. */
export class ConfluentEncoder {
  readonly #type: avro.Type
  readonly #id: number
  #slab = Buffer.allocUnsafe(SLAB_BYTES)
  #used = 0

  constructor(schema: object, id: number) {
    this.#type = avro.Type.forSchema(schema as avro.Schema)
    this.#id = id
  }

  encode(value: object): Buffer {
    let bytes = SLAB_BYTES
    for (;;) {
      const start = this.#used
      if (start + 5 < this.#slab.length) {
        this.#slab.writeUInt8(0, start)
        this.#slab.writeInt32BE(this.#id, start + 1)
        const end = this.#type.encode(value, this.#slab, start + 5)
        if (end > 0) {
          this.#used = end
          return this.#slab.subarray(start, end)
        }
        // It did not fit: so many bytes are missing.
        bytes = Math.max(bytes, this.#slab.length - start - end)
      }
      this.#slab = Buffer.allocUnsafe(bytes)
      this.#used = 0
    }
  }
}

/** An unscaled decimal as Connect writes it: the shortest two's complement, big endian. */
export function unscaledBytes(unscaled: number): Buffer {
  let length = 1
  while (unscaled < -(2 ** (8 * length - 1)) || unscaled >= 2 ** (8 * length - 1)) length++
  const bytes = Buffer.allocUnsafe(length)
  bytes.writeIntBE(unscaled, 0, length)
  return bytes
}

/** A row and its metadata as the record of the value schema. `decimals` names the columns that are decimals. */
export function valueRecord(row: ShopRow, decimals: readonly string[], metadata: ChangeMetadata): object {
  const record: Record<string, unknown> = { ...row }
  for (const column of decimals) record[column] = unscaledBytes(row[column] as number)
  record.__deleted = metadata.deleted ? 'true' : 'false'
  record.__timestamp = metadata.timestamp
  record.__log_sequence_number = metadata.lsn
  return record
}
