/** Reads the entries of a Delta log as files, without the program's own reader, and checks the offsets in them. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ToldCommit } from './workers.js'

/** What an entry did to the offsets of one partition. */
interface Step {
  /** The last offset before; null where there was none. */
  before: number | null
  after: number
}

interface Entry {
  operation: string
  steps: Map<number, Step>
}

interface Action {
  commitInfo?: { operation?: string }
  txn?: { appId: string; version: number }
}

export class DeltaLog {
  /** Partition to the last offset that is applied. */
  readonly offsets = new Map<number, number>()
  /** Operation to the number of commits. */
  readonly operations = new Map<string, number>()
  readonly problems: string[] = []
  #entries: Entry[] = []
  #tellers = new Map<number, number>()

  /**
   * @param folder of the table
   * @param prefix what the app ids of the offsets begin with, before the partition
   */
  constructor(
    private readonly folder: string,
    private readonly prefix: string,
  ) {}

  get numCommits(): number {
    return this.#entries.length
  }

  /** Reads what was committed since the last time. */
  read(): void {
    for (;;) {
      const version = this.#entries.length
      const file = join(this.folder, '_delta_log', `${String(version).padStart(20, '0')}.json`)
      if (!existsSync(file)) break
      const text = readFileSync(file, 'utf8')
      const lines = text.split('\n').filter((line) => line !== '')
      this.apply(lines.map((line) => JSON.parse(line) as Action))
    }
  }

  /** The next entry. Offsets never go down. */
  apply(actions: readonly Action[]): void {
    const version = this.#entries.length
    const operation = actions.find((action) => action.commitInfo)?.commitInfo?.operation ?? 'none'
    this.operations.set(operation, (this.operations.get(operation) ?? 0) + 1)
    const steps = new Map<number, Step>()
    for (const { txn } of actions) {
      const partition = txn?.appId.startsWith(this.prefix) ? txn.appId.slice(this.prefix.length) : ''
      if (!txn || !/^\d+$/.test(partition)) continue
      const before = this.offsets.get(Number(partition)) ?? null
      if (before !== null && txn.version < before) {
        this.problems.push(`version ${version}: partition ${partition} went down from ${before} to ${txn.version}`)
      }
      steps.set(Number(partition), { before, after: txn.version })
      this.offsets.set(Number(partition), txn.version)
    }
    this.#entries.push({ operation, steps })
  }

  /**
   * Holds a commit, as a worker tells it, against the entry: it begins after what was applied before, and ends where the entry
   * says. One that was written by a worker whose table is another's by then would not. Debezium's topics have no gaps.
   */
  check({ worker, version, offsets }: ToldCommit): void {
    const entry = this.#entries[version]
    const where = `version ${version}, told by worker ${worker}`
    if (!entry) {
      this.problems.push(`${where}: the log has no such entry`)
      return
    }
    const other = this.#tellers.get(version)
    if (other !== undefined) this.problems.push(`${where}: worker ${other} told it, too`)
    this.#tellers.set(version, worker)
    for (const [partition, { start, end }] of Object.entries(offsets)) {
      const step = entry.steps.get(Number(partition))
      if (!step)
        this.problems.push(`${where}: nothing of partition ${partition}, of which it applied ${start} to ${end}`)
      else if (step.after !== Number(end) || (step.before ?? -1) + 1 !== Number(start)) {
        this.problems.push(
          `${where}: applied ${start} to ${end} of partition ${partition}, the log went from ${step.before} to ${step.after}`,
        )
      }
    }
  }
}
