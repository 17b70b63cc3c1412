/**
 * What the seeds of a chaos run share: the stack, a database with a connector for each form of values, and a proxy before each
 * system that workers use.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Admin, Kafka, logLevel } from 'kafkajs'
import type pg from 'pg'
import {
  connectorOf,
  connectorStatus,
  deleteConnector,
  putConnector,
  restartConnector,
} from '../../../scripts/stack/connectors.mjs'
import { stop } from '../../../scripts/stack/processes.mjs'
import { ENDPOINTS, PORTS } from '../../../scripts/stack/settings.mjs'
import { type Part, up } from '../../../scripts/stack/stack.mjs'
import { createDatabase, dropDatabase, openDatabase } from '../support/postgres.js'
import { SourceOracle } from '../support/source-oracle.js'
import { TcpProxy } from './proxy.js'

/** Forms of values; each has a connector, a schema of the database and topics of its own. */
export const SHAPES = ['flattened', 'envelope'] as const
export type Shape = (typeof SHAPES)[number]

/** Systems between which and the workers something may happen. */
export const SYSTEMS = ['kafka', 'registry', 's3'] as const
export type System = (typeof SYSTEMS)[number]

/** Topics have as many partitions as their tables' names say at the end. */
const PARTITIONS = [1, 2, 3]

/** A system that is back may still refuse something for so long. */
const RECOVERY_MS = 5_000

const TRIES = 60

interface Disturbance {
  begun: number
  /** Null while it lasts. */
  ended: number | null
}

export class World {
  readonly id: string
  readonly folder = mkdtempSync(join(tmpdir(), 'kafka2delta-chaos-'))
  /** Something went wrong: the folder stays. */
  keepFolder = false
  readonly #disturbances: Disturbance[] = []

  private constructor(
    readonly db: pg.Client,
    readonly sessions: readonly pg.Client[],
    readonly proxies: Readonly<Record<System, TcpProxy>>,
    readonly oracle: SourceOracle,
    id: string,
  ) {
    this.id = id
  }

  static async start(numSessions = 3): Promise<World> {
    const id = `k2d_chaos_${process.pid}_${Date.now().toString(36)}`
    const oracle = SourceOracle.start()
    await up(['kafka', 'registry', 'postgres', 's3', 'connect'])
    await createDatabase(id)
    const db = await openDatabase(id)
    const sessions = await Promise.all(Array.from({ length: numSessions }, () => openDatabase(id)))
    const started = await Promise.all(SYSTEMS.map(async (name) => [name, await TcpProxy.start(PORTS[name])] as const))
    const world = new World(db, sessions, Object.fromEntries(started) as Record<System, TcpProxy>, oracle, id)
    for (const shape of SHAPES) {
      await db.query(`CREATE SCHEMA ${shape}`)
      // Without a table a connector has nothing to begin with.
      await db.query(`CREATE TABLE ${shape}.first (n int PRIMARY KEY)`)
      // Tables that are made later belong to it, too.
      await db.query(`CREATE PUBLICATION ${world.prefix(shape)} FOR ALL TABLES`)
      await putConnector(world.#connector(shape))
    }
    return world
  }

  prefix(shape: Shape): string {
    return `${this.id}_${shape}`
  }

  #connector(shape: Shape) {
    const name = this.prefix(shape)
    const groups = PARTITIONS.flatMap((count) => [
      [`topic.creation.p${count}.include`, `.*_p${count}`],
      [`topic.creation.p${count}.partitions`, String(count)],
    ])
    const variables = { POSTGRES_DB: this.id, TOPIC_PREFIX: name, SLOT_NAME: name, TABLES: `${shape}\\..*` }
    const config = {
      'publication.autocreate.mode': 'disabled',
      'poll.interval.ms': '50',
      'topic.creation.groups': PARTITIONS.map((count) => `p${count}`).join(','),
      ...Object.fromEntries(groups),
      // So that added partitions are used while a seed runs.
      'producer.override.metadata.max.age.ms': '1000',
    }
    return connectorOf(`postgres-${shape}`, variables, { name, config })
  }

  /** Calls Kafka itself, not through the proxy. */
  async admin<T>(call: (admin: Admin) => Promise<T>): Promise<T> {
    const admin = new Kafka({ brokers: [ENDPOINTS.KAFKA_BOOTSTRAP], logLevel: logLevel.NOTHING }).admin()
    for (let tries = 1; ; tries++) {
      try {
        await admin.connect()
        return await call(admin)
      } catch (error) {
        if (tries === TRIES) throw error
        await sleep(500)
      } finally {
        await admin.disconnect().catch(() => {})
      }
    }
  }

  /** Starts tasks of connectors again that a system which was away has ended. */
  async restartFailedTasks(): Promise<void> {
    for (const shape of SHAPES) {
      const status = (await connectorStatus(this.prefix(shape)).catch(() => null)) as {
        connector: { state: string }
        tasks: { state: string }[]
      } | null
      const states = status ? [status.connector.state, ...status.tasks.map(({ state }) => state)] : []
      if (states.includes('FAILED')) await restartConnector(this.prefix(shape)).catch(() => {})
    }
  }

  /** Remembers that something may be refused while `during` runs, and a little later. */
  async disturbed(during: () => Promise<void>): Promise<void> {
    const disturbance: Disturbance = { begun: Date.now(), ended: null }
    this.#disturbances.push(disturbance)
    try {
      await during()
    } finally {
      disturbance.ended = Date.now()
    }
  }

  /** Whether a system was away, or slow, at some time since then. */
  wasDisturbed(since: number): boolean {
    return this.#disturbances.some(({ ended }) => ended === null || ended + RECOVERY_MS > since)
  }

  /** Ends a system's process and starts it again. */
  async restart(part: Part, signal: NodeJS.Signals, awayMs: number): Promise<void> {
    await this.disturbed(async () => {
      await stop(part, signal)
      await sleep(awayMs)
      await up([part])
    })
  }

  async close(): Promise<void> {
    await up(['kafka', 'registry', 's3', 'connect']).catch(() => {})
    for (const shape of SHAPES) await deleteConnector(this.prefix(shape)).catch(() => {})
    for (const session of [this.db, ...this.sessions]) await session.end().catch(() => {})
    await dropDatabase(this.id)
    for (const proxy of Object.values(this.proxies)) await proxy.close()
    await this.oracle.close()
    if (!this.keepFolder) rmSync(this.folder, { recursive: true, force: true })
  }
}
