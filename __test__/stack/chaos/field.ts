/** Does the faults of a plan to the workers, systems and tables of one seed. */

import { setTimeout as sleep } from 'node:timers/promises'
import { command, deltaRs, emptyCommit, otherWriter, type Ran } from './beside.js'
import type { Changes, ChaosTable } from './changes.js'
import type { Field, Planned } from './faults.js'
import { KINDS } from './faults.js'
import type { Lake } from './lake.js'
import { RETENTION_MS } from './settings.js'
import type { Fleet } from './workers.js'
import type { System, World } from './world.js'

export const MOST_WORKERS = 4
const MOST_PARTITIONS = 5

/**
 * delta-rs writes to no table with deletion vectors, and does not see that what it compacts was compacted meanwhile: docs/maintenance.md.
 */
const isCompactedByDeltaRs = ({ options }: ChaosTable): boolean =>
  options.mergeMode === 'copy-on-write' && options.maintenance === false

export class RunField implements Field {
  /** Kind to how often it happened. */
  readonly counts: Record<string, number> = {}
  readonly #busy = new Set<string>()
  readonly #running = new Set<Promise<void>>()

  constructor(
    private readonly world: World,
    private readonly changes: Changes,
    private readonly lake: Lake,
    private readonly fleet: Fleet,
    /** What no fault explains. */
    private readonly problems: string[],
    private readonly note: (text: string) => void,
  ) {}

  /** Begins a fault. One of a system that has one already is left out. */
  begin(planned: Planned): void {
    const kind = KINDS[planned.kind] as (typeof KINDS)[string]
    if (kind.system && this.#busy.has(kind.system)) return
    if (kind.system) this.#busy.add(kind.system)
    this.note(`${planned.kind}${planned.lasts > 0 ? ` (${planned.lasts} ms)` : ''}`)
    const running = this.#run(kind, planned).finally(() => {
      if (kind.system) this.#busy.delete(kind.system)
      this.#running.delete(running)
    })
    this.#running.add(running)
  }

  async #run(kind: (typeof KINDS)[string], planned: Planned): Promise<void> {
    try {
      if (await kind.run(this, planned)) this.counts[planned.kind] = (this.counts[planned.kind] ?? 0) + 1
      else this.note(`${planned.kind}: there was nothing to do it to`)
    } catch (error) {
      this.problems.push(`${planned.kind}: ${(error as Error).stack}`)
    }
  }

  /** Resolves when none is left. */
  async over(): Promise<void> {
    await Promise.all(this.#running)
  }

  async kill(which: number, awayMs: number): Promise<boolean> {
    const id = await this.fleet.kill(which)
    if (id === null) return false
    await sleep(awayMs)
    this.note(`worker ${id} was killed, worker ${this.fleet.add()} takes its place`)
    return true
  }

  freeze(which: number, ms: number): Promise<boolean> {
    return this.fleet.freeze(which, ms, (id) => this.note(`worker ${id} stands still`))
  }

  remove(which: number): Promise<boolean> {
    return this.fleet.remove(which, (id) => this.note(`worker ${id} is told to end`))
  }

  async add(): Promise<boolean> {
    if (this.fleet.size >= MOST_WORKERS) return false
    this.note(`worker ${this.fleet.add()} joins`)
    return true
  }

  async restart(system: System | 'connect', kill: boolean, awayMs: number): Promise<boolean> {
    await this.world.restart(system, kill ? 'SIGKILL' : 'SIGTERM', awayMs)
    await this.world.restartFailedTasks()
    return true
  }

  slow(system: System, delayMs: number, ms: number): Promise<boolean> {
    const proxy = this.world.proxies[system]
    return this.#harmed(system, ms, () => proxy.slow(delayMs))
  }

  silence(system: System, drop: boolean, ms: number): Promise<boolean> {
    const proxy = this.world.proxies[system]
    return this.#harmed(
      system,
      ms,
      () => proxy.silence(),
      () => {
        if (drop) proxy.drop()
      },
    )
  }

  cut(system: System, ms: number): Promise<boolean> {
    return this.#harmed(system, ms, () => this.world.proxies[system].cut())
  }

  async #harmed(system: System, ms: number, harm: () => void, last: () => void = () => {}): Promise<boolean> {
    await this.world.disturbed(async () => {
      harm()
      await sleep(ms)
      last()
      this.world.proxies[system].heal()
    })
    return true
  }

  async addPartition(which: number): Promise<boolean> {
    // Where a stream lags, added partitions lose values that changes leave out: docs/semantics.md says so.
    const whole = this.changes.random.filter(({ isWhole }) => isWhole)
    if (whole.length === 0) return false
    const { topic } = whole[Math.floor(which * whole.length)] as ChaosTable
    return this.world.admin(async (admin) => {
      const count = (await admin.fetchTopicOffsets(topic)).length + 1
      if (count > MOST_PARTITIONS) return false
      this.note(`${topic} has ${count} partitions`)
      await admin.createPartitions({ topicPartitions: [{ topic, count }] })
      return true
    })
  }

  async addTable(): Promise<boolean> {
    this.note(`${(await this.changes.addTable()).topic} is new`)
    return true
  }

  async compact(which: number): Promise<boolean> {
    const table = this.#table(which)
    const { name } = table
    if (!this.lake.has(name) || isCompactedByDeltaRs(table)) return false
    return this.#ended(name, await this.#command('compact', name, ['--full']))
  }

  async vacuum(which: number): Promise<boolean> {
    const { name } = this.#table(which)
    if (!this.lake.has(name)) return false
    const flags = ['--retention', `${RETENTION_MS / 1000} seconds`, '--force']
    return this.#ended(name, await this.#command('vacuum', name, flags))
  }

  async otherWriter(ms: number): Promise<boolean> {
    const begun = Date.now()
    const ours = this.changes.random.filter((table) => !isCompactedByDeltaRs(table))
    const uris = ours.map(({ name }) => this.lake.uri(name))
    return this.#ended('all tables', { begun, ...(await otherWriter(uris, this.lake.direct, ms)) })
  }

  async deltaRs(which: number): Promise<boolean> {
    const own = this.changes.random.filter(isCompactedByDeltaRs)
    if (own.length === 0) return false
    const { name } = own[Math.floor(which * own.length)] as ChaosTable
    if (!this.lake.has(name)) return false
    const begun = Date.now()
    return this.#ended(name, { begun, ...(await deltaRs(this.lake.uri(name), this.lake.direct)) })
  }

  async emptyCommit(which: number): Promise<boolean> {
    if (Object.keys(this.lake.direct).length > 0) return false
    const { name } = this.#table(which)
    if (!this.lake.has(name)) return false
    const version = emptyCommit(this.lake.folder(name))
    this.note(`${name}: ${version === null ? 'the version was taken' : `version ${version} is another's`}`)
    return version !== null
  }

  async #command(name: string, table: string, flags: string[]): Promise<Ran & { begun: number }> {
    const begun = Date.now()
    return { begun, ...(await command(name, this.lake.uri(table), this.lake.direct, flags)) }
  }

  /** A program that failed is a problem, but where a system was away. */
  #ended(table: string, { code, output, begun }: Ran & { begun: number }): boolean {
    this.note(`${table}: ${output.split('\n').at(-1)?.slice(0, 200)}`)
    if (code === 0) return true
    if (!this.world.wasDisturbed(begun)) this.problems.push(`${table}: ended with ${code}: ${output}`)
    return false
  }

  #table(which: number): ChaosTable {
    const tables = this.changes.random
    return tables[Math.floor(which * tables.length)] as ChaosTable
  }
}
