/** From the text that our side makes of a stored value, a comparison reads that value: equal texts are equal values. */

import { Utf8, vectorFromArray } from 'apache-arrow'
import test, { type ExecutionContext } from 'ava'
import type { DeltaType } from '../../src/delta/schema-json.js'
import { comparable } from '../../src/verify/comparable.js'
import { plain, sized, strings } from '../../src/verify/database-text.js'
import { mysqlReading } from '../../src/verify/sources/mysql-types.js'
import { postgresReading } from '../../src/verify/sources/postgres-types.js'
import { generator, SEED } from '../helpers/random.js'

const random = generator(SEED)
const VALUES = 500

const vector = (values: readonly unknown[]) => ({ data: [], get: (row: number) => values[row] }) as never

/** The texts of values, without what tells their ends. */
function texts(cells: typeof strings, values: readonly unknown[], isSized: boolean): string[] {
  const cell = cells(vector(values))
  return values.map((_, row) => cell(row).slice(isSized ? cell(row).indexOf(':') + 1 : 0, -1))
}

const target = (type: DeltaType, form = '') => ({ type, form, options: {} })
/** Times of day as microseconds. */
const formOf = (type: DeltaType, source: string) => (type === 'long' && source.startsWith('time') ? 'microseconds' : '')
const dialects = {
  postgres: (type: DeltaType, source: string, form = formOf(type, source)) =>
    postgresReading('c', { name: source, isEnum: false }, target(type, form)),
  mysql: (type: DeltaType, source: string, form = formOf(type, source)) =>
    mysqlReading('c', source, target(type, form)),
}

const LAST = 253_402_300_799_999_999n
const FIRST = -62_135_596_800_000_000n
const moments = () => [
  0n,
  -1n,
  1n,
  FIRST,
  LAST,
  ...many(() => FIRST + ((random.signed(64) & 0x7ffffffffffffffn) % (LAST - FIRST))),
]
/** What the connector takes for years of two digits is not compared. */
const YEAR_100 = -59_011_459_200_000_000n
const later = () => moments().filter((micros) => micros >= YEAR_100)
const many = <T>(make: () => T): T[] => Array.from({ length: VALUES }, make)
const double = () => random.bytes(8).readDoubleLE()
const doubles = () => [
  ...[0, -0, 1, -1.5, 1e15, 1e21, 1e-4, 1e-5, 1e-6, 1e-7, 123456789012345680000, 5e-324, Number.MAX_VALUE],
  ...[Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN],
  ...many(double),
  ...many(() => (random.next() - 0.5) * 10 ** (random.below(50) - 25)),
]
const letters = ['a', 'NULL', 'null', '"', '\\', ',', '{', '}', ' ', '\t', '\n', '|', ':', 'é', 'à', '🎉', '']
const text = () => Array.from({ length: random.below(5) }, () => random.pick(letters)).join('')
/** A decimal's unscaled number in 32-bit words, as Arrow's reader gives it. */
function words(text: string): Uint32Array {
  const unscaled = BigInt.asUintN(128, BigInt(text.replace('.', '')))
  return Uint32Array.from({ length: 4 }, (_, i) => Number((unscaled >> BigInt(32 * i)) & 0xffffffffn))
}
const decimals = (scale: number) => () => {
  const digits = String(random.signed(90))
    .replace('-', '')
    .padStart(scale + 1, '0')
  const sign = random.below(2) && /[1-9]/.test(digits) ? '-' : ''
  return words(sign + digits)
}
const list = (elementType: string) => ({ type: 'array', elementType })
const listOf = (item: () => unknown) => () =>
  Array.from({ length: random.below(4) }, () => (random.below(4) === 0 ? null : item()))

