/** What a change says about itself, beside the row: read by generated code, one object per plan. */

import type { ReaderCompiler } from '../avro/reader-compiler.js'
import { type AvroNode, type AvroRecord, withoutNull } from '../avro/schema.js'

/** Text fields; of each, the position in the message and the length, -1 for null. */
export const TEXTS = [
  'snapshot',
  'sequence',
  'file',
  'connector',
  'name',
  'db',
  'commit_lsn',
  'change_lsn',
  'scn',
  'commit_scn',
  'rs_id',
  'gtid',
] as const
/** Number fields. */
export const NUMBERS = ['pos', 'row', 'server_id', 'event_serial_no', 'ssn', 'ts_ms'] as const

export type TextName = (typeof TEXTS)[number]
export type NumberName = (typeof NUMBERS)[number]

export class RowState {
  /** 1 where the row is marked as deleted. */
  deleted = 0
  /** The character of `op`, 0 for none. */
  op = 0
  /** Position of `after`'s row, -1 for none. */
  afterAt = -1
  /** Position of `before`'s row, -1 for none. */
  beforeAt = -1
  readonly textAt = new Int32Array(TEXTS.length)
  readonly textLength = new Int32Array(TEXTS.length).fill(-1)
  readonly numberLow = new Int32Array(NUMBERS.length)
  readonly numberHigh = new Int32Array(NUMBERS.length)
  readonly hasNumber = new Uint8Array(NUMBERS.length)

  reset(): void {
    this.deleted = 0
    this.op = 0
    this.afterAt = -1
    this.beforeAt = -1
    this.textLength.fill(-1)
    this.hasNumber.fill(0)
  }
}

export type Capture = { flag: 'deleted' } | { flag: 'op' } | { text: TextName } | { number: NumberName }

/** Whether a field of this type can be captured so. */
export function canCapture(type: AvroNode, capture: Capture): boolean {
  const kind = withoutNull(type)?.kind
  if ('number' in capture) return kind === 'int' || kind === 'long'
  if ('flag' in capture && capture.flag === 'deleted') return kind === 'string' || kind === 'boolean'
  return kind === 'string'
}

/** Emits code that reads a field into the state instead of a column. The state is reset before each row. */
export function emitCapture(compiler: ReaderCompiler, type: AvroNode, capture: Capture, state: RowState): void {
  if (type.kind === 'union') {
    compiler.union(type.branches, (branch) => emitCapture(compiler, branch, capture, state), '')
    return
  }
  const x = compiler.constant(state)
  if ('number' in capture) {
    const at = NUMBERS.indexOf(capture.number)
    if (type.kind === 'long') compiler.long()
    else {
      compiler.int()
      compiler.emit('lo = n; hi = n >> 31')
    }
    compiler.emit(`${x}.numberLow[${at}] = lo; ${x}.numberHigh[${at}] = hi; ${x}.hasNumber[${at}] = 1`)
    return
  }
  if (type.kind === 'boolean') {
    compiler.emit(
      `b = buf[pos++]; if (b > 1) fault('a boolean that is neither 0 nor 1'); ${x}.deleted = b === 1 ? 1 : 0`,
    )
    return
  }
  compiler.length()
  if ('text' in capture) {
    const at = TEXTS.indexOf(capture.text)
    compiler.emit(`${x}.textAt[${at}] = pos; ${x}.textLength[${at}] = n`)
  } else if (capture.flag === 'op') compiler.emit(`${x}.op = n === 1 ? buf[pos] : 0`)
  else {
    const wanted = compiler.constant(Buffer.from('true'))
    compiler.emit(`${x}.deleted = n === 4 && bytesEqual(buf, pos, ${wanted}) ? 1 : 0`)
  }
  compiler.emit('pos += n')
}

/** The record behind a field, also where it may be null. */
export function recordOf(type: AvroNode | undefined): AvroRecord | null {
  const found = type === undefined ? null : withoutNull(type)
  return found?.kind === 'record' ? found : null
}
