/** Tables of all types with edge values, as their databases write them, and the types of their Delta tables. */

import type { DeltaType } from '../../../src/delta/schema-json.js'

interface TypedTable {
  table: string
  types: Record<string, DeltaType>
  key: string[]
}

const list = (elementType: string): DeltaType => ({ type: 'array', elementType })

const SIMPLE = [
  'CREATE TABLE simple (id int PRIMARY KEY, v varchar(20))',
  'CREATE TABLE nothing (id int PRIMARY KEY, v varchar(20))',
  'CREATE TABLE moment (id int PRIMARY KEY, v varchar(20))',
  'CREATE TABLE busy (id int PRIMARY KEY, v varchar(20))',
]

/** A table with a key, and 40 rows of it; i counts them. */
const keyed = (name: string, key: string, select: string) => {
  const columns = key.replaceAll(/(\w+) [^,]+/g, '$1')
  return [
    `CREATE TABLE ${name} (${key}, v text, n int, PRIMARY KEY (${columns}))`,
    `INSERT INTO ${name} ${select}, 'v' || i, i FROM generate_series(1, 40) i`,
  ]
}

const rest = { v: 'string', n: 'integer' } as const

/** More than a function's arguments. */
const MANY = Array.from({ length: 120 }, (_, i) => `c${i}`)

