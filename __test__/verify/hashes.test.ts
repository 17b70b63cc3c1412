/** Hashes of chunks: the queries that compute them, and our own. */

import { createHash } from 'node:crypto'
import { Int32, Table, Utf8, vectorFromArray } from 'apache-arrow'
import test from 'ava'
import { hashOf, hashText } from '../../src/verify/chunk-hash.js'
import type { DeltaType } from '../../src/verify/comparable.js'
import { digits, plain, strings } from '../../src/verify/database-text.js'
import * as mysql from '../../src/verify/sources/mysql-hash.js'
import * as postgres from '../../src/verify/sources/postgres-hash.js'

const postgresSql = (type: DeltaType, source: string) =>
  postgres.hashedColumn('"c"', type, source, 150_000)?.sql.join(', ')
const mysqlSql = (type: DeltaType, source: string) => mysql.hashedColumn('`c`', type, source)?.sql

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

test('PostgreSQL: the text of a column', (t) => {
  t.is(postgresSql('integer', 'integer'), `"c", '|'`)
  t.is(postgresSql('string', 'text'), `octet_length("c"), ':', "c", '|'`)
  t.is(postgresSql('string', 'character varying(20)'), `octet_length("c"), ':', "c", '|'`)
  const any = `CASE WHEN "c" IS DISTINCT FROM NULL THEN octet_length(concat("c")) END, ':', "c", '|'`
  t.is(postgresSql('string', 'jsonb'), any)
  t.is(postgresSql('string', 'text[]'), any)
  t.is(postgresSql({ type: 'array', elementType: 'string' }, 'text[]'), any)
  t.is(postgresSql('float', 'real'), `"c"::double precision, '|'`)
  t.is(postgresSql('decimal(10,2)', 'numeric(10,2)'), `"c", '|'`)
  t.is(postgresSql('decimal(38,10)', 'numeric'), `trim_scale("c"), '|'`)
})

test('MySQL: the text of a column', (t) => {
  t.is(mysqlSql('integer', 'int(11)'), "IFNULL(CONCAT(`c`, '|'), '|')")
  t.is(mysqlSql('binary', 'varbinary(9)'), "IFNULL(CONCAT(CONCAT('x', LOWER(HEX(`c`))), '|'), '|')")
  const text = 'CAST(`c` AS CHAR CHARACTER SET utf8mb4)'
  t.is(mysqlSql('string', "enum('a','b')"), `IFNULL(CONCAT(LENGTH(${text}), ':', ${text}, '|'), ':|')`)
})

test('PostgreSQL: the query of all chunks', (t) => {
  const columns = ['"a"', '"b"'].map((sql) => ({ sql: [sql, "'|'"], cells: strings }))
  const key = [
    { name: '"a"', order: (sql: string) => sql },
    { name: '"b"', order: (sql: string) => `${sql} COLLATE "C"` },
  ]
  const sql = postgres.hashesSql({ table: '"s"."t"', key, columns, chunkRows: 7 })
  t.true(sql.includes(`FROM (SELECT "a" AS k0, "b" AS k1, md5(concat("a", '|', "b", '|')) AS hash FROM "s"."t"`), sql)
  t.true(sql.includes('ORDER BY "a", "b" COLLATE "C" OFFSET 0'), sql)
  t.true(sql.endsWith('WHERE rows % 7 = 0 OR last'), sql)
  // More arguments than a function takes.
  const many = Array.from({ length: 120 }, (_, i) => ({ sql: [`c${i}`, "'|'"], cells: strings }))
  const wide = postgres.hashesSql({ table: 't', key, columns: many, chunkRows: 7 })
  t.true(wide.includes(`md5(concat(concat(c0, '|',`), wide)
  t.true(wide.includes(`c119, '|')))`), wide)
})

test('MySQL: the query of all chunks', (t) => {
  const columns = [
    { sql: 'A', cells: strings },
    { sql: 'B', cells: strings },
  ]
  const key = [{ name: '`a`', order: 'CAST(`a` AS BINARY)' }]
  const sql = mysql.hashesSql({ table: '`s`.`t`', key, columns, chunkRows: 7 })
  t.true(sql.includes('SELECT `a`, CAST(`a` AS BINARY) AS `#order0`, MD5(CONCAT(A, B)) AS `#hash` FROM `s`.`t`'), sql)
  t.true(sql.includes('MAX(CASE WHEN `#row` % 7 = 0 THEN `a` END) AS `a`'), sql)
  t.true(sql.endsWith('GROUP BY (`#row` - 1) DIV 7 ORDER BY MIN(`#row`)'), sql)
})
