/** The bytes around and inside a message: Confluent's header, and Avro's variable-length numbers. */

/** A message that cannot be decoded. The caller knows its position. */
export class DecodeFault extends Error {
  readonly column: string | undefined

  constructor(reason: string, column?: string) {
    // A stack would cost more than the rest of the record, and tells nothing: generated code.
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(reason)
    Error.stackTraceLimit = limit
    this.column = column
  }
}

/** Throws a DecodeFault; in generated code. */
export function fault(reason: string, column?: string): never {
  throw new DecodeFault(reason, column)
}

/** Bytes before the Avro payload: a zero byte and the schema id. */
export const HEADER_SIZE = 5

/** A byte 1 and a schema's GUID, in a record header or before the payload. */
const GUID_SIZE = 17

/** Schema ids have 32 bits; what stands for a GUID begins above. */
const FIRST_GUID = 2 ** 32

/** GUIDs that are told apart, so that bytes which are none do not fill the memory. */
const MAX_GUIDS = 100_000

const guidNumbers = new Map<string, number>()
const guids: string[] = []

/** The number that stands for the GUID at `at` in this process; -1 beyond {@link MAX_GUIDS}. */
function numberOfGuid(bytes: Uint8Array, at: number): number {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset + at, GUID_SIZE - 1).toString('hex')
  const known = guidNumbers.get(hex)
  if (known !== undefined) return known
  if (guids.length >= MAX_GUIDS) return -1
  const number = FIRST_GUID + guids.length
  guidNumbers.set(hex, number)
  guids.push(hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'))
  return number
}

/** The GUID that {@link schemaIdOf} gave this number; null for a plain schema id. */
export function guidOf(id: number): string | null {
  return guids[id - FIRST_GUID] ?? null
}

/** A schema's id or GUID, for messages. */
export function schemaName(id: number): string {
  return guidOf(id) ?? String(id)
}

/** A schema's place in errors. A GUID is in their message alone. */
export function schemaPosition(id: number): { schemaId?: number } {
  return guidOf(id) === null ? { schemaId: id } : {}
}

/** Bytes before the Avro payload of a message that names its schema itself; the message begins at `start`. */
export function prefixSize(bytes: Uint8Array, start = 0, end = bytes.length): number {
  return start < end && bytes[start] === 1 ? GUID_SIZE : HEADER_SIZE
}

/** The schema id of a message, or -1 where it has no usable header ({@link headerProblem} says why). */
export function schemaIdOf(bytes: Uint8Array, start = 0, end = bytes.length): number {
  const size = end - start
  if (size < HEADER_SIZE) return -1
  const first = bytes[start]
  if (first === 1 && size >= GUID_SIZE) return numberOfGuid(bytes, start + 1)
  if (first !== 0) return -1
  const id =
    ((bytes[start + 1] as number) << 24) |
    ((bytes[start + 2] as number) << 16) |
    ((bytes[start + 3] as number) << 8) |
    (bytes[start + 4] as number)
  return id >= 0 ? id : -1
}

/** Why a message has no usable header, and the converter setting that mends it. `part` is `key` or `value`. */
export function headerProblem(bytes: Uint8Array, part: string): string {
  if (bytes.length === 0) return `the ${part} is empty: it lacks the header of Confluent's Avro format`
  const first = bytes[0] as number
  if (first === 0x7b || first === 0x5b) {
    return `the ${part} is JSON, not Avro: set ${part}.converter=io.confluent.connect.avro.AvroConverter in the connector`
  }
  if (first !== 0) {
    return `the ${part} does not begin with Confluent's header (first byte 0x${first.toString(16).padStart(2, '0')} instead of 0x00): set ${part}.converter=io.confluent.connect.avro.AvroConverter in the connector`
  }
  if (bytes.length >= 9 && bytes[1] === 0 && bytes[2] === 0 && bytes[3] === 0 && bytes[4] === 0) {
    return (
      `the ${part} has an 8-byte schema id, the default of Apicurio's converter: ` +
      `set ${part}.converter.apicurio.registry.as-confluent=true in the connector`
    )
  }
  if (bytes.length < HEADER_SIZE) return `the ${part} is ${bytes.length} bytes long, shorter than its header`
  return `the ${part} has an invalid schema id in its header`
}

/** Passes over an int or long. Returns the position after it; beyond the end where it is cut off. */
export function skipVarint(bytes: Uint8Array, pos: number): number {
  for (let n = 0; n < 10; n++) {
    // Beyond the end this is undefined, which has no bit set.
    if (((bytes[pos++] as number) & 0x80) === 0) return pos
  }
  return fault('a number longer than 10 bytes')
}

/** Reads a length at `pos` and returns the position after so many bytes. */
export function skipBytes(bytes: Uint8Array, pos: number, end: number): number {
  const length = readLength(bytes, pos, end)
  return length.next + length.value
}

const length = { value: 0, next: 0 }

/** Reads a length that must lie within the message. The result is one shared object. */
export function readLength(bytes: Uint8Array, pos: number, end: number): { value: number; next: number } {
  let byte = bytes[pos++] as number
  let n = byte & 0x7f
  if (byte & 0x80) {
    let shift = 7
    do {
      if (shift > 28) fault('a length beyond the end of the message')
      byte = bytes[pos++] as number
      if (shift === 28 && byte > 15) fault('a length beyond the end of the message')
      n |= (byte & 0x7f) << shift
      shift += 7
    } while (byte & 0x80)
  }
  if (n & 1) fault('a negative length')
  n >>>= 1
  if (n > end - pos) fault('the message ends before its value does')
  length.value = n
  length.next = pos
  return length
}

/**
 * Reads the number of items of an array's or map's block; passes over the block's size where it has one.
 * @param width the fewest bytes of an item. Items of 0 bytes need no passing over: their count is given as 1 at most.
 */
export function readBlockCount(bytes: Uint8Array, pos: number, end: number, width: number): typeof length {
  let low = 0
  let high = 0
  let shift = 0
  let byte = 0
  do {
    if (shift > 63) fault('a number longer than 10 bytes')
    byte = bytes[pos++] as number
    if (shift < 28) low |= (byte & 0x7f) << shift
    else high += (byte & 0x7f) * 2 ** (shift - 28)
    shift += 7
  } while (byte & 0x80)
  if (pos > end) fault('the message ends before its value does')
  // Zigzag: even is positive, odd is negative and followed by the block's size in bytes.
  const raw = (low & 0xfffffff) + high * 2 ** 28
  let count = raw % 2 === 0 ? raw / 2 : (raw + 1) / 2
  if (raw % 2 !== 0) pos = skipVarint(bytes, pos)
  if (width === 0) count = Math.min(count, 1)
  else if (count * width > end - pos) fault('an array or map with more items than the message has bytes')
  length.value = count
  length.next = pos
  return length
}
