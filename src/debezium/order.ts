/**
 * The ordering value `_seq` and its epoch: where a streamed change stands among those of other partitions.
 *
 * The value has 24 bytes: 16 that order transactions, and 8 that tell the changes of a transaction apart and order
 * nothing. It is given only where the stream proves that the change is streamed, not from a snapshot, and where the
 * position is complete.
 */

import { createHash } from 'node:crypto'
import { NUMBERS, type NumberName, type RowState, TEXTS, type TextName } from './row-state.js'

export const SEQ_SIZE = 24

/** How a source numbers its changes. */
export type SequenceKind = 'postgres' | 'mysql' | 'sqlserver' | 'oracle'

type FieldName = TextName | NumberName

/** The fields that each kind must have. */
const NEEDS: Record<SequenceKind, FieldName[]> = {
  postgres: ['sequence'],
  mysql: ['file', 'pos', 'row', 'server_id'],
  sqlserver: ['commit_lsn'],
  oracle: ['commit_scn'],
}

/** Fields that each kind reads where they are there. */
const WANTS: Record<SequenceKind, FieldName[]> = {
  postgres: [],
  mysql: ['gtid'],
  sqlserver: ['change_lsn', 'event_serial_no'],
  oracle: ['scn', 'rs_id', 'ssn'],
}

/** Fields of the epoch. */
const EPOCH_FIELDS: TextName[] = ['connector', 'name', 'db']

/** The kind whose fields are all there, or null. MySQL's `sequence` is always null: its own fields decide first. */
export function sequenceKindOf(has: (field: FieldName) => boolean): SequenceKind | null {
  for (const kind of ['mysql', 'sqlserver', 'oracle', 'postgres'] as const) if (NEEDS[kind].every(has)) return kind
  return null
}

export function fieldsOf(kind: SequenceKind): FieldName[] {
  return [...NEEDS[kind], ...WANTS[kind], ...EPOCH_FIELDS]
}

const T = Object.fromEntries(TEXTS.map((name, i) => [name, i])) as Record<TextName, number>
const N = Object.fromEntries(NUMBERS.map((name, i) => [name, i])) as Record<NumberName, number>

const FALSE = Buffer.from('false')
const OP_READ = 'r'.charCodeAt(0)

function textIs(bytes: Uint8Array, at: number, length: number, wanted: Uint8Array): boolean {
  if (length !== wanted.length) return false
  for (let i = 0; i < length; i++) if (bytes[at + i] !== wanted[i]) return false
  return true
}

/**
 * Whether the change is proven to be streamed, by `op` and `source.snapshot`, as far as the schema has them. Debezium
 * leaves `snapshot` out of streamed rows, or says 'false'. A streamed operation that says it is of a snapshot proves
 * nothing.
 */
export function isStreamed(bytes: Uint8Array, state: RowState, hasOp: boolean, hasSnapshot: boolean): boolean {
  if (!hasOp && !hasSnapshot) return false
  if (hasOp && (state.op === 0 || state.op === OP_READ)) return false
  const length = state.textLength[T.snapshot] as number
  return !hasSnapshot || length < 0 || textIs(bytes, state.textAt[T.snapshot] as number, length, FALSE)
}

/** An epoch's hash: its low word and its high one. */
export type EpochHash = readonly [low: number, high: number]

/** The epoch of sequences that are the timestamps of a topic's messages. */
export function epochOfTimes(topic: string): EpochHash {
  return hashOf('timestamps', topic)
}

function hashOf(kind: string, ...parts: (string | Buffer)[]): EpochHash {
  const hash = createHash('sha256').update(`${kind}\0`)
  for (const part of parts) hash.update(part)
  const digest = hash.digest()
  return [digest.readInt32LE(0), digest.readInt32LE(4)]
}

function isTime(timestamp: number): boolean {
  return Number.isSafeInteger(timestamp) && timestamp >= 0
}

/** Collects `_seq`, `_epoch` and `_timestamp` of a batch. */
export class Sequences {
  bytes: Buffer = Buffer.alloc(0)
  valid: Uint8Array = new Uint8Array(0)
  /** Two words per row, the low one first. */
  epochs: Int32Array = new Int32Array(0)
  /** Of the messages, in milliseconds since 1970; -1 where it is not known. */
  timestamps: Float64Array = new Float64Array(0)
  any = false

