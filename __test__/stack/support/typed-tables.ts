/** Tables with a column of every type of PostgreSQL and MariaDB, and edge values in them. */

import { VERSIONS } from '../../../scripts/stack/settings.mjs'

/** A column: its type, and values as SQL. */
type Columns = Record<string, [type: string, ...values: string[]]>

/** What a later Debezium sends rightly: see "What Debezium gets wrong" in docs/debezium.md. */
const from3 = <T>(...values: T[]): T[] => (VERSIONS.debeziumPostgres.startsWith('2.') ? [] : values)

/** Rows of a table: each value of each column at least once, and a row of nulls. */
function rowsOf(columns: Columns): string[][] {
  const longest = Math.max(...Object.values(columns).map(([, ...values]) => values.length))
  const rows = Array.from({ length: longest }, (_, i) =>
    Object.values(columns).map(([, ...values]) => values[i % values.length] as string),
  )
  return [...rows, Object.keys(columns).map(() => 'NULL')]
}

/** The statements that make a table, and those that fill it: with keys from 1 on. */
export function tableOf(name: string, columns: Columns): { create: string; insert(first: number): string } {
  const types = Object.entries(columns).map(([column, [type]]) => `${column} ${type}`)
  return {
    create: `CREATE TABLE ${name} (id int PRIMARY KEY, ${types.join(', ')})`,
    insert: (first) =>
      `INSERT INTO ${name} VALUES ${rowsOf(columns)
        .map((row, i) => `(${[first + i, ...row].join(', ')})`)
        .join(', ')}`,
  }
}

const TEXTS = ["''", "'a'", "' é 🎉 '", "'it''s \"q\"'", "'NULL'", "'{a,b}'"]

export const POSTGRES_PREPARE = [
  'CREATE EXTENSION citext',
  'CREATE EXTENSION hstore',
  'CREATE EXTENSION ltree',
  "CREATE TYPE mood AS ENUM ('sad', 'o|k', 'happy é')",
  'CREATE DOMAIN small AS int CHECK (value < 1000)',
  'CREATE DOMAIN smaller AS small',
  'CREATE DOMAIN note AS varchar(20)',
  'CREATE DOMAIN amount AS numeric(12,3)',
]

