/** What must be true at a mark: tables equal their source, and their logs what the workers told and the topics hold. */

import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readRows } from '../../helpers/read.js'
import type { Changes, ChaosTable } from './changes.js'
import { DeltaLog } from './delta-log.js'
import type { Lake } from './lake.js'
import type { Fleet } from './workers.js'
import type { World } from './world.js'

/** How long all that was committed at the source may take to come through, once nothing is wrong any more. */
const DRAIN_MS = 180_000

/** Between two looks whether it has. */
const LOOK_MS = 300

export class Marks {
  /** Rows compared, once for each reader. */
  numRows = 0
  numMarks = 0
  readonly logs = new Map<string, DeltaLog>()
  #numChecked = 0

  constructor(
    private readonly world: World,
    private readonly changes: Changes,
    private readonly lake: Lake,
    private readonly fleet: Fleet,
    private readonly queryName: string,
    private readonly folder: string,
  ) {}

  /** Waits until all is applied, and compares. Returns what is wrong. Nothing may change the source meanwhile. */
  async check(): Promise<string[]> {
    const behind = await this.#drained(await this.changes.mark())
    if (behind !== null) return [...this.fleet.problems, behind]
    for (;;) {
      const before = await this.#ends()
      const different = await this.#differences()
      // What came meanwhile was sent late, or once more.
      if (different.length > 0 && !same(before, await this.#ends())) {
        await this.#drained(null)
        continue
      }
      this.numMarks++
      return [...different, ...this.logProblems(), ...this.fleet.problems]
    }
  }

  /** What the logs say against the workers and against themselves. */
  logProblems(): string[] {
    this.#readLogs()
    const told = this.fleet.commits
    for (; this.#numChecked < told.length; this.#numChecked++) {
      const commit = told[this.#numChecked] as (typeof told)[number]
      const table = this.changes.tables.find(({ topic }) => topic === commit.topic) as ChaosTable
      this.#log(table).check(commit)
    }
    return [...this.logs].flatMap(([name, { problems }]) => problems.map((problem) => `${name}: ${problem}`))
  }

  #readLogs(): void {
    for (const table of this.changes.tables) this.#log(table).read()
  }

  #log({ name, topic }: ChaosTable): DeltaLog {
    const log = this.logs.get(name + topic) ?? new DeltaLog(this.lake.folder(name), `${this.queryName}:${topic}:`)
    this.logs.set(name + topic, log)
    return log
  }

  /** Null once everything is through; what is not, where it takes too long or something failed. */
  async #drained(mark: number | null): Promise<string | null> {
    const until = Date.now() + DRAIN_MS
    for (let looks = 0; ; looks++) {
      if (looks % 10 === 0) await this.world.restartFailedTasks()
      const behind = (mark === null ? null : await this.#unmarked(mark)) ?? (await this.#behind())
      if (behind === null) return null
      if (this.fleet.problems.length > 0 || Date.now() > until) return `not applied: ${behind}`
      await sleep(LOOK_MS)
    }
  }

  /** A table of marks that has not got this one. */
  async #unmarked(mark: number): Promise<string | null> {
    for (const { name } of this.changes.markers) {
      const options = { columns: ['n'], where: `n >= ${mark}`, storageOptions: this.lake.direct }
      const rows = await readRows(this.lake.uri(name), options).catch(() => [])
      if (rows.length === 0) return `mark ${mark} of ${name}`
    }
    return null
  }

  /** Where a topic holds more than its table. */
  async #behind(): Promise<string | null> {
    const ends = await this.#ends()
    this.#readLogs()
    for (const table of this.changes.tables) {
      for (const [partition, end] of ends.get(table.topic) ?? []) {
        const applied = this.#log(table).offsets.get(partition) ?? -1
        if (applied + 1 !== end)
          return `${table.topic}, partition ${partition}: ${applied}, the topic ends before ${end}`
      }
    }
    return null
  }

  /** Topic to partition to the offset after its last message. */
  #ends(): Promise<Map<string, Map<number, number>>> {
    return this.world.admin(async (admin) => {
      const ends = new Map<string, Map<number, number>>()
      for (const { topic } of this.changes.tables) {
        const offsets = await admin.fetchTopicOffsets(topic)
        ends.set(topic, new Map(offsets.map(({ partition, high }) => [partition, Number(high)])))
      }
      return ends
    })
  }

  async #differences(): Promise<string[]> {
    const { db, oracle } = this.world
    const found: string[] = []
    for (const { shape, name, keys } of this.changes.tables) {
      const { rows } = await db.query(`SELECT * FROM ${shape}.${name}`)
      const file = join(this.folder, `${shape}-${name}.jsonl`)
      const result = await oracle.compare(this.lake.uri(name), this.lake.direct, keys, rows, file)
      this.numRows += result.rows
      found.push(...result.differences.map((text) => `${shape}.${name}: ${text}`))
    }
    return found
  }
}

function same(a: Map<string, Map<number, number>>, b: Map<string, Map<number, number>>): boolean {
  const text = (ends: typeof a) => JSON.stringify([...ends].map(([topic, offsets]) => [topic, ...offsets]))
  return text(a) === text(b)
}