export const POSTGRES = [
  "CREATE TYPE mood AS ENUM ('sad', 'o|k', 'happy é')",
  'CREATE TYPE pair AS (a int, b text)',
  'CREATE DOMAIN note AS text',
  `CREATE TABLE all_types (id int PRIMARY KEY, c_small smallint, c_big bigint, c_num numeric(10,2), c_num38 numeric(38,10),
    c_any numeric, c_exact numeric, c_real real, c_double double precision, c_bool boolean, c_text text, c_var varchar(20),
    c_char char(5), c_bytea bytea, c_uuid uuid, c_json json, c_jsonb jsonb, c_date date, c_time time, c_ts timestamp,
    c_ts3 timestamp(3), c_tz timestamptz, c_ints int[], c_texts text[], c_reals real[], c_enum mood, c_pair pair, c_note note)`,
  `INSERT INTO all_types VALUES
    (1, 32767, 9223372036854775807, -0.00, 1234567890123456789012345678.0123456789, 1.500, 1.500, 1.1, 1e15, true,
      'a|b', 'c:d', 'ab', '\\x00ff7c', '11111111-2222-3333-4444-555555555555', '{"a": 1,  "b": [1,2]}', '{"b": [1,2], "a": 1}',
      '2024-02-29', '13:14:15.123456', '2024-02-29 13:14:15.123456', '2024-02-29 13:14:15.123', '2024-02-29 13:14:15.5+02',
      '{1,NULL,-3}', '{a,NULL,"c d","NULL",""}', '{1.1,NULL,1e-30}', 'happy é', '(1,x)', 'note'),
    (2, -32768, -9223372036854775808, -99999999.99, -0.0000000001, -0.10, -0.10, -1e-30, -1.7976931348623157e308, false,
      '', '', '', '\\x', '00000000-0000-0000-0000-000000000000', 'null', '[]', '1969-12-31', '00:00:00',
      '1969-12-31 23:59:59.999999', '1582-10-04 00:00:00', '9999-12-31 23:59:59.999999+00', '{}', '{}', '{}', 'o|k',
      '(,)', ''),
    (3, 0, 0, 0, 0, 0, 0, 'NaN', 5e-324, NULL, E'back\\\\slash "quoted" \\t new\\nline', 'é 🎉', 'é', '\\x5c78', NULL, '" "', '" "',
      '0001-01-01', '23:59:59.999999', '0001-01-01 00:00:00', '0001-01-01 00:00:00.001', '0001-01-01 00:00:00.000001+00',
      '{0}', '{"a\\"b\\\\c","{x}","à,b",tab\tbed}', '{NaN,Infinity,-0}', 'sad', NULL, 'a|b'),
    (4, 1, 1, 10.10, 10.1000000000, 100, 100, '-0', '-0', true, '5:a|b', ':', ' ', '\\x3a', NULL, NULL, NULL, '9999-12-31',
      '24:00:00', '9999-12-31 23:59:59.999999', NULL, '1970-01-01 00:00:00+00', '{2147483647}', '{ä,"é"}', '{3.4e38}', 'sad',
      '(7,"a b")', NULL),
    (5, 1, 1, 10.10, 10.1, 1e20, 1e20, 'Infinity', '-Infinity', true, 'NULL', 'null', 'nul', NULL, NULL, NULL, NULL, NULL,
      NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`,
  'INSERT INTO all_types (id) VALUES (-2147483648), (2147483647)',
  `INSERT INTO all_types SELECT i, i, i * 1234567890123, i * 1.37 - 100, i * 1.0000000001, i / 8.0, i / 8.0, i * 1.1, i / 7.0, i % 2 = 0,
    repeat(chr(96 + i), i % 30), 'é|' || i, i::text, decode(md5(i::text), 'hex'), md5(i::text)::uuid, json_build_object('i', i),
    jsonb_build_object('i', i), date '1900-01-01' + i * 1000, time '00:00' + i * interval '1.000001 second',
    timestamp '1969-12-31' + i * interval '3601.000001 second', timestamp '1969-12-31' + i * interval '3601.001 second',
    timestamptz '1969-12-31' + i * interval '3601.1 second', ARRAY[i, -i], ARRAY['t ' || i, NULL], ARRAY[i * 1.1]::real[],
    'sad', ROW(i, 'x')::pair, 'n' || i
   FROM generate_series(6, 60) i`,
  // Composite types are not compared.
  'ALTER TABLE all_types DROP COLUMN c_pair',
  // Orders otherwise than its bytes.
  'CREATE TABLE text_key (k text COLLATE "und-x-icu" PRIMARY KEY, v text, d double precision)',
  `INSERT INTO text_key SELECT k || i, 'v' || i, i FROM unnest(ARRAY['a', 'B', 'é', 'Z', 'z', '_', 'a|', '''', '\\', ' ', '🎉', '']) k,
    generate_series(1, 4) i`,
  'CREATE TABLE composite (a int, b varchar(20) COLLATE "und-x-icu", c timestamptz, n int, PRIMARY KEY (a, b, c))',
  `INSERT INTO composite SELECT a, b, timestamptz '1969-12-31 23:59:59.999999+00' + c * interval '1 us', a * c
    FROM generate_series(-2, 2) a, unnest(ARRAY['a', 'B', 'é', '']) b, generate_series(0, 2) c`,
  'CREATE TABLE char_key (k char(5) PRIMARY KEY, u uuid, v numeric(6,3))',
  'INSERT INTO char_key SELECT chr(64 + i), md5(i::text)::uuid, i / 10.0 FROM generate_series(1, 26) i',
  // Databases order these otherwise than the texts and numbers that are stored.
  ...keyed('num_key', 'k numeric', 'SELECT (i - 20) * 1.50'),
  ...keyed(
    'double_key',
    'k double precision',
    "SELECT CASE i WHEN 1 THEN '-Infinity' WHEN 2 THEN 'NaN' ELSE (i - 20) / 7.0 * 10 ^ (i % 9) END",
  ),
  ...keyed('real_key', 'k real', 'SELECT (i - 20) / 7.0'),
  'CREATE DOMAIN small AS int',
  'CREATE DOMAIN smaller AS small',
  'CREATE DOMAIN label AS varchar(20) COLLATE "und-x-icu"',
  ...keyed('domain_key', 'k smaller, l label', 'SELECT (i - 20) / 10 * 100, chr(64 + i) || i'),
  "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
  ...keyed('ci_key', 'k text COLLATE ci', "SELECT CASE WHEN i % 2 = 0 THEN 'A' ELSE 'a' END || i"),
  'CREATE EXTENSION citext',
  ...keyed('citext_key', 'k citext', "SELECT CASE WHEN i % 2 = 0 THEN 'A' ELSE 'a' END || i"),
  ...keyed('enum_key', 'k mood, i int', "SELECT (ARRAY['sad', 'o|k', 'happy é'])[1 + i % 3]::mood, i"),
  ...keyed(
    'misc_key',
    'a boolean, b bytea, c_time time, d date, e char(4)',
    "SELECT i % 2 = 0, decode(md5((i % 3)::text), 'hex'), '00:00:01'::time + i % 4 * interval '0.1 s', date '1969-12-31' + i % 5, E'a\\t' || i",
  ),
  `CREATE TABLE many (id int PRIMARY KEY, ${MANY.map((name) => `${name} text`).join(', ')})`,
  `INSERT INTO many SELECT i, ${MANY.map((name) => `NULLIF('${name} ' || i % 3, '${name} 0')`).join(', ')} FROM generate_series(1, 12) i`,
  ...SIMPLE,
  "INSERT INTO simple SELECT i, NULLIF('v' || i, 'v1') FROM generate_series(1, 100) i",
  "INSERT INTO moment SELECT i, 'v' || i FROM generate_series(1, 100) i",
  "INSERT INTO busy SELECT i, 'v' || i FROM generate_series(1, 100) i",
  'CREATE TABLE unhashed (id int PRIMARY KEY, v time)',
  "INSERT INTO unhashed SELECT i, time '00:00' + i * interval '1 second' FROM generate_series(1, 10) i",
  'CREATE TABLE odd (id int PRIMARY KEY, d date, ts timestamp, n numeric)',
  "INSERT INTO odd SELECT i, '2024-01-01', '2024-01-01', i FROM generate_series(1, 20) i",
  "UPDATE odd SET d = 'infinity', ts = '0044-03-15 10:00:00 BC', n = 'NaN' WHERE id = 7",
]