export const POSTGRES_COLUMNS: Columns = {
  c_smallint: ['smallint', '-32768', '32767', '0'],
  c_int: ['int', '-2147483648', '2147483647'],
  c_bigint: ['bigint', '-9223372036854775808', '9223372036854775807', '9007199254740993'],
  c_oid: ['oid', '0', '4294967295'],
  c_real: ['real', '1.2345678', "'-0'", "'NaN'", "'Infinity'", '1e-45', '3.4028235e38', '0.1', '16777216'],
  c_double: ['double precision', '0.1', "'-0'", "'-Infinity'", '5e-324', '1.7976931348623157e308', '1e15', '1e-5'],
  c_num: ['numeric(10,2)', '-0.00', '1.50', '-99999999.99'],
  c_num38: ['numeric(38,10)', '1234567890123456789012345678.0123456789', '-0.0000000001', '0'],
  c_num50: ['numeric(50,5)', '123456789012345678901234567890123456789012345.12340', '-0.00001', '0'],
  c_any: ['numeric', '1.500', '100', '1e20', '-0.00', '0.0000000001', '1e-20'],
  c_money: ['money', "'12.50'", "'-0.01'", ...from3("'92233720368547758.07'")],
  c_bool: ['boolean', 'true', 'false'],
  c_text: ['text', ...TEXTS, "E'back\\\\slash \\t \\n'"],
  c_varchar: ['varchar(20)', ...TEXTS],
  c_char: ['char(5)', "'ab'", "''", "' é'"],
  c_citext: ['citext', "'Ab'", "'aB'"],
  c_uuid: ['uuid', "'11111111-2222-3333-4444-55555555555F'"],
  c_json: ['json', `'{"a": 1,  "b": [1,2]}'`, "'null'", `'" "'`],
  c_jsonb: ['jsonb', `'{"b": [1,2.50], "a": 1}'`, "'[]'"],
  c_xml: ['xml', '\'<a b="1"> x </a>\''],
  c_mood: ['mood', "'sad'", "'happy é'", "'o|k'"],
  c_inet: ['inet', "'10.0.0.1'", "'10.0.0.1/8'", "'::1'"],
  c_cidr: ['cidr', "'10.0.0.0/8'", "'::/0'"],
  c_mac: ['macaddr', "'08:00:2b:01:02:03'"],
  c_mac8: ['macaddr8', "'08:00:2b:01:02:03:04:05'"],
  c_int4range: ['int4range', "'[1,5)'", "'empty'", "'(,)'"],
  c_int8range: ['int8range', "'[1,5)'"],
  c_numrange: ['numrange', "'[1.50,5)'"],
  c_daterange: ['daterange', "'[2024-01-01,2024-02-01)'"],
  c_bytea: ['bytea', "'\\x00ff27'", "'\\x'"],
  c_bit: ['bit(1)', "B'1'", "B'0'"],
  c_bits: ['bit(12)', "B'101100001111'", "B'000000000000'", "B'000000000001'"],
  c_varbit: ['varbit', "B'101'", "B'0'", "B''", "B'1000000000'"],
  c_varbits: ['varbit(12)', "B'101'", "B'000000000'"],
  c_date: ['date', "'2024-02-29'", "'1969-12-31'", "'9999-12-31'", "'1583-01-01'"],
  c_time: ['time', "'13:14:15.123456'", "'00:00:00'", "'23:59:59.999999'", "'10:00:00.5'"],
  c_time3: ['time(3)', "'13:14:15.123'", "'00:00:00'"],
  c_timetz: ['timetz', "'11:14:15.123456Z'", "'23:14:15.5-02'", "'10:00:00+05:30'", "'00:00:00+00'"],
  c_ts: ['timestamp', "'2024-02-29 13:14:15.123456'", "'1969-12-31 23:59:59.999999'", "'9999-12-31 23:59:59.999999'"],
  c_ts3: ['timestamp(3)', "'2024-02-29 13:14:15.123'", "'1969-12-31 23:59:59.999'"],
  c_tz: ['timestamptz', "'2024-02-29 13:14:15.123456+02'", "'1970-01-01 00:00:00+00'", "'9999-12-31 23:59:59.5+00'"],
  c_small: ['smaller', '7', '-999'],
  c_note: ['note', ...TEXTS],
  c_amount: ['amount', '1.500', '-0.001'],
  c_ints: ['int[]', "'{1,NULL,-3}'", "'{}'"],
  c_bigints: ['bigint[]', "'{9007199254740993}'"],
  c_texts: ['text[]', `'{a,NULL,"c d","NULL","","q\\"\\\\"}'`, "'{}'"],
  c_varchars: ['varchar(9)[]', "'{a,NULL}'"],
  c_reals: ['real[]', "'{1.1,NULL,1e-30}'"],
  c_doubles: ['double precision[]', "'{0.1,NULL}'"],
  c_bools: ['boolean[]', "'{t,f,NULL}'"],
  c_ltree: ['ltree', "'a.b.c'"],
}

const BEYOND = ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'20000-07-05'", "'2024-02-29'"]

/** Dates and timestamps that Delta lacks: what is stored is the option's choice. */
export const POSTGRES_BEYOND: Columns = {
  // A snapshot gives a date before Christ as one after him.
  c_null_date: ['date', ...BEYOND.filter((date) => !date.includes('BC'))],
  c_clamp_date: ['date', ...BEYOND.filter((date) => !date.includes('BC'))],
  c_null_ts: ['timestamp', ...BEYOND],
  c_clamp_ts: ['timestamp', ...BEYOND],
  c_null_tz: ['timestamptz', ...BEYOND],
  c_clamp_tz: ['timestamptz', ...BEYOND],
}

/** Types that are not compared: what comes of them depends on the connector, or has no text. */
export const POSTGRES_ODD: Columns = {
  c_v: ['text', "'a'", "'b'"],
  c_interval: ['interval', "'1 month 2 days'"],
  c_point: ['point', "'(1,2)'"],
  c_hstore: ['hstore', "'a=>1, b=>NULL'"],
  c_tsrange: ['tsrange', "'[2024-01-01 10:00,2024-02-01 10:00)'"],
  c_tstzrange: ['tstzrange', "'[2024-01-01 10:00+02,2024-02-01 10:00+02)'"],
  c_uuids: ['uuid[]', "'{11111111-2222-3333-4444-555555555555}'"],
  c_nums: ['numeric(5,2)[]', "'{1.5}'"],
  c_dates: ['date[]', "'{2024-01-01}'"],
  ...Object.fromEntries(from3(['c_vector', ['tsvector', "'a fat cat'"]])),
}

const MARIADB_TEXTS = [...TEXTS, "'back\\\\slash'"]

