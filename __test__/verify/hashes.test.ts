/** Hashes of chunks: the queries that compute them, and our own. */

import { createHash } from 'node:crypto'
import { Int32, Table, Utf8, vectorFromArray } from 'apache-arrow'
import test from 'ava'
import { hashOf, hashText } from '../../src/verify/chunk-hash.js'
import { digits, plain, strings } from '../../src/verify/database-text.js'
import * as mysql from '../../src/verify/sources/mysql-hash.js'
import * as postgres from '../../src/verify/sources/postgres-hash.js'

const plainly = { hash: { cells: strings, sized: false } }
const sizedly = { hash: { cells: strings, sized: true } }

test('a hash is the sum of the halves of the rows’ MD5s', (t) => {
  const rows: [number | null, string | null][] = [
    [1, 'é'],
    [2, null],
    [3, ''],
    [null, 'x|y'],
  ]
  const texts = ['1|2:é|', '2|:|', '3|0:|', '|3:x|y|']
  let [high, low] = [0n, 0n]
  for (const text of texts) {
    const hex = createHash('md5').update(text).digest('hex')
    high += BigInt(`0x${hex.slice(0, 16)}`)
    low += BigInt(`0x${hex.slice(16)}`)
  }
  const table = (of: typeof rows) =>
    new Table({
      c0: vectorFromArray(
        of.map(([n]) => n),
        new Int32(),
      ),
      c1: vectorFromArray(
        of.map(([, s]) => s),
        new Utf8(),
      ),
    })
  const cells = [plain(digits), strings]
  t.is(hashOf(table(rows), cells), hashText(high, low))
  t.is(hashOf(table(rows.toReversed()), cells), hashText(high, low))
  t.is(hashOf(table(rows.slice(0, 2)).concat(table(rows.slice(2))), cells), hashText(high, low))
  t.not(hashOf(table(rows.slice(1)), cells), hashText(high, low))
  t.is(hashOf(table([]), cells), hashText(0n, 0n))
  // Sums of signed halves are the same, modulo 2^64.
  t.is(hashText(-1n, 1n << 64n), `${'f'.repeat(16)}${'0'.repeat(16)}`)
})

test('a long row', (t) => {
  const text = 'é'.repeat(100_000)
  const hex = createHash('md5').update(`200000:${text}|`).digest('hex')
  t.is(hashOf(new Table({ c0: vectorFromArray([text], new Utf8()) }), [strings]), hex)
})

test('PostgreSQL: the query of all chunks', (t) => {
  const columns = [
    { sql: '"a"', ...plainly },
    { sql: '"b"', ...sizedly },
  ]
  const key = [
    { text: '"a"', order: '"a"' },
    { text: '"b"', order: '"b" COLLATE "C"' },
  ]
  const sql = postgres.hashesSql({ table: '"s"."t"', key, columns, chunkRows: 7 })
  const size = 'CASE WHEN "b" IS DISTINCT FROM NULL THEN octet_length(concat("b")) END'
  t.true(sql.includes('SELECT "a" AS k0, "a" AS o0, "b" AS k1, "b" COLLATE "C" AS o1, '), sql)
  t.true(sql.includes(`md5(concat("a", '|', ${size}, ':', "b", '|')) AS hash FROM "s"."t"`), sql)
  t.true(sql.includes('ORDER BY "a", "b" COLLATE "C" OFFSET 0'), sql)
  t.true(sql.endsWith('WHERE rows % 7 = 0 OR last'), sql)
  // More arguments than a function takes.
  const many = Array.from({ length: 120 }, (_, i) => ({ sql: `c${i}`, ...plainly }))
  const wide = postgres.hashesSql({ table: 't', key, columns: many, chunkRows: 7 })
  t.true(wide.includes(`md5(concat(concat(c0, '|',`), wide)
  t.true(wide.includes(`c119, '|')))`), wide)
})

test('MySQL: the query of all chunks', (t) => {
  const columns = [
    { sql: 'A', ...plainly },
    { sql: 'B', ...sizedly },
  ]
  const key = [{ text: 'CONVERT(`a` USING utf8mb4)', order: 'CAST(`a` AS BINARY)' }]
  const sql = mysql.hashesSql({ table: '`s`.`t`', key, columns, chunkRows: 7 })
  const named = 'CONVERT(`a` USING utf8mb4) AS `#key0`, CAST(`a` AS BINARY) AS `#order0`'
  t.true(sql.includes(`SELECT ${named}, MD5(CONCAT(IFNULL(CONCAT(A, '|'), '|'), `), sql)
  t.true(sql.includes("IFNULL(CONCAT(LENGTH(B), ':', B, '|'), ':|'))) AS `#hash` FROM `s`.`t`"), sql)
  t.true(sql.includes('MAX(CASE WHEN `#row` % 7 = 0 THEN `#key0` END) AS `#key0`'), sql)
  t.true(sql.endsWith('GROUP BY (`#row` - 1) DIV 7 ORDER BY MIN(`#row`)'), sql)
})
