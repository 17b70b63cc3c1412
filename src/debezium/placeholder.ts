/** Debezium's placeholder for values that a change leaves out (unchanged TOAST columns), in all its forms. */
import { createHash } from 'node:crypto'
import { BytesBuilder, type ColumnBuilder, FixedBuilder, type ListBuilder, StructBuilder } from '../arrow/builders.js'
import { KafkaToDeltaError } from '../errors.js'

export const DEFAULT_PLACEHOLDER = '__debezium_unavailable_value'

/** The forms of one configured placeholder (`unavailable.value.placeholder`). */
export class Placeholder {
  /** As text, and as bytes. */
  readonly text: Buffer
  /** As the JSON text of a map that has it as its one key and value (hstore). */
  readonly json: Buffer
  /** As the text of a UUID. */
  readonly uuid: Buffer

  /**
   * @param configured the connector's setting; `hex:` and hexadecimal digits stand for bytes
   * @throws CONFIG_INVALID for an empty one, which empty values would be, and for digits that are none
   */
  constructor(configured: string = DEFAULT_PLACEHOLDER) {
    if (configured === '' || (configured.startsWith('hex:') && !/^hex:([0-9a-f]{2})+$/i.test(configured))) {
      throw new KafkaToDeltaError(
        'CONFIG_INVALID',
        `unavailableValuePlaceholder is ${JSON.stringify(configured)}: give text, or "hex:" and pairs of hexadecimal digits`,
      )
    }
    this.text = configured.startsWith('hex:') ? Buffer.from(configured.slice(4), 'hex') : Buffer.from(configured)
    const text = this.text.toString()
    this.json = Buffer.from(JSON.stringify({ [text]: text }))
    this.uuid = Buffer.from(nameUuid(this.text))
  }

  /** Whether the row's array or map, just appended to `list`, is the placeholder. */
  isIn(list: ListBuilder): boolean {
    const items = list.count - list.start
    const child: ColumnBuilder = list.child
    if (items === 1 && child instanceof BytesBuilder) {
      return isItem(child, list.start, this.text) || isItem(child, list.start, this.uuid)
    }
    if (items === 1 && child instanceof StructBuilder && list.type.kind === 'map') {
      const [key, value] = child.children
      return (
        key instanceof BytesBuilder &&
        value instanceof BytesBuilder &&
        isItem(key, list.start, this.text) &&
        isItem(value, list.start, this.text)
      )
    }
    return items === this.text.length && child instanceof FixedBuilder && this.areItems(child, list.start)
  }

  /** Whether the numbers from `start` are the placeholder's bytes, signed as Java's are. */
  private areItems(child: FixedBuilder, start: number): boolean {
    const { kind } = child.type
    const words = kind === 'long' ? 2 : kind === 'integer' || kind === 'date' ? 1 : 0
    if (words === 0) return false
    for (let i = 0; i < this.text.length; i++) {
      const value = child.i32[(start + i) * words] as number
      const high = words === 2 ? (child.i32[(start + i) * 2 + 1] as number) : value >> 31
      const byte = this.text[i] as number
      if (child.valid[start + i] !== 1 || high !== value >> 31) return false
      if (value !== byte && value !== byte - 256) return false
    }
    return true
  }
}

/** Whether the bytes at `pos` are `wanted`; the caller has compared the lengths. */
export function bytesEqual(bytes: Uint8Array, pos: number, wanted: Uint8Array): boolean {
  for (let i = wanted.length - 1; i >= 0; i--) if (bytes[pos + i] !== wanted[i]) return false
  return true
}

/** Whether the last value of `builder`, the item `index`, is `wanted`. */
function isItem(builder: BytesBuilder, index: number, wanted: Uint8Array): boolean {
  const start = builder.length - wanted.length
  return builder.valid[index] === 1 && start === builder.start && bytesEqual(builder.data, start, wanted)
}

/** Java's UUID.nameUUIDFromBytes. */
function nameUuid(name: Uint8Array): string {
  const hash = createHash('md5').update(name).digest()
  hash[6] = ((hash[6] as number) & 0x0f) | 0x30
  hash[8] = ((hash[8] as number) & 0x3f) | 0x80
  const hex = hash.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
