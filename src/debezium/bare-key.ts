/** Keys that are one value, not a record: whether that is the value of the column which `primaryKey` takes it for. */

import type { AvroRecord } from '../avro/schema.js'
import { fault } from '../avro/wire.js'
import type { Message } from '../kafka/message.js'
import { KeySpans } from './envelope.js'
import type { KeyField, KeyShape } from './keys.js'
import type { TableLayout } from './layout.js'
import { payloadStart } from './schema-ids.js'

export class BareKey {
  /** The check for rows of this schema; null where the key has names of its own, or the row lacks the column. */
  static of(key: KeyShape, row: AvroRecord, layout: TableLayout): BareKey | null {
    const [only] = key.isBare ? key.fields : []
    const field = row.fields.find(({ name }) => layout.nameOf(name) === only?.column)
    if (only === undefined || field === undefined) return null
    const indexBytes = (node: KeyField['type']) => (node.kind === 'union' ? 1 : 0)
    return new BareKey(only.column, new KeySpans(row, new Map(), layout), indexBytes(only.type), indexBytes(field.type))
  }

  private constructor(
    private readonly column: string,
    private readonly spans: KeySpans,
    /** Bytes of the branch's number, where the key is a union, and where the column is one. */
    private readonly keyIndex: number,
    private readonly rowIndex: number,
  ) {}

  /** @throws DecodeFault where the row at `rowAt` has another value in the column than the key is */
  check(message: Message, rowAt: number): void {
    const { keyBytes, keyEnd, valueBytes, valueEnd } = message
    const [from = 0, to = 0] = this.spans.find(valueBytes, rowAt, valueEnd).at
    const keyAt = payloadStart(message, 'key') + this.keyIndex
    if (valueBytes.compare(keyBytes, keyAt, keyEnd, from + this.rowIndex, to) === 0) return
    fault(
      `the key is one value, which primaryKey takes for the column ${this.column}, but the row has another value there: have ` +
        'the connector write keys that name their columns (message.key.columns), or name all columns in primaryKey ' +
        'that tell a row from others, two or more: they are read from the row',
      this.column,
    )
  }
}