export const POSTGRES_TYPES: TypedTable[] = [
  {
    table: 'all_types',
    types: {
      ...{ id: 'integer', c_small: 'integer', c_big: 'long', c_num: 'decimal(10,2)', c_num38: 'decimal(38,10)' },
      ...{ c_any: 'string', c_exact: 'decimal(38,10)', c_real: 'float', c_double: 'double', c_bool: 'boolean' },
      ...{ c_text: 'string', c_var: 'string', c_char: 'string', c_bytea: 'binary', c_uuid: 'string', c_json: 'string' },
      ...{
        c_jsonb: 'string',
        c_date: 'date',
        c_time: 'long',
        c_ts: 'timestamp',
        c_ts3: 'timestamp_ntz',
        c_tz: 'timestamp',
      },
      ...{
        c_ints: list('integer'),
        c_texts: list('string'),
        c_reals: list('float'),
        c_enum: 'string',
      },
      c_note: 'string',
    },
    key: ['id'],
  },
  { table: 'text_key', types: { k: 'string', v: 'string', d: 'double' }, key: ['k'] },
  { table: 'composite', types: { a: 'integer', b: 'string', c: 'timestamp', n: 'integer' }, key: ['a', 'b', 'c'] },
  { table: 'many', types: { id: 'integer', ...Object.fromEntries(MANY.map((name) => [name, 'string'])) }, key: ['id'] },
  { table: 'num_key', types: { k: 'string', ...rest }, key: ['k'] },
  { table: 'double_key', types: { k: 'double', ...rest }, key: ['k'] },
  { table: 'real_key', types: { k: 'float', ...rest }, key: ['k'] },
  { table: 'domain_key', types: { k: 'integer', l: 'string', ...rest }, key: ['k', 'l'] },
  { table: 'ci_key', types: { k: 'string', ...rest }, key: ['k'] },
  { table: 'citext_key', types: { k: 'string', ...rest }, key: ['k'] },
  { table: 'enum_key', types: { k: 'string', i: 'integer', ...rest }, key: ['k', 'i'] },
  {
    table: 'misc_key',
    types: { a: 'boolean', b: 'binary', c_time: 'long', d: 'date', e: 'string', ...rest },
    key: ['a', 'b', 'c_time', 'd', 'e'],
  },
  { table: 'char_key', types: { k: 'string', u: 'string', v: 'decimal(6,3)' }, key: ['k'] },
]