export const MARIADB_COLUMNS: Columns = {
  c_tiny: ['TINYINT', '-128', '127'],
  c_flag: ['TINYINT(1)', '1', '0', '2'],
  c_utiny: ['TINYINT UNSIGNED', '255', '0'],
  c_small: ['SMALLINT', '-32768', '32767'],
  c_usmall: ['SMALLINT UNSIGNED', '65535'],
  c_medium: ['MEDIUMINT', '-8388608', '8388607'],
  c_int: ['INT', '-2147483648', '2147483647'],
  c_uint: ['INT UNSIGNED', '4294967295', '0'],
  c_zero: ['INT(8) ZEROFILL', '12', '4294967295'],
  c_big: ['BIGINT', '-9223372036854775808', '9007199254740993'],
  c_ubig: ['BIGINT UNSIGNED', '9223372036854775808', '18446744073709551615', '7'],
  c_float: ['FLOAT', '1.2345678', '16777216', '-3.4028234e38', '1e-45', '0.1'],
  c_double: ['DOUBLE', '0.1', '-1.7976931348623157e308', '5e-324', '1e15', '1e-7'],
  c_double2: ['DOUBLE(10,2)', '1.2', '-99999999.99'],
  c_dec: ['DECIMAL(10,2)', '-0.00', '1.50', '-99999999.99'],
  c_dec38: ['DECIMAL(38,10)', '1234567890123456789012345678.0123456789', '-0.0000000001'],
  c_dec65: ['DECIMAL(65,5)', '123456789012345678901234567890.12340', '-0.00001', '0'],
  c_char: ['CHAR(5)', "'ab'", "'é'", "' x'"],
  c_varchar: ['VARCHAR(20)', ...MARIADB_TEXTS, "'end '"],
  c_latin: ['VARCHAR(20) CHARACTER SET latin1', "'é'", "'ÿ'"],
  c_bin: ['VARCHAR(20) COLLATE utf8mb4_bin', "'é 🎉'"],
  c_text: ['TEXT', ...MARIADB_TEXTS, "REPEAT('é', 5000)"],
  c_enum: ["ENUM('a', 'é|', '')", "'a'", "'é|'", "''"],
  c_set: ["SET('x', 'y')", "'x,y'", "''"],
  c_json: ['JSON', `'{"a":  1}'`, "'null'"],
  c_binary: ['BINARY(4)', "x'00010203'", "x'01'", "x'00'"],
  c_varbinary: ['VARBINARY(20)', "x'00ff27'", "x''"],
  ...Object.fromEntries(from3(['c_blob', ['BLOB', "x'5c78'", "x''"]])),
  c_bit: ['BIT(1)', "b'1'", "b'0'"],
  c_bits: ['BIT(12)', "b'101100001111'", "b'0'"],
  c_bits64: ['BIT(64)', "b'1000000000000000000000000000000000000000000000000000000000000001'"],
  c_year: ['YEAR', '2024', '1901', '2155'],
  c_date: ['DATE', "'2024-02-29'", "'1969-12-31'", "'9999-12-31'", "'1583-01-01'"],
  c_time: ['TIME', "'-838:59:59'", "'838:59:59'", "'00:00:00'"],
  c_time6: ['TIME(6)', "'-838:59:58.999999'", "'13:14:15.123456'", "'-00:00:00.5'", "'100:00:00'"],
  c_dt: ['DATETIME', "'2024-02-29 13:14:15'", "'9999-12-31 23:59:59'"],
  c_dt3: ['DATETIME(3)', "'1969-12-31 23:59:59.999'"],
  c_dt6: ['DATETIME(6)', "'2024-02-29 13:14:15.123456'", "'9999-12-31 23:59:59.999999'"],
  c_ts: ['TIMESTAMP NULL', "'2024-02-29 13:14:15'", "'1970-01-02 00:00:00'"],
  c_ts6: ['TIMESTAMP(6) NULL', "'2037-12-31 23:59:59.999999'"],
}

export const MARIADB_ODD: Columns = {
  c_v: ['TEXT', "'a'", "'b'"],
  c_floats: ['FLOAT(10,2)', '1.1'],
  c_point: ['POINT', 'ST_PointFromText("POINT(1 2)")'],
  c_zero_date: ['DATE', "'0000-00-00'", "'2024-01-01'"],
  c_zero_dt: ['DATETIME', "'0000-00-00 00:00:00'", "'2024-01-01'"],
  c_early: ['DATE', "'0001-01-01'"],
}
