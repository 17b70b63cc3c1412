/** The commands on tables of a replica, and what they find: rows changed behind the stream's back. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Int32, makeVector, Table, TimestampMicrosecond, Uint8, Utf8, vectorFromArray } from 'apache-arrow'
import { resync } from '../../../src/cli/commands/resync.js'
import { type VerifyFlags, verify } from '../../../src/cli/commands/verify.js'
import { DeltaTable } from '../../../src/index.js'
import type { Output } from '../../../src/terminal/output.js'
import type { VerifyResult } from '../../../src/verify/index.js'
import type { Replica } from './replica.js'

export type Verdict = VerifyResult & {
  messagesBehind: number | null
  repaired: { version: number | null; upserted: number; deleted: number } | null
}

export class Commands {
  /**
   * @param source address of the database
   * @param folder of the configuration files
   */
  constructor(
    private readonly source: string,
    private readonly folder: string,
  ) {}

  /** `verify`; with `repair`, by the topic of a configuration file. */
  async verified(replica: Replica, table: string, repair = false): Promise<{ code: number; result: Verdict }> {
    if (repair) return this.configured(replica, table, { repair })
    return this.#run(replica.uri(table), table, { storageOption: replica.storage })
  }

  /** `verify` by the topic of a configuration file, whose options say what the table's columns are. */
  configured(
    replica: Replica,
    table: string,
    flags: Partial<VerifyFlags> = {},
  ): Promise<{ code: number; result: Verdict }> {
    return this.#run(`${replica.prefix}.${table}`, table, { config: this.#config(replica), ...flags })
  }

  async #run(
    path: string,
    sourceTable: string,
    more: Partial<VerifyFlags>,
  ): Promise<{ code: number; result: Verdict }> {
    const flags = { source: this.source, sourceTable, chunkRows: 7000, settle: '2 seconds', json: true, ...more }
    let code = -1
    const result = await printed((output) =>
      verify(path, flags, output).then((exitCode) => {
        code = exitCode
      }),
    )
    return { code, result: result as Verdict }
  }

  /** `resync`, by the topic of a configuration file. */
  async resynced(replica: Replica, table: string): Promise<{ rows: number; upserted: number; deleted: number }> {
    const flags = { config: this.#config(replica), json: true }
    const result = await printed((output) => resync(`${replica.prefix}.${table}`, flags, output))
    return result as { rows: number; upserted: number; deleted: number }
  }

  #config(replica: Replica): string {
    const file = join(this.folder, `${replica.prefix}.json`)
    writeFileSync(file, JSON.stringify(replica.options))
    return file
  }
}

async function printed(command: (output: Output) => Promise<unknown>): Promise<unknown> {
  let all = ''
  const write = (text: string) => {
    all += text
  }
  await command({ stdout: { write } } as unknown as Output)
  return JSON.parse(all)
}

async function change(replica: Replica, name: string, primaryKey: readonly string[], rows: Table): Promise<void> {
  const { additionalCols = [], partitionCols } = replica.options.tables[`${replica.prefix}.${name}`] ?? {}
  const layout = { additionalCols, partitionCols: (partitionCols as readonly string[] | undefined) ?? [] }
  const table = await DeltaTable.open({ ...layout, path: replica.uri(name), storageOptions: replica.storage })
  await table.merge(rows, { primaryKey })
  await table.close()
}

/** Changes, removes and adds a row of a table (id, v, at) behind the stream's back. */
export async function tamper(replica: Replica, name: string, changed: number, removed: number, added: number) {
  const at = makeVector({ type: new TimestampMicrosecond('UTC'), data: new BigInt64Array(3), length: 3 } as never)
  const rows = new Table({
    id: vectorFromArray([changed, removed, added], new Int32()),
    v: vectorFromArray(['changed', null, 'added'], new Utf8()),
    at,
    _op: vectorFromArray([0, 1, 0], new Uint8()),
  })
  await change(replica, name, ['id'], rows)
}

/** What {@link tamper} has done, as `verify` tells it. */
export function told(result: Verdict): string[][] {
  return result.differences
    .map(({ kind, key, columns }) => [kind, ...key, ...(columns ?? []).map((column) => column.name)])
    .sort()
}

/** Removes rows behind the stream's back. `rows` holds their keys; a key is a text or an integer of 32 bits. */
export async function remove(replica: Replica, name: string, rows: readonly Record<string, string | number>[]) {
  const keys = Object.keys(rows[0] ?? {})
  const column = (key: string) => {
    const values = rows.map((row) => row[key])
    return vectorFromArray(values, typeof values[0] === 'number' ? new Int32() : new Utf8())
  }
  const columns = Object.fromEntries(keys.map((key) => [key, column(key)]))
  const _op = vectorFromArray(
    rows.map(() => 1),
    new Uint8(),
  )
  await change(replica, name, keys, new Table({ ...columns, _op }))
}
