/** What every catalog is tried with: a stream from an embedded broker, whose table it is to have. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestFn } from 'ava'
import { check } from '../../../src/check/check.js'
import { allFindings } from '../../../src/check/report.js'
import { register } from '../../../src/cli/commands/catalog.js'
import { EmbeddedBroker } from '../../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../../src/demo/registry.js'
import { type CatalogOptions, type StreamingQuery, streamToDelta } from '../../../src/index.js'
import { resolveOptions } from '../../../src/options/resolve.js'
import { encode } from '../../debezium/support.js'
import { runCommand } from '../../helpers/command.js'
import { readRows } from '../../helpers/read.js'
import { Gate } from './gate.js'

/** An entry, asked for otherwise than by our client. Names in lower case, types in the catalog's words. */
export interface EntryOfServer {
  location: string
  columns: [name: string, type: string][]
  comment?: string
}

/** A catalog's server, and what people do to it by hand. */
export interface CatalogServer {
  port: number
  /** The option of a query that reaches the server at this port. */
  optionsAt(port: number): CatalogOptions
  /**
   * What makes queries that are started from now on come with credentials that the server refuses, or their options; and what
   * takes that back.
   */
  wrongly(port: number): { options: CatalogOptions; restore: () => void }
  entry(schema: string, name: string): Promise<EntryOfServer | null>
  drop(schema: string, name: string): Promise<void>
  /** Enters a Delta table of that name which lies somewhere else; in a schema that is there. */
  take(schema: string, name: string, location: string): Promise<void>
  /** How the catalog writes Delta's types. */
  types: { integer: string; long: string; string: string }
  close(): Promise<void>
}

const record = (name: string, fields: Record<string, unknown>) => ({
  type: 'record',
  name,
  fields: Object.entries(fields).map(([field, type]) => ({ name: field, type })),
})

/** A topic of orders, and the query that applies it. */
class Orders {
  readonly path: string
  readonly #rows: number[] = []

  constructor(
    private readonly world: World,
    readonly name: string,
    public catalog: CatalogOptions,
  ) {
    this.path = join(world.folder, name)
    world.broker.createTopic(this.topic)
  }

  get topic(): string {
    return `db.${this.name}`
  }

  get options() {
    return {
      queryName: 'catalogs',
      kafka: { brokers: this.world.broker.brokers },
      schemaRegistry: { url: this.world.registry.url },
      catalog: this.catalog,
      tables: {
        [this.topic]: { path: this.path, schema: 'shop', tableName: this.name, description: 'The shop’s orders' },
      },
    }
  }

  append(fields: Record<string, unknown>, values: Record<string, unknown> = {}): void {
    const { broker, registry } = this.world
    const id = this.#rows.length + 1
    const [keySchema, schema] = [record('Key', { id: 'int' }), record('Value', { id: 'int', ...fields })]
    const register = (of: object) => {
      registry.setSchema(++this.world.schemaId, of)
      return this.world.schemaId
    }
    const key = encode(register(keySchema), keySchema, { id })
    const value = encode(register(schema), schema, { id, ...values })
    broker.append(this.topic, 0, [{ key, value }])
    this.#rows.push(id)
  }

  start(): Promise<StreamingQuery> {
    return streamToDelta({ ...this.options, trigger: { processingTime: 50 } })
  }

  entry(): Promise<EntryOfServer | null> {
    return this.world.server.entry('shop', this.name)
  }

  /** All rows that were appended are in the table. */
  async isWhole(): Promise<boolean> {
    const rows = await readRows(this.path, { columns: ['id'], orderBy: ['id'] })
    return JSON.stringify(rows.map(({ id }) => Number(id))) === JSON.stringify(this.#rows)
  }

  /** `kafka2delta catalog …`, as a command. */
  async command(...args: string[]): Promise<{ code: number; text: string }> {
    const config = join(this.world.folder, `${this.name}.yaml`)
    writeFileSync(config, JSON.stringify(this.options))
    return runCommand(register, ['catalog', ...args, '-c', config])
  }
}

interface World {
  folder: string
  broker: EmbeddedBroker
  registry: EmbeddedRegistry
  server: CatalogServer
  schemaId: number
}

const INT = { qty: 'int' }
const NOTE = { qty: 'int', note: ['null', 'string'] }
const LONG = { qty: 'long', note: ['null', 'string'] }

const statusOf = (query: StreamingQuery, { topic }: Orders) => query.status.tables[topic]?.catalog ?? null

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(20)
}

const isRegistered = (query: StreamingQuery, orders: Orders) =>
  until(() => statusOf(query, orders)?.state === 'registered')

