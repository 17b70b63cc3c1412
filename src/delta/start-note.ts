/**
 * Where the partitions of a topic start, kept before the table itself can keep it: a Delta table is made by its first row. The
 * note is a small Delta table of its own, in the folder {@link NOTE_FOLDER} of the table's, which neither readers nor vacuum
 * look into. Its offsets count, by the same app ids as the table's; its rows say the same to people. Once the table holds
 * offsets, nobody reads the note.
 */

import { tableFromArrays } from 'apache-arrow'
import { KafkaToDeltaError } from '../errors.js'
import { entriesByPartition, entryPrefix } from './offset-entries.js'
import { DeltaTable } from './table.js'

export const NOTE_FOLDER = '_kafka2delta_starts'

/** Partition to the first offset to be read. */
export type Starts = ReadonlyMap<number, bigint>

export interface StartNoteOptions {
  /** Of the table. */
  uri: string
  /** Asked each time that the note is opened: credentials may end. */
  storageOptions: () => Promise<Readonly<Record<string, string>>>
  queryName: string
  topic: string
  /** Ends what it does. */
  signal?: AbortSignal
}

export class StartNote {
  readonly #of: StartNoteOptions
  readonly #prefix: string

  constructor(of: StartNoteOptions) {
    this.#of = of
    this.#prefix = entryPrefix(of.queryName, of.topic)
  }

  /** What is kept; nothing where there is no note. Writes nothing. */
  async read(): Promise<Starts> {
    return this.#opened((note) => this.#startsOf(note))
  }

  /**
   * Keeps starts in one commit.
   * @param known what the note is known to hold: where it holds something else, another worker was first, and that counts
   * @returns what is kept then
   */
  async keep(starts: Starts, known: Starts): Promise<Starts> {
    return this.#opened(async (note) => {
      const kept = await this.#startsOf(note)
      const due = [...starts].filter(([partition]) => kept.get(partition) === known.get(partition))
      if (due.length === 0) return kept
      const offsets = due.map(([partition, start]) => {
        const before = kept.get(partition)
        const expected = before === undefined ? null : before - 1n
        return { appId: `${this.#prefix}${partition}`, expected, last: start - 1n, mayFall: true }
      })
      const { queryName, topic, signal } = this.#of
      const rows = tableFromArrays({
        query: due.map(() => queryName),
        topic: due.map(() => topic),
        partition: Int32Array.from(due, ([partition]) => partition),
        start: BigInt64Array.from(due, ([, start]) => start),
      })
      try {
        await note.append(rows, { offsets, ...(signal ? { signal } : {}) })
      } catch (error) {
        if (!(error instanceof KafkaToDeltaError && error.code === 'FENCED')) throw error
      }
      return this.#startsOf(note)
    })
  }

  async #startsOf(note: DeltaTable): Promise<Map<number, bigint>> {
    const last = entriesByPartition(await note.offsets(), this.#prefix)
    return new Map([...last].map(([partition, offset]) => [partition, offset + 1n]))
  }

  async #opened<T>(work: (note: DeltaTable) => Promise<T>): Promise<T> {
    const { uri, storageOptions, signal } = this.#of
    const note = await DeltaTable.open({
      path: `${uri}/${NOTE_FOLDER}`,
      storageOptions: await storageOptions(),
      writeMode: 'append',
      description: 'Where kafka2delta began to read, kept until the table has its first row',
      ...(signal ? { signal } : {}),
    })
    try {
      return await work(note)
    } finally {
      await note.close()
    }
  }
}
