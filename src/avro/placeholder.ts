/** Debezium's placeholder for values that a change leaves out (unchanged TOAST columns), in all its forms. */

import { createHash } from 'node:crypto'
import { KafkaToDeltaError } from '../errors.js'
import { type AvroNode, withoutNull } from './schema.js'
import { meaningOf } from './semantic-types.js'

/** The forms of one configured placeholder (`unavailable.value.placeholder`). */
export class Placeholder {
  /** The placeholder itself, which is also its form in a field of bytes. */
  readonly bytes: Buffer
  readonly #uuid: Buffer

  /**
   * @param configured the connector's setting; `hex:` and hexadecimal digits stand for bytes
   * @throws CONFIG_INVALID for an empty one, which empty values would be, and for digits that are none
   */
  constructor(configured: string) {
    if (configured === '' || (configured.startsWith('hex:') && !/^hex:([0-9a-f]{2})+$/i.test(configured))) {
      throw new KafkaToDeltaError(
        'CONFIG_INVALID',
        `unavailableValuePlaceholder is ${JSON.stringify(configured)}: give text, or "hex:" and pairs of hexadecimal digits`,
      )
    }
    this.bytes = configured.startsWith('hex:') ? Buffer.from(configured.slice(4), 'hex') : Buffer.from(configured)
    this.#uuid = Buffer.from(nameUuid(this.bytes))
  }

  /**
   * Its forms in a field of text or bytes. A text may hold bytes in the form that `binary.handling.mode` gives them,
   * and a map (PostgreSQL's hstore) as JSON.
   */
  formsOf(node: AvroNode): Buffer[] {
    const { bytes } = this
    if (node.kind !== 'string') return [bytes]
    const text = bytes.toString()
    const forms = [text, bytes.toString('base64'), urlSafeBase64(bytes), bytes.toString('hex')]
    if (node.connectName === 'io.debezium.data.Json') forms.push(JSON.stringify({ [text]: text }))
    return [...new Set(forms)].map((form) => Buffer.from(form))
  }

  /**
   * Its forms as an array or map, in the bytes that Avro's Java library writes: one item with the text, or one item for
   * each of its bytes. An array of truth values has no form: Debezium makes them all true, which may be a real value.
   */
  listsOf(node: AvroNode): Buffer[] {
    const { bytes } = this
    const uuid = this.#uuid
    if (node.kind === 'map') {
      const value = itemOfText(node.values, bytes)
      return value === null ? [] : [listOf([Buffer.concat([prefixed(bytes), value])])]
    }
    if (node.kind !== 'array') return []
    const ofTexts = [bytes, uuid].map((text) => itemOfText(node.items, text)).map((item) => [item])
    const ofBytes = [...bytes].map((byte) => itemOfByte(node.items, (byte << 24) >> 24))
    return [...ofTexts, ofBytes].filter((items) => items.every((item) => item !== null)).map(listOf)
  }
}

function urlSafeBase64(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('+', '-').replaceAll('/', '_')
}

/** An Avro int or long. */
function varint(value: number): Buffer {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0
  const bytes: number[] = []
  for (; rest > 127; rest >>>= 7) bytes.push((rest & 127) | 128)
  return Buffer.from([...bytes, rest])
}

function prefixed(bytes: Buffer): Buffer {
  return Buffer.concat([varint(bytes.length), bytes])
}

/** An array or map of one block. */
function listOf(items: (Buffer | null)[]): Buffer {
  return Buffer.concat([varint(items.length), ...(items as Buffer[]), varint(0)])
}

/** The item in the one branch of a union that is not null. */
function inUnion(node: AvroNode, item: (branch: AvroNode) => Buffer | null): Buffer | null {
  if (node.kind !== 'union') return item(node)
  const only = withoutNull(node)
  const encoded = only === null ? null : item(only)
  return encoded && Buffer.concat([varint(node.branches.indexOf(only as AvroNode)), encoded])
}

function itemOfText(node: AvroNode, text: Buffer): Buffer | null {
  return inUnion(node, (item) => {
    const isText = item.kind === 'string' || (item.kind === 'bytes' && meaningOf(item).is === 'plain')
    return isText ? prefixed(text) : null
  })
}

/** One byte as an item; decimals have it as their digits. */
function itemOfByte(node: AvroNode, byte: number): Buffer | null {
  return inUnion(node, (item) => {
    const unscaled = Buffer.from([2, byte & 255])
    switch (item.kind) {
      case 'int':
      case 'long':
        return varint(byte)
      case 'float':
        return Buffer.from(Float32Array.of(byte).buffer)
      case 'double':
        return Buffer.from(Float64Array.of(byte).buffer)
      case 'bytes':
        return meaningOf(item).is === 'decimal' ? unscaled : null
      case 'record':
        return meaningOf(item).is === 'variableDecimal' ? Buffer.concat([varint(0), unscaled]) : null
      default:
        return null
    }
  })
}

/** Whether the bytes at `pos` are `wanted`; the caller has compared the lengths. */
export function bytesEqual(bytes: Uint8Array, pos: number, wanted: Uint8Array): boolean {
  for (let i = wanted.length - 1; i >= 0; i--) if (bytes[pos + i] !== wanted[i]) return false
  return true
}

/** Java's UUID.nameUUIDFromBytes. */
function nameUuid(name: Uint8Array): string {
  const hash = createHash('md5').update(name).digest()
  hash[6] = ((hash[6] as number) & 0x0f) | 0x30
  hash[8] = ((hash[8] as number) & 0x3f) | 0x80
  const hex = hash.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
