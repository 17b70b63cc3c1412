/** Dead letters in a Delta table, by position and time: one that is written again replaces itself. */

import { DeltaTable, type MergeOptions, storedKey, type TableInfo } from '../delta/table.js'
import { KafkaToDeltaError } from '../errors.js'
import type { Logger } from '../log.js'
import { onAbort, unlessAborted } from '../waits.js'
import { type DeadLetter, type DeadLetterSink, inGroups } from './dead-letter.js'
import { DEAD_LETTER_KEY, deadLetterRows, POSITION } from './delta-rows.js'

/** After a stop, milliseconds in which letters are to be written. */
const STOP_MS = 5_000
/** Bounds of one commit: what it holds is copied. */
const MAX_LETTERS = 10_000
const MAX_BYTES = 16 * 1024 * 1024

export interface DeadLetterTable {
  readonly uri: string
  readonly storageOptions: Readonly<Record<string, string>>
}

/** What is needed of the open table: `DeltaTable`. */
export interface OpenedTable {
  info(): Promise<Pick<TableInfo, 'exists' | 'schemaJson' | 'properties'>>
  merge(changes: Uint8Array, options: MergeOptions): Promise<{ version: number }>
  close(): Promise<void>
}

export type OpenDeadLetterTable = (table: DeadLetterTable) => Promise<OpenedTable>

const openTable: OpenDeadLetterTable = ({ uri, storageOptions }) =>
  DeltaTable.open({
    path: uri,
    storageOptions,
    description: 'Records that kafka2delta could not apply',
  })

/** An open table, and what its letters are keyed by. */
interface KeyedLetters {
  readonly table: OpenedTable
  readonly key: readonly string[]
}

/** Tables that are open in this process, with how many sinks use them. */
const shared = new Map<string, { users: number; letters: Promise<KeyedLetters> }>()

const identity = ({ uri, storageOptions }: DeadLetterTable): string =>
  JSON.stringify([uri, Object.entries(storageOptions).sort()])

async function acquire(of: DeadLetterTable, open: OpenDeadLetterTable): Promise<KeyedLetters> {
  const id = identity(of)
  let entry = shared.get(id)
  if (!entry) {
    entry = { users: 0, letters: checked(of, open) }
    shared.set(id, entry)
  }
  entry.users++
  try {
    return await entry.letters
  } catch (error) {
    // What could not be opened is opened anew by the next try.
    if (shared.get(id) === entry) shared.delete(id)
    throw error
  }
}

async function release(of: DeadLetterTable): Promise<void> {
  const id = identity(of)
  const entry = shared.get(id)
  if (!entry || --entry.users > 0) return
  shared.delete(id)
  await (await entry.letters).table.close()
}

/** Opens the table, and refuses one that holds something else. */
async function checked(of: DeadLetterTable, open: OpenDeadLetterTable): Promise<KeyedLetters> {
  const table = await open(of)
  try {
    const { exists, schemaJson, properties } = await table.info()
    if (exists && schemaJson !== null) {
      const { fields = [] } = JSON.parse(schemaJson) as { fields?: { name: string }[] }
      const names = new Set(fields.map(({ name }) => name))
      const missing = [...DEAD_LETTER_KEY, 'reason', 'error_code'].filter((name) => !names.has(name))
      if (missing.length > 0) {
        throw new KafkaToDeltaError(
          'TABLE_UNSUPPORTED',
          `the Delta table at deadLetter.path holds something else than dead letters (it has no column ` +
            `${missing.join(', ')}): give dead letters a path of their own`,
          { table: of.uri },
        )
      }
    }
    return { table, key: keyOf(properties) }
  } catch (error) {
    await table.close().catch(() => {})
    throw error
  }
}

/** A table keeps the key that it was made with: one that an older version made has the position alone. */
function keyOf(properties: TableInfo['properties']): readonly string[] {
  return storedKey({ properties }).join() === POSITION.join() ? POSITION : DEAD_LETTER_KEY
}

export class DeltaDeadLetters implements DeadLetterSink {
  readonly target: string
  readonly #of: DeadLetterTable
  readonly #logger: Logger
  readonly #open: OpenDeadLetterTable
  #letters: Promise<KeyedLetters> | null = null

  constructor(of: DeadLetterTable, logger: Logger, open: OpenDeadLetterTable = openTable) {
    this.target = of.uri
    this.#of = of
    this.#logger = logger
    this.#open = open
  }

  /** Nothing is opened before the first letter. */
  async check(): Promise<void> {}

  async write(letters: readonly DeadLetter[], stopping?: AbortSignal): Promise<void> {
    if (letters.length === 0) return
    const cutOff = new AbortController()
    let timer: NodeJS.Timeout | undefined
    const ended = onAbort(stopping, () => {
      timer = setTimeout(() => cutOff.abort(new KafkaToDeltaError('CANCELLED', 'the table was stopped')), STOP_MS)
    })
    try {
      await this.#write(letters, cutOff.signal)
    } finally {
      ended()
      clearTimeout(timer)
    }
  }

  async #write(letters: readonly DeadLetter[], signal: AbortSignal): Promise<void> {
    const { table, key } = await unlessAborted(this.#acquired(), signal)
    for (const group of inGroups(letters, MAX_LETTERS, MAX_BYTES)) {
      const ipc = deadLetterRows(group, Date.now())
      const merging = table.merge(ipc, { primaryKey: key, transfer: true, signal })
      const { version } = await unlessAborted(merging, signal)
      this.#logger.debug({ deadLetter: this.target, version, letters: group.length }, 'dead letters were committed')
    }
  }

  async close(): Promise<void> {
    const letters = this.#letters
    this.#letters = null
    if (letters === null) return
    const opened = await letters.then(
      () => true,
      () => false,
    )
    if (opened) await release(this.#of)
  }

  #acquired(): Promise<KeyedLetters> {
    if (this.#letters) return this.#letters
    const letters = acquire(this.#of, this.#open)
    this.#letters = letters
    letters.catch(() => {
      if (this.#letters === letters) this.#letters = null
    })
    return letters
  }
}