  get heldBytes(): number {
    const { bytes, valid, epochs, timestamps } = this
    return bytes.byteLength + valid.byteLength + epochs.byteLength + timestamps.byteLength
  }

  reset(rows: number): void {
    this.bytes = Buffer.alloc(rows * SEQ_SIZE)
    this.valid = new Uint8Array(rows)
    this.epochs = new Int32Array(rows * 2)
    this.timestamps = new Float64Array(rows).fill(-1)
    this.any = false
  }

  /** Whether the batch has an order at all. */
  get isKept(): boolean {
    return this.valid.length > 0
  }

  clear(row: number): void {
    if (row >= this.valid.length) return
    this.valid[row] = 0
    this.bytes.fill(0, row * SEQ_SIZE, (row + 1) * SEQ_SIZE)
  }

  setTimestamp(row: number, timestamp: number): void {
    this.timestamps[row] = isTime(timestamp) ? timestamp : -1
  }

  /** Gives a row that has no sequence one that is the message's timestamp, in an epoch of such. */
  setTimeAsSequence(row: number, timestamp: number, [low, high]: EpochHash): void {
    if (this.valid[row] === 1 || !isTime(timestamp)) return
    const seq = Buffer.alloc(SEQ_SIZE)
    writeLong(seq, 0, timestamp)
    this.set(row, seq, low, high)
  }

  /** Gives the row `to` the order of the row `from`. */
  copy(from: number, to: number): void {
    this.timestamps[to] = this.timestamps[from] as number
    if (this.valid[from] !== 1) return
    const seq = this.bytes.subarray(from * SEQ_SIZE, (from + 1) * SEQ_SIZE)
    this.set(to, seq, this.epochs[from * 2] as number, this.epochs[from * 2 + 1] as number)
  }

  /** Gives `row` a sequence. */
  set(row: number, seq: Uint8Array, low: number, high: number): void {
    this.bytes.set(seq, row * SEQ_SIZE)
    this.epochs[row * 2] = low
    this.epochs[row * 2 + 1] = high
    this.valid[row] = 1
    this.any = true
  }
}

/** Reads the sequence of a change from its message and state. */
export class SequenceReader {
  readonly #epoch: Epoch
  readonly kind: SequenceKind

  /** @param topic the only one within which positions are to compare; null where all that the source tells count */
  constructor(kind: SequenceKind, topic: string | null) {
    this.kind = kind
    this.#epoch = new Epoch(kind, topic)
  }

  /** Writes the row's value to `out`, where it is complete. */
  read(bytes: Buffer, state: RowState, out: Sequences, row: number): void {
    const at = row * SEQ_SIZE
    if (!this.#write(bytes, state, out.bytes, at)) {
      out.clear(row)
      return
    }
    this.#epoch.write(bytes, state, out.epochs, row * 2)
    out.valid[row] = 1
    out.any = true
  }

  #write(bytes: Buffer, state: RowState, out: Buffer, at: number): boolean {
    switch (this.kind) {
      case 'postgres':
        return writeSequence(bytes, state.textAt[T.sequence] as number, state.textLength[T.sequence] as number, out, at)
      case 'mysql':
        return writeBinlog(bytes, state, out, at)
      case 'sqlserver':
        writeHash(bytes, state, [T.change_lsn], [N.event_serial_no], out, at + 16)
        return writeHex(bytes, state, T.commit_lsn, SQLSERVER_PARTS, 0x3a, out, at)
      case 'oracle':
        writeHash(bytes, state, [T.scn, T.rs_id], [N.ssn], out, at + 16)
        return writeText(bytes, state, T.commit_scn, out, at)
    }
  }
}

/** The number that ends a text field: where it begins, and where it ends. The same, where none does. */
function lastNumber(bytes: Buffer, state: RowState, index: number): [number, number] {
  const from = state.textAt[index] as number
  const end = from + Math.max(state.textLength[index] as number, 0)
  let first = end
  while (first > from && isDigit(bytes[first - 1])) first--
  return [first, end]
}

/**
 * The binary log's file and position. A GTID orders the transactions of its server whichever server's log they are read
 * from, where files and positions mean nothing on another one: so it takes their place.
 */