export const MARIADB = [
  `CREATE TABLE all_types (id INT PRIMARY KEY, c_small SMALLINT, c_flag TINYINT(1), c_int INT UNSIGNED, c_big BIGINT,
    c_num DECIMAL(10,2), c_num38 DECIMAL(38,10), c_float FLOAT, c_double DOUBLE, c_var VARCHAR(20), c_latin VARCHAR(20) CHARACTER SET latin1,
    c_text TEXT, c_bin VARCHAR(20) COLLATE utf8mb4_bin, c_enum ENUM('a', 'é|'), c_set SET('x', 'y'), c_json JSON, c_date DATE,
    c_time TIME, c_time6 TIME(6), c_dt DATETIME, c_dt6 DATETIME(6), c_ts3 TIMESTAMP(3) NULL, c_vb VARBINARY(20), c_blob BLOB,
    c_fixed BINARY(4), c_year YEAR)`,
  `INSERT INTO all_types VALUES
    (1, 32767, 1, 4294967295, 9223372036854775807, -0.00, 1234567890123456789012345678.0123456789, 1.2345678, 1e15, 'a|b', 'é', 'c:d', 'é 🎉',
      'é|', 'x,y', '{"a": 1}', '2024-02-29', '-838:59:59', '-838:59:58.999999', '2024-02-29 13:14:15', '2024-02-29 13:14:15.123456',
      '2024-02-29 13:14:15.5', x'00ff7c', x'5c78', x'00010203', 2024),
    (2, -32768, 0, 0, -9223372036854775808, -99999999.99, -0.0000000001, 16777216, -1.7976931348623157e308, '', '', '', '', 'a', '', '""',
      '1969-12-31', '00:00:00', '00:00:00.000001', '1969-12-31 23:59:59', '1969-12-31 23:59:59.999999', '1970-01-02 00:00:00',
      '', '', '', 1901),
    (3, 0, NULL, 1, 0, 0, 0, -3.4028234e38, 2.2250738585072014e-308, 'back\\\\slash "q" \\'s\\'', ':', '5:a|b', '\\n\\t', NULL, NULL, 'null',
      '0100-01-01', '23:59:59', '-00:00:00.5', '0100-01-01 00:00:00', '9999-12-31 23:59:59.999999', NULL, x'7c', x'3a', 'abcd', NULL),
    (4, 0, NULL, 1, 0, 10.10, 10.1, 1e-45, 0.1, 'x', 'x', 'x', 'x', 'a', 'x', '1', '9999-12-31', '100:00:00', '838:59:58.999999',
      '9999-12-31 23:59:59', '0100-01-01 00:00:00', '2037-12-31 23:59:59.999', NULL, NULL, NULL, 2155)`,
  'INSERT INTO all_types (id) VALUES (-2147483648), (2147483647)',
  `INSERT INTO all_types SELECT seq, seq, seq % 2, seq, seq * 1234567890123, seq * 1.37 - 100, seq * 1.0000000001, seq / 7e0, seq / 7e0,
    CONCAT('é|', seq), 'latin', REPEAT('t', seq), 'bin', 'a', 'y', '[]', DATE '1900-01-01' + INTERVAL seq * 1000 DAY,
    SEC_TO_TIME(seq), SEC_TO_TIME(seq * 1.000001), TIMESTAMP '1969-12-31 00:00:00' + INTERVAL seq HOUR,
    TIMESTAMP '1969-12-31 00:00:00' + INTERVAL seq * 3601.000001 SECOND, TIMESTAMP '2000-01-01 00:00:00' + INTERVAL seq * 3601.001 SECOND,
    UNHEX(MD5(seq)), MD5(seq), 'ab', 2000 + seq FROM seq_5_to_60`,
  'CREATE TABLE text_key (k VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v TEXT, d DOUBLE)',
  `INSERT INTO text_key SELECT CONCAT(k, seq), CONCAT('v', seq), seq FROM
    (SELECT 'a' AS k UNION SELECT 'B' UNION SELECT 'é' UNION SELECT 'z' UNION SELECT '_' UNION SELECT 'a|' UNION SELECT ''''
     UNION SELECT '\\\\' UNION SELECT ' ' UNION SELECT '🎉' UNION SELECT '') AS k, seq_1_to_4`,
  'CREATE TABLE ubig_key (k BIGINT UNSIGNED PRIMARY KEY, v TEXT, n INT)',
  "INSERT INTO ubig_key SELECT seq * 460000000000000000 + 1, CONCAT('v', seq), seq FROM seq_1_to_40",
  'CREATE TABLE double_key (k DOUBLE PRIMARY KEY, v TEXT, n INT)',
  "INSERT INTO double_key SELECT (CAST(seq AS SIGNED) - 20) / 7e0 * POW(10, seq % 9), CONCAT('v', seq), seq FROM seq_1_to_40",
  'CREATE TABLE float_key (k FLOAT PRIMARY KEY, v TEXT, n INT)',
  "INSERT INTO float_key SELECT (CAST(seq AS SIGNED) - 20) / 7e0, CONCAT('v', seq), seq FROM seq_1_to_40",
  "CREATE TABLE enum_key (k ENUM('z', 'a', 'é|'), s SET('y', 'x'), i INT, v TEXT, n INT, PRIMARY KEY (k, s, i))",
  "INSERT INTO enum_key SELECT 1 + seq % 3, seq % 4, seq, CONCAT('v', seq), seq FROM seq_1_to_40",
  'CREATE TABLE misc_key (y YEAR, c_time TIME(6), d DATE, v TEXT, n INT, PRIMARY KEY (y, c_time, d))',
  `INSERT INTO misc_key SELECT 1990 + seq % 3, SEC_TO_TIME((CAST(seq AS SIGNED) - 20) % 4 * 100000.5), DATE '1969-12-31' + INTERVAL seq DAY,
    CONCAT('v', seq), seq FROM seq_1_to_40`,
  `CREATE TABLE composite (a INT, b VARCHAR(20) CHARACTER SET latin1, c DATETIME(6), d DECIMAL(6,2), e VARBINARY(4), n INT,
    PRIMARY KEY (a, b, c, d, e))`,
  `INSERT INTO composite SELECT CAST(a.seq AS SIGNED) - 3, b, TIMESTAMP '1969-12-31 23:59:59.999999' + INTERVAL c.seq MICROSECOND, c.seq / 2,
    CHAR(c.seq * 100), a.seq * c.seq FROM seq_1_to_4 AS a, (SELECT 'a' AS b UNION SELECT 'B' UNION SELECT 'é' UNION SELECT '') AS b,
    seq_0_to_2 AS c`,
  ...SIMPLE,
  "INSERT INTO simple SELECT seq, NULLIF(CONCAT('v', seq), 'v1') FROM seq_1_to_100",
  "INSERT INTO moment SELECT seq, CONCAT('v', seq) FROM seq_1_to_100",
  "INSERT INTO busy SELECT seq, CONCAT('v', seq) FROM seq_1_to_100",
  'CREATE TABLE unhashed (id INT PRIMARY KEY, v TIME)',
  'INSERT INTO unhashed SELECT seq, SEC_TO_TIME(seq) FROM seq_1_to_10',
]

