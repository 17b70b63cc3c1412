/** What the types of columns do not tell, kept by the table between two runs. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { TableDecoder } from '../../src/debezium/decoder.js'
import { DeltaTable } from '../../src/delta/table.js'
import type { ResolvedColumn } from '../../src/options/types.js'
import { batchOf, encode, schemaSource } from './support.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-forms-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }
const TIME = { type: 'int', 'connect.name': 'io.debezium.time.Time' }
const MICRO_TIME = { type: 'long', 'connect.name': 'io.debezium.time.MicroTime' }
const MICRO_DURATION = { type: 'long', 'connect.name': 'io.debezium.time.MicroDuration' }
const within = (type: unknown) => ({ type: 'record', name: 'Struct', fields: [{ name: 'member', type }] })
let tables = 0

/** Stores one value of each type, each in a run of its own. */
async function runs(
  values: [unknown, unknown][],
  columns: ResolvedColumn,
  mergeMode: 'merge-on-read' | 'copy-on-write',
) {
  const path = join(folder, String(tables++))
  let properties: Record<string, string> = {}
  for (const [type, at] of values) {
    const row = {
      type: 'record',
      name: 'Value',
      fields: [
        { name: 'id', type: 'int' },
        { name: 'at', type: ['null', { type: 'array', items: type }] },
      ],
    }
    const decoder = new TableDecoder({ topic: 't', columns: { at: columns } }, schemaSource({ 1: KEY, 2: row }))
    const message = { key: encode(1, KEY, { id: 1 }), value: encode(2, row, { id: 1, at: [at] }) }
    const { ipc, primaryKey } = await decoder.decode(batchOf('t', [message]))
    const table = await DeltaTable.open({ path, mergeMode })
    try {
      await table.merge(ipc, { primaryKey })
      properties = (await table.info()).properties
    } finally {
      await table.close()
    }
  }
  return properties['kafka2delta.forms']
}

for (const mergeMode of ['merge-on-read', 'copy-on-write'] as const) {
  test(`${mergeMode}: a unit that changed while nothing ran is refused`, async (t) => {
    const changed = runs(
      [
        [TIME, 3_723_004],
        [MICRO_TIME, 3_723_004_000n],
      ],
      {},
      mergeMode,
    )
    await t.throwsAsync(changed, {
      code: 'SCHEMA_INCOMPATIBLE',
      message: /'at\[\]' holds milliseconds in the table and microseconds in the changes.*time\.precision\.mode/s,
    })
    t.is(
      await runs(
        [
          [TIME, 1],
          [TIME, 2],
        ],
        {},
        mergeMode,
      ),
      '{"at[]":"milliseconds","id":"plain"}',
    )
  })

  test(`${mergeMode}: plain numbers that became times of day while nothing ran are refused, and times that became plain`, async (t) => {
    const pairs: [one: [unknown, unknown], other: [unknown, unknown]][] = [
      [
        ['int', 90],
        [TIME, 3_723_004],
      ],
      [
        ['int', 90],
        [MICRO_TIME, 3_723_004_000n],
      ],
      [
        ['long', 90n],
        [MICRO_DURATION, 3_723_004n],
      ],
      [
        [within('int'), { member: 90 }],
        [within(TIME), { member: 3_723_004 }],
      ],
    ]
    for (const [one, other] of pairs) {
      for (const [before, after] of [
        [one, other],
        [other, one],
      ] as const) {
        await t.throwsAsync(
          runs([before, after], {}, mergeMode),
          { code: 'SCHEMA_INCOMPATIBLE', message: /'at\[\].* in the table and .*time\.precision\.mode/s },
          JSON.stringify([before[0], after[0]]),
        )
      }
    }
    const grown: [unknown, unknown][] = [
      ['int', 90],
      ['long', 90n],
      ['int', 90],
    ]
    t.is(await runs(grown, {}, mergeMode), '{"at[]":"plain","id":"plain"}')
  })

  test(`${mergeMode}: texts of times of day have no unit`, async (t) => {
    const forms = await runs(
      [
        [TIME, 1],
        [MICRO_TIME, 1000n],
      ],
      { time: 'string' },
      mergeMode,
    )
    t.is(forms, '{"at[]":"HH:MM:SS.ffffff","id":"plain"}')
  })
}