function writeBinlog(bytes: Buffer, state: RowState, out: Buffer, at: number): boolean {
  if (state.hasNumber[N.server_id] !== 1) return false
  const hasGtid = (state.textLength[T.gtid] as number) > 0
  const [first, end] = lastNumber(bytes, state, hasGtid ? T.gtid : T.file)
  if (first === end || !writeDecimal(bytes, first, end, out, at)) return false
  writeHash(bytes, state, hasGtid ? [T.file] : [], hasGtid ? [N.pos, N.row] : [N.row], out, at + 16)
  return hasGtid || writeNumber(state, N.pos, out, at + 8)
}

/** Eight bytes that differ where the fields do (FNV-1a, twice). */
function writeHash(
  bytes: Buffer,
  state: RowState,
  texts: readonly number[],
  numbers: readonly number[],
  out: Buffer,
  at: number,
): void {
  let a = 0x811c9dc5
  let b = 0x050c5d1f
  const mix = (byte: number) => {
    a = Math.imul(a ^ byte, 0x01000193)
    b = Math.imul(b ^ byte, 0x01000193) ^ (a >>> 15)
  }
  for (const index of texts) {
    const length = state.textLength[index] as number
    const from = state.textAt[index] as number
    for (let i = 0; i < length; i++) mix(bytes[from + i] as number)
    mix(0xff)
  }
  for (const index of numbers) {
    if (state.hasNumber[index] !== 1) continue
    for (const word of [state.numberLow[index] as number, state.numberHigh[index] as number]) {
      for (let shift = 0; shift < 32; shift += 8) mix((word >>> shift) & 0xff)
    }
  }
  writeWord(out, at, a)
  writeWord(out, at + 4, b)
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 48 && byte <= 57
}

/** Writes digits as an unsigned 64-bit number. */
function writeDecimal(bytes: Buffer, from: number, to: number, out: Buffer, at: number): boolean {
  if (to - from > 20 || to <= from) return false
  if (to - from > 15) {
    const text = bytes.toString('latin1', from, to)
    if (!/^\d+$/.test(text)) return false
    const value = BigInt(text)
    if (value > 0xffffffffffffffffn) return false
    out.writeBigUInt64BE(value, at)
    return true
  }
  let value = 0
  for (let i = from; i < to; i++) {
    if (!isDigit(bytes[i])) return false
    value = value * 10 + ((bytes[i] as number) - 48)
  }
  writeLong(out, at, value)
  return true
}

/** Writes a safe integer as an unsigned 64-bit number. */
function writeLong(out: Buffer, at: number, value: number): void {
  const high = Math.floor(value / 4294967296)
  writeWord(out, at, high)
  writeWord(out, at + 4, value - high * 4294967296)
}

function writeWord(out: Buffer, at: number, word: number): void {
  out[at] = word >>> 24
  out[at + 1] = word >>> 16
  out[at + 2] = word >>> 8
  out[at + 3] = word
}

/** A number of the state as unsigned 64 bits; a negative one is none. */
function writeNumber(state: RowState, index: number, out: Buffer, at: number): boolean {
  const high = state.numberHigh[index] as number
  if (state.hasNumber[index] !== 1 || high < 0) return false
  writeWord(out, at, high)
  writeWord(out, at + 4, state.numberLow[index] as number)
  return true
}

/** A text of digits as an unsigned 64-bit number. */
function writeText(bytes: Buffer, state: RowState, index: number, out: Buffer, at: number): boolean {
  const from = state.textAt[index] as number
  return writeDecimal(bytes, from, from + (state.textLength[index] as number), out, at)
}

/**
 * Postgres' `sequence`, JSON text: the LSN of the last commit and the change's own, `["23376816","23377096"]`. The first
 * is null before a connector's first commit: then the change is not proven to be newer than anything.
 */
function writeSequence(bytes: Buffer, at: number, length: number, out: Buffer, outAt: number): boolean {
  if (length < 5 || bytes[at] !== 0x5b || bytes[at + length - 1] !== 0x5d) return false
  const end = at + length - 1
  let comma = at + 1
  while (comma < end && bytes[comma] !== 0x2c) comma++
  if (comma === end) return false
  return writeItem(bytes, at + 1, comma, out, outAt) && writeItem(bytes, comma + 1, end, out, outAt + 8)
}

function writeItem(bytes: Buffer, from: number, to: number, out: Buffer, at: number): boolean {
  while (from < to && bytes[from] === 0x20) from++
  while (from < to && bytes[to - 1] === 0x20) to--
  if (bytes[from] === 0x22 && bytes[to - 1] === 0x22) {
    from++
    to--
  }
  return writeDecimal(bytes, from, to, out, at)
}