export const MARIADB_TYPES: TypedTable[] = [
  {
    table: 'all_types',
    types: {
      ...{ id: 'integer', c_small: 'integer', c_flag: 'boolean', c_int: 'long', c_big: 'long', c_num: 'decimal(10,2)' },
      ...{
        c_num38: 'decimal(38,10)',
        c_float: 'float',
        c_double: 'double',
        c_var: 'string',
        c_latin: 'string',
        c_text: 'string',
      },
      ...{ c_bin: 'string', c_enum: 'string', c_set: 'string', c_json: 'string', c_date: 'date', c_time: 'long' },
      ...{
        c_time6: 'long',
        c_dt: 'timestamp',
        c_dt6: 'timestamp_ntz',
        c_ts3: 'timestamp',
        c_vb: 'binary',
        c_blob: 'binary',
      },
      ...{ c_fixed: 'binary', c_year: 'integer' },
    },
    key: ['id'],
  },
  { table: 'text_key', types: { k: 'string', v: 'string', d: 'double' }, key: ['k'] },
  { table: 'ubig_key', types: { k: 'long', ...rest }, key: ['k'] },
  { table: 'double_key', types: { k: 'double', ...rest }, key: ['k'] },
  { table: 'float_key', types: { k: 'float', ...rest }, key: ['k'] },
  { table: 'enum_key', types: { k: 'string', s: 'string', i: 'integer', ...rest }, key: ['k', 's', 'i'] },
  { table: 'misc_key', types: { y: 'integer', c_time: 'long', d: 'date', ...rest }, key: ['y', 'c_time', 'd'] },
  {
    table: 'composite',
    types: { a: 'integer', b: 'string', c: 'timestamp', d: 'decimal(6,2)', e: 'binary', n: 'integer' },
    key: ['a', 'b', 'c', 'd', 'e'],
  },
]
