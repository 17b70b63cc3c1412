/** A Hive metastore as a catalog, by Thrift. */

import type thrift from 'thrift'
import { KafkaToDeltaError } from '../../errors.js'
import type { HiveCatalogOptions, WithTls } from '../../options/types.js'
import type { Catalog } from '../catalog.js'
import { type Client, openClient, type Patience } from './client.js'
import { foundTable, type HiveTable, isUpToDate, newEntry, updatedEntry } from './entry.js'
import { i32, type Struct, struct, structOf, text, textMap, textOf } from './values.js'

const PATIENCE: Patience = { connectMs: 10_000, callMs: 60_000 }

/** @throws CATALOG_UNAVAILABLE where the package `thrift` is not installed */
export async function openHive(options: WithTls<HiveCatalogOptions>, patience: Patience = PATIENCE): Promise<Catalog> {
  const client = openClient(await loadThrift(), options, patience)

  return {
    async find(schema, name, signal) {
      const entry = await getTable(client, schema, name, signal)
      return entry && foundTable(entry)
    },

    async ensureSchema(schema, signal) {
      const named: Struct = new Map([[1, text(schema)]])
      const isThere = async () => (await orNull(ask(client, 'get_database', named, signal))) !== null
      if (await isThere()) return
      const database: Struct = new Map([
        [1, text(schema)],
        [4, textMap({})],
        [6, text(client.user)],
        [7, i32(USER)],
      ])
      await unlessThere(ask(client, 'create_database', new Map([[1, struct(database)]]), signal), isThere)
    },

    async create(table, signal) {
      const args: Struct = new Map([
        [1, struct(newEntry(table, client.user))],
        [2, struct(WITHOUT_STATISTICS)],
      ])
      const isThere = async () => (await getTable(client, table.schema, table.name, signal)) !== null
      await unlessThere(ask(client, 'create_table_with_environment_context', args, signal), isThere)
    },

    async update(table, _, signal) {
      const { schema, name } = table
      // As it is now: others may have put something in since it was found.
      const entry = await getTable(client, schema, name, signal)
      if (!entry)
        throw new KafkaToDeltaError('CATALOG_UNAVAILABLE', `${schema}.${name} has gone from the Hive metastore`)
      await alterTable(client, schema, name, updatedEntry(table, entry), signal)
    },

    matches: (table, found) => isUpToDate(table, found as HiveTable),

    close: async () => client.close(),
  }
}

async function loadThrift(): Promise<typeof thrift> {
  try {
    return (await import('thrift')).default
  } catch (cause) {
    const message = 'a Hive metastore needs the package thrift, which cannot be loaded: npm install thrift'
    throw new KafkaToDeltaError('CATALOG_UNAVAILABLE', message, { cause })
  }
}

/** PrincipalType of the metastore's interface. */
const USER = 1

/** The metastore would list all files of the table otherwise, to count them. */
const WITHOUT_STATISTICS: Struct = new Map([[1, textMap({ DO_NOT_UPDATE_STATS: 'true' })]])

/** A setting that a client may make for itself. */
const ANY_COLUMNS: Struct = new Map([
  [1, text('hive.metastore.disallow.incompatible.col.type.changes')],
  [2, text('false')],
])

/** The exceptions that each call declares, by the ids of their fields in the answer. Each has its message in field 1. */
const EXCEPTIONS = {
  get_database: ['', 'NoSuchObjectException', 'MetaException'],
  create_database: ['', 'AlreadyExistsException', 'InvalidObjectException', 'MetaException'],
  get_table_req: ['', 'MetaException', 'NoSuchObjectException'],
  create_table_with_environment_context: [
    '',
    'AlreadyExistsException',
    'InvalidObjectException',
    'MetaException',
    'NoSuchObjectException',
  ],
  alter_table_with_environment_context: ['', 'InvalidOperationException', 'MetaException'],
  setMetaConf: ['', 'MetaException'],
} as const satisfies Record<string, readonly string[]>

type Method = keyof typeof EXCEPTIONS

/** An exception that the metastore declares. */
class Refusal extends Error {
  readonly exception: string

  constructor(exception: string, message: string) {
    super(message)
    this.exception = exception
  }
}

/** The result of a call. */
async function call(client: Client, method: Method, args: Struct, signal: AbortSignal): Promise<Struct> {
  const answer = await client.call(method, args, signal)
  for (const [id, exception] of EXCEPTIONS[method].entries()) {
    if (id > 0 && answer.has(id)) throw new Refusal(exception, textOf(structOf(answer, id), 1) ?? exception)
  }
  return structOf(answer, 0)
}

const DENIED = /permission denied|AccessControlException|not (authori[sz]ed|allowed)|No privilege/i

/** {@link call}, with what the metastore refuses as an error of this program. */
async function ask(client: Client, method: Method, args: Struct, signal: AbortSignal): Promise<Struct> {
  try {
    return await call(client, method, args, signal)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    const code = DENIED.test(error.message) ? 'CATALOG_DENIED' : 'CATALOG_UNAVAILABLE'
    throw new KafkaToDeltaError(code, `the Hive metastore refuses ${method}: ${error.message}`, { cause: error })
  }
}

/** The result; null where the metastore has nothing of that name. */
async function orNull(asked: Promise<Struct>): Promise<Struct | null> {
  try {
    return await asked
  } catch (error) {
    const { cause } = error as Error
    if (cause instanceof Refusal && cause.exception === 'NoSuchObjectException') return null
    throw error
  }
}

/** Where another process was faster, the metastore says so, or fails in its database, by chance: then it is looked. */
async function unlessThere(created: Promise<unknown>, isThere: () => Promise<boolean>): Promise<void> {
  try {
    await created
  } catch (error) {
    if (!((error as Error).cause instanceof Refusal && (await isThere()))) throw error
  }
}

async function getTable(client: Client, schema: string, name: string, signal: AbortSignal): Promise<Struct | null> {
  const request: Struct = new Map([
    [1, text(schema)],
    [2, text(name)],
  ])
  const result = await orNull(ask(client, 'get_table_req', new Map([[1, struct(request)]]), signal))
  return result && structOf(result, 1)
}

async function alterTable(client: Client, schema: string, name: string, entry: Struct, signal: AbortSignal) {
  const args: Struct = new Map([
    [1, text(schema)],
    [2, text(name)],
    [3, struct(entry)],
    [4, struct(WITHOUT_STATISTICS)],
  ])
  const alter = () => ask(client, 'alter_table_with_environment_context', args, signal)
  try {
    await alter()
  } catch (error) {
    if (!/incompatible/i.test((error as Error).message)) throw error
    // The metastore compares columns by their places, and takes a dropped one for a change of type. No file is read by what the
    // entry says, so it may be told not to look, which holds for this connection.
    await ask(client, 'setMetaConf', ANY_COLUMNS, signal)
    await alter()
  }
}