/** Dialect, type of the Delta table, type of the source, values of the Delta table. */
const CASES: [keyof typeof dialects, DeltaType, string, () => unknown[]][] = [
  ['postgres', 'short', 'smallint', () => [0, -32768, 32767]],
  ['postgres', 'integer', 'integer', () => many(() => Number(random.signed(32)))],
  ['postgres', 'long', 'bigint', () => many(() => random.signed(64))],
  [
    'postgres',
    'long',
    'time without time zone',
    () => [0n, 86_400_000_000n, 1n, ...many(() => random.signed(36) & 0xfffffffffn)],
  ],
  ['postgres', 'long', 'time(3) without time zone', () => [1n, 1000n, 999_999n]],
  ['postgres', 'float', 'real', () => doubles().map(Math.fround)],
  ['postgres', 'double', 'double precision', doubles],
  ['postgres', 'boolean', 'boolean', () => [true, false]],
  ['postgres', 'date', 'date', () => [0, -1, -719_162, 2_932_896, ...many(() => random.below(2_900_000) - 719_000)]],
  ['postgres', 'timestamp', 'timestamp without time zone', moments],
  ['postgres', 'timestamp_ntz', 'timestamp(3) without time zone', moments],
  ['postgres', 'timestamp', 'timestamp with time zone', moments],
  ['postgres', 'binary', 'bytea', () => [Uint8Array.of(), ...many(() => random.bytes(random.below(9)))]],
  ['postgres', 'string', 'character(5)', () => many(text)],
  ['postgres', 'decimal(38,10)', 'numeric(38,10)', () => many(decimals(10))],
  ['postgres', 'decimal(38,10)', 'numeric(38,4)', () => many(decimals(10))],
  ['postgres', 'decimal(38,2)', 'numeric(38,10)', () => many(decimals(2))],
  ['postgres', 'decimal(20,0)', 'bigint', () => many(() => words(String(random.signed(64))))],
  ['postgres', 'decimal(38,10)', 'numeric', () => many(decimals(10))],
  ['postgres', 'decimal(7,0)', 'numeric(5,-2)', () => many(decimals(0))],
  ['postgres', list('integer'), 'integer[]', () => many(listOf(() => Number(random.signed(32))))],
  ['postgres', list('boolean'), 'boolean[]', () => many(listOf(() => random.below(2) === 1))],
  ['postgres', list('double'), 'double precision[]', () => many(listOf(double))],
  ['postgres', list('float'), 'real[]', () => many(listOf(() => Math.fround(double())))],
  ['postgres', list('string'), 'text[]', () => many(listOf(text))],
  ['mysql', 'long', 'bigint(20)', () => many(() => random.signed(64))],
  ['mysql', 'integer', 'year(4)', () => [0, 1901, 2155]],
  ['mysql', 'float', 'float', () => doubles().filter(Number.isFinite).map(Math.fround)],
  ['mysql', 'long', 'bigint(20) unsigned', () => many(() => random.signed(64))],
  ['mysql', 'long', 'time(6)', () => [-3_020_398_999_999n, -1n, 0n, ...many(() => random.signed(41))]],
  ['mysql', 'long', 'time', () => [-1n, 0n, 1_000_000n]],
  ['mysql', 'double', 'double', doubles],
  ['mysql', 'boolean', 'tinyint(1)', () => [true, false]],
  ['mysql', 'date', 'date', () => [0, -1, -683_003, 2_932_896]],
  ['mysql', 'timestamp', 'datetime(3)', later],
  ['mysql', 'timestamp', 'timestamp', later],
  ['mysql', 'decimal(38,10)', 'decimal(38,10)', () => many(decimals(10))],
  ['mysql', 'decimal(38,10)', 'decimal(38,2) unsigned', () => many(decimals(10))],
  ['mysql', 'string', 'varchar(10)', () => many(text)],
]

const asSource = (bytes: string) => Buffer.from(bytes, 'latin1').toString()

function inverse(t: ExecutionContext, [dialect, type, source, make]: (typeof CASES)[number]): void {
  const values = make()
  const reading = dialects[dialect](type, source)
  const how = comparable(type)
  if (!reading?.hash || how === null) throw new Error(`${JSON.stringify(type)} of ${source} has no hash`)
  const { cells, sized: isSized } = reading.hash
  texts(cells, values, isSized).forEach((bytes, i) => {
    t.is(reading.value(asSource(bytes)), how.stored(values[i]), `${bytes} of ${dialect} ${source}`)
    if (!isSized) t.false(bytes === '' || bytes.includes('|'), bytes)
  })
}

for (const one of CASES) {
  test(`${one[0]} ${JSON.stringify(one[1])} of ${one[2]} (SEED=${SEED})`, inverse, one)
}