/** Bytes of each part of an LSN `00000027:00000ac0:0002`. */
const SQLSERVER_PARTS = [4, 4, 2]

function writeHex(
  bytes: Buffer,
  state: RowState,
  index: number,
  parts: number[],
  separator: number,
  out: Buffer,
  at: number,
): boolean {
  let from = state.textAt[index] as number
  let to = from + (state.textLength[index] as number)
  while (from < to && bytes[from] === 0x20) from++
  while (from < to && bytes[to - 1] === 0x20) to--
  if (bytes[from] === 0x30 && ((bytes[from + 1] as number) | 0x20) === 0x78) from += 2
  for (let part = 0; part < parts.length; part++) {
    const size = parts[part] as number
    let value = 0
    let count = 0
    for (; from < to && bytes[from] !== separator; from++, count++) {
      const digit = Number.parseInt(String.fromCharCode(bytes[from] as number), 16)
      if (Number.isNaN(digit)) return false
      value = value * 16 + digit
    }
    if (count === 0 || count > size * 2 || (from === to) !== (part === parts.length - 1)) return false
    from++
    for (let i = size - 1; i >= 0; i--, value = Math.floor(value / 256)) out[at + i] = value & 0xff
    at += size
  }
  return true
}

/** The source epoch's hash; computed anew only when its parts change. */
class Epoch {
  #last: Buffer = Buffer.alloc(0)
  #known = false
  #low = 0
  #high = 0
  readonly #span: [number, number] = [0, 0]
  readonly #kind: SequenceKind
  readonly #topic: string | null

  constructor(kind: SequenceKind, topic: string | null) {
    this.#kind = kind
    this.#topic = topic
  }

  write(bytes: Buffer, state: RowState, out: Int32Array, at: number): void {
    if (!this.#known || !this.#isSame(bytes, state)) this.#compute(bytes, state)
    out[at] = this.#low
    out[at + 1] = this.#high
  }

  /** Compares the parts with those of the row before: each as its length and its bytes. */
  #isSame(bytes: Buffer, state: RowState): boolean {
    const last = this.#last
    let at = 0
    for (let part = 0; part < 4; part++) {
      const [from, length] = this.#part(bytes, state, part)
      if (last[at++] !== (length & 0xff)) return false
      for (let i = 0; i < length; i++) if (last[at++] !== bytes[from + i]) return false
    }
    if (this.#kind !== 'mysql') return true
    return (
      last.readInt32LE(at) === state.numberLow[N.server_id] &&
      last.readInt32LE(at + 4) === state.numberHigh[N.server_id]
    )
  }

  /** Position and length of a part: connector, name, database; of MySQL what precedes the number of its GTID or file. */
  #part(bytes: Buffer, state: RowState, part: number): [number, number] {
    const span = this.#span
    span[0] = 0
    span[1] = 0
    if (part === 3) {
      if (this.#kind !== 'mysql') return span
      const index = (state.textLength[T.gtid] as number) > 0 ? T.gtid : T.file
      span[0] = state.textAt[index] as number
      span[1] = lastNumber(bytes, state, index)[0] - span[0]
      return span
    }
    const index = T[EPOCH_FIELDS[part] as TextName]
    const length = state.textLength[index] as number
    if (length < 0) return span
    span[0] = state.textAt[index] as number
    span[1] = length
    return span
  }

  #compute(bytes: Buffer, state: RowState): void {
    const pieces: Buffer[] = []
    for (let part = 0; part < 4; part++) {
      const [from, length] = this.#part(bytes, state, part)
      pieces.push(Buffer.from([length & 0xff]), Buffer.from(bytes.subarray(from, from + length)))
    }
    if (this.#kind === 'mysql') {
      const server = Buffer.alloc(8)
      server.writeInt32LE(state.numberLow[N.server_id] as number, 0)
      server.writeInt32LE(state.numberHigh[N.server_id] as number, 4)
      pieces.push(server)
    }
    this.#last = Buffer.concat(pieces)
    this.#known = true
    const ofTopic = this.#topic === null ? [] : [this.#topic]
    ;[this.#low, this.#high] = hashOf(this.#kind, this.#last, ...ofTopic)
  }
}
