/** Databases of a test's own in the stack's PostgreSQL. */

import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { ENDPOINTS, HOST, PORTS } from '../../../scripts/stack/settings.mjs'

/** Values as the text that the database writes. */
const raw = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig

const { POSTGRES_USER: user, POSTGRES_PASSWORD: password } = ENDPOINTS

/** A database's address. */
export const postgresUrl = (database: string) => `postgres://${user}:${password}@${HOST}:${PORTS.postgres}/${database}`

export async function openDatabase(database: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: postgresUrl(database), types: raw })
  await client.connect()
  await client.query("SET TimeZone = 'UTC'")
  return client
}

export async function createDatabase(name: string): Promise<void> {
  const admin = await openDatabase('postgres')
  await admin.query(`CREATE DATABASE ${name}`)
  await admin.end()
}

/** Drops a database once its replication slots are left by their connectors. */
export async function dropDatabase(name: string): Promise<void> {
  const admin = await openDatabase('postgres')
  for (let tries = 0; tries < 60; tries++) {
    const slots = `FROM pg_replication_slots WHERE database = '${name}'`
    await admin.query(`SELECT pg_drop_replication_slot(slot_name) ${slots} AND NOT active`)
    const { rows } = await admin.query(`SELECT 1 ${slots}`)
    if (rows.length === 0) break
    await sleep(250)
  }
  await admin.query(`DROP DATABASE ${name} WITH (FORCE)`)
  await admin.end()
}