test('values that are not sure to be what the stream stores are not read', (t) => {
  const none = (reading: unknown) => t.is(reading, null)
  none(dialects.postgres('float', 'double precision'))
  none(dialects.postgres('long', 'interval'))
  none(dialects.postgres('long', 'timestamp without time zone'))
  none(dialects.postgres('integer', 'time without time zone'))
  none(dialects.postgres('string', 'time without time zone'))
  none(dialects.postgres('integer', 'boolean'))
  none(dialects.postgres('integer', 'my_domain'))
  none(dialects.postgres('string', 'my_composite'))
  none(dialects.postgres('string', 'bytea'))
  none(dialects.postgres('string', 'hstore'))
  none(dialects.postgres('string', 'interval'))
  none(dialects.postgres('string', 'tstzrange'))
  none(dialects.postgres('string', 'timestamp with time zone'))
  none(dialects.postgres('string', 'timestamp without time zone'))
  none(dialects.postgres('timestamp_ntz', 'timestamp with time zone'))
  none(dialects.postgres(list('integer'), 'int2vector'))
  none(dialects.postgres(list('string'), 'my_enum[]'))
  none(dialects.mysql('double', 'float'))
  none(dialects.mysql('boolean', 'bit(2)'))
  none(dialects.mysql('boolean', 'tinyint(4)'))
  none(dialects.mysql('string', 'varbinary(10)'))
  none(dialects.mysql('string', 'json'))
  none(dialects.mysql('string', 'point'))
  none(dialects.mysql('string', 'time(6)'))
  none(dialects.mysql('long', 'time(6)', ''))
})

test('texts that are read otherwise than they are stored have no hash', (t) => {
  const unhashed = (reading: { hash?: unknown } | null) => t.true(reading !== null && reading.hash === undefined)
  unhashed(dialects.postgres('decimal(38,2)', 'money'))
  unhashed(dialects.postgres('double', 'numeric(10,2)'))
  unhashed(dialects.postgres('binary', 'bit(12)'))
  unhashed(dialects.postgres('integer', 'time(3) without time zone', 'milliseconds'))
  unhashed(dialects.mysql('binary', 'bit(12)'))
})

test('texts of edge values', (t) => {
  const of = (dialect: keyof typeof dialects, type: DeltaType, source: string, value: unknown) =>
    texts(dialects[dialect](type, source)?.hash?.cells as typeof strings, [value], typeof type !== 'string')[0]
  t.is(of('postgres', 'double', 'double precision', 1e15), '1e+15')
  t.is(of('postgres', 'double', 'double precision', 1.5e-5), '1.5e-05')
  t.is(of('postgres', 'double', 'double precision', -0), '-0')
  t.is(of('postgres', 'double', 'double precision', 999999999999999), '999999999999999')
  t.is(of('mysql', 'double', 'double', -1.5e-10), '-0.00000000015')
  t.is(of('mysql', 'double', 'double', 1.5e300), '1.5e300')
  t.is(of('postgres', 'timestamp', 'timestamp with time zone', -1n), '1969-12-31 23:59:59.999999+00')
  t.is(of('postgres', 'timestamp', 'timestamp without time zone', FIRST), '0001-01-01 00:00:00')
  t.is(of('mysql', 'timestamp', 'datetime(3)', 500_000n), '1970-01-01 00:00:00.500')
  t.is(of('mysql', 'timestamp', 'datetime(3)', 500_001n), '1970-01-01 00:00:00.500001')
  t.is(of('mysql', 'long', 'time(6)', -3_020_398_999_999n), '-838:59:58.999999')
  t.is(of('postgres', 'decimal(10,2)', 'numeric(10,4)', words('-0.50')), '-0.5000')
  t.is(of('postgres', 'decimal(10,4)', 'numeric(10,2)', words('1.2345')), '1.2345')
  t.is(
    of('postgres', list('string'), 'text[]', ['a', null, 'c d', 'NULL', '', 'q"\\']),
    '{a,NULL,"c d","NULL","","q\\"\\\\"}',
  )
})

test('cells tell where they end, and null from an empty text', (t) => {
  const cell = strings(vectorFromArray(['é', null, ''], new Utf8()))
  t.deepEqual([cell(0), cell(1), cell(2)], ['2:\u00c3\u00a9|', ':|', '0:|'])
  const slow = strings(vector(['é', null, '']))
  t.deepEqual([slow(0), slow(1), slow(2)], ['2:\u00c3\u00a9|', ':|', '0:|'])
  const number = plain(String)(vector([1, null]))
  t.deepEqual([number(0), number(1)], ['1|', '|'])
  const bytes = sized(String)(vector(['a|b', null]))
  t.deepEqual([bytes(0), bytes(1)], ['3:a|b|', ':|'])
})
