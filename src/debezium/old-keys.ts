/** The keys that rows had before an update of their key, from the header that Debezium adds: Avro, or JSON. */
import type { Reader } from '../avro/compile.js'
import { fault, prefixSize, schemaIdOf, schemaName } from '../avro/wire.js'
import type { RawMessage } from '../kafka/micro-batch.js'
import { jsonKeyToAvro, OLD_KEY_HEADER } from './keys.js'
import type { TableLayout } from './layout.js'
import { NULL_PART, readAll } from './messages.js'
import type { Plan } from './plan.js'
import { headerBytes } from './schema-ids.js'

export class OldKeys {
  /** By schema id; null where such keys do not give all key columns. */
  private readers = new Map<number, Reader | null>()
  private version = -1

  constructor(
    private readonly layout: TableLayout,
    private readonly plans: ReadonlyMap<number, ReadonlyMap<number, Plan>>,
  ) {}

  /** Reads the header into `_old_key`, where the message has it. */
  read(plan: Plan, message: RawMessage, row: number): void {
    if (message.headers === undefined || message.headers[OLD_KEY_HEADER] === undefined) return
    const bytes = headerBytes(message, OLD_KEY_HEADER)
    if (bytes === null) return
    if (this.version !== this.layout.version) {
      this.readers = new Map()
      this.version = this.layout.version
    }
    const avroId = schemaIdOf(bytes)
    let from = plan
    let payload = bytes
    let start = prefixSize(bytes)
    if (avroId >= 0) {
      if (avroId !== plan.key?.schemaId) {
        const known = this.plans.get(avroId)?.get(NULL_PART)
        from = known ?? fault(`the old key in the header has the unknown schema id ${schemaName(avroId)}`)
      }
    } else {
      if (plan.key === null) return
      const avro = jsonKeyToAvro(plan.key.node, bytes.toString('utf8'))
      payload = avro
      start = 0
    }
    const cacheId = avroId >= 0 ? avroId : (plan.key?.schemaId ?? NULL_PART)
    let reader = this.readers.get(cacheId)
    if (reader === undefined) {
      reader = from.oldKeyReader()
      this.readers.set(cacheId, reader)
    }
    if (reader === null) return
    readAll(reader, payload, start, row)
    this.layout.oldKeyBuilder().valid[row] = 1
  }
}