/** Registers the tests of a catalog. They run one after another. */
export function catalogCases(test: TestFn, kind: string, start: () => Promise<CatalogServer>): void {
  let world: World
  let gate: Gate

  test.before(async () => {
    const server = await start()
    gate = await Gate.to(server.port)
    world = {
      folder: mkdtempSync(join(tmpdir(), `kafka2delta-${kind}-`)),
      broker: await EmbeddedBroker.start(),
      registry: await EmbeddedRegistry.start(),
      server,
      schemaId: 0,
    }
  })

  test.after.always(async () => {
    await gate?.cut()
    await world?.server.close()
    await world?.broker.close()
    await world?.registry.close()
    if (world) rmSync(world.folder, { recursive: true, force: true })
  })

  const ordersOf = (name: string) => new Orders(world, name, world.server.optionsAt(gate.port))

  test.serial(`${kind}: a table is created with its schema, and follows added and widened columns`, async (t) => {
    const { types } = world.server
    const orders = ordersOf('created')
    orders.append(INT, { qty: 1 })
    const query = await orders.start()
    t.teardown(() => query.stop())
    await isRegistered(query, orders)
    const created = await orders.entry()
    t.regex(created?.location ?? '', /^file:\/+.*\/created$/)
    t.deepEqual(created?.columns, [
      ['id', types.integer],
      ['qty', types.integer],
    ])
    t.is(created?.comment, 'The shop’s orders')
    orders.append(NOTE, { qty: 2, note: 'x' })
    await until(async () => (await orders.entry())?.columns.length === 3)
    t.deepEqual((await orders.entry())?.columns.at(-1), ['note', types.string])
    orders.append(LONG, { qty: 5_000_000_000n, note: null })
    await until(async () => (await orders.entry())?.columns[1]?.[1] !== types.integer)
    await isRegistered(query, orders)
    t.deepEqual((await orders.entry())?.columns, [
      ['id', types.integer],
      ['qty', types.long],
      ['note', types.string],
    ])
    await query.stop()
    t.true(await orders.isWhole())
  })

  test.serial(
    `${kind}: an entry that was dropped by hand comes back with the next start, and with catalog sync`,
    async (t) => {
      const orders = ordersOf('dropped')
      orders.append(INT, { qty: 1 })
      const first = await orders.start()
      await isRegistered(first, orders)
      await first.stop()
      await world.server.drop('shop', 'dropped')
      t.is(await orders.entry(), null)
      const second = await orders.start()
      await isRegistered(second, orders)
      t.not(await orders.entry(), null)
      await second.stop()

      await world.server.drop('shop', 'dropped')
      const lacking = await orders.command('show')
      t.is(lacking.code, 1, lacking.text)
      t.regex(lacking.text, /shop\.dropped +\w+ +file:\/\/\S+ +would be created/)
      t.is(await orders.entry(), null)
      const report = await check(resolveOptions(orders.options))
      t.like(
        allFindings(report).find(({ code }) => code === 'CATALOG_ENTRY'),
        { severity: 'note' },
      )
      t.true(report.systems.some((system) => system.kind === 'catalog' && system.ok))
      const synced = await orders.command('sync', '--json')
      t.is(synced.code, 0, synced.text)
      t.like(JSON.parse(synced.text).entries[0], {
        topic: orders.topic,
        name: 'shop.dropped',
        need: 'create',
        error: null,
      })
      t.not(await orders.entry(), null)
      const shown = await orders.command('show')
      t.is(shown.code, 0, shown.text)
      t.regex(shown.text, /up to date/)
      t.true(await orders.isWhole())
    },
  )

  test.serial(`${kind}: a name that another location has is left alone, told with both, and rows go on`, async (t) => {
    const orders = ordersOf('taken')
    const elsewhere = `file://${world.folder}/elsewhere`
    await world.server.take('shop', 'taken', elsewhere)
    const before = await orders.entry()
    orders.append(INT, { qty: 1 })
    const query = await orders.start()
    t.teardown(() => query.stop())
    await until(() => statusOf(query, orders)?.state === 'failing')
    const { code, message = '' } = statusOf(query, orders)?.error ?? {}
    t.is(code, 'CATALOG_CONFLICT')
    t.true(message.includes('elsewhere') && message.includes(orders.path), message)
    orders.append(INT, { qty: 2 })
    await query.processAllAvailable()
    await query.stop()
    t.true(await orders.isWhole())
    t.deepEqual(await orders.entry(), before)
    const report = await check(resolveOptions(orders.options))
    t.like(
      allFindings(report).find((found) => found.code === 'CATALOG_CONFLICT'),
      { severity: 'error' },
    )
    const synced = await orders.command('sync')
    t.is(synced.code, 1)
    t.regex(synced.text, /CATALOG_CONFLICT shop\.taken: .*elsewhere/)
  })

  test.serial(
    `${kind}: a catalog that is down at the start and in the middle loses nothing and stops nothing`,
    async (t) => {
      const orders = ordersOf('down')
      await gate.cut()
      orders.append(INT, { qty: 1 })
      const query = await orders.start()
      t.teardown(() => query.stop())
      await query.processAllAvailable()
      await until(() => statusOf(query, orders)?.state === 'failing')
      t.is(statusOf(query, orders)?.error?.code, 'CATALOG_UNAVAILABLE')
      t.is(query.status.tables[orders.topic]?.waitingFor, null)
      const report = await check(resolveOptions(orders.options))
      t.true(
        report.systems.some(({ kind: of, finding }) => of === 'catalog' && finding?.code === 'CATALOG_UNAVAILABLE'),
      )
      await gate.open()
      await isRegistered(query, orders)
      t.is((await orders.entry())?.columns.length, 2)

      await gate.cut()
      orders.append(NOTE, { qty: 2, note: 'x' })
      await query.processAllAvailable()
      await until(() => statusOf(query, orders)?.state === 'failing')
      t.true(await orders.isWhole())
      await gate.open()
      await isRegistered(query, orders)
      t.is((await orders.entry())?.columns.length, 3)
      await query.stop()
    },
  )

  test.serial(`${kind}: wrong credentials are told as such, and rows go on`, async (t) => {
    const orders = ordersOf('denied')
    const { options, restore } = world.server.wrongly(gate.port)
    orders.catalog = options
    try {
      orders.append(INT, { qty: 1 })
      const query = await orders.start()
      t.teardown(() => query.stop())
      await query.processAllAvailable()
      await until(() => statusOf(query, orders)?.state === 'failing')
      const error = statusOf(query, orders)?.error
      t.is(error?.code, 'CATALOG_DENIED', error?.message)
      await query.stop()
      t.true(await orders.isWhole())
    } finally {
      restore()
    }
    t.is(await orders.entry(), null)
  })
}
