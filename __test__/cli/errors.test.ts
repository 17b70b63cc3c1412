import test from 'ava'
import pc from 'picocolors'
import { createTableSql } from '../../src/cli/commands/run.js'
import { exitCodeOf, formatError } from '../../src/cli/errors.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { formatBytes, formatCount, formatMs, formatTable } from '../../src/terminal/format.js'

const colors = pc.createColors(false)

test('an error: code, message, position, causes once, what to do', (t) => {
  const inner = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  const cause = new Error('no broker answers', { cause: inner })
  const error = new KafkaToDeltaError('KAFKA_UNREACHABLE', 'cannot start: no broker answers', { cause, topic: 'a' })
  t.deepEqual(formatError(error, { colors }).split('\n'), [
    'error KAFKA_UNREACHABLE: cannot start: no broker answers',
    '  at topic a',
    '  caused by ECONNREFUSED: connect ECONNREFUSED',
    '  hint: check kafka.brokers and, for TLS, kafka.ssl; listeners must be reachable by the names they advertise',
  ])
  t.regex(formatError(error, { colors, verbose: true }), /errors\.test\.ts/)
  const listed = new KafkaToDeltaError('CONFIG_INVALID', '\n  - a: x\n  - b: y')
  const placed = new KafkaToDeltaError('CONFIG_INVALID', '\n  - f.yaml:1:1: b: y\n  - f.yaml:2:1: a: x', {
    cause: listed,
  })
  t.notRegex(formatError(placed, { colors }), /caused by/)
  t.regex(formatError(new TypeError('x is not a function'), { colors }), /^error INTERNAL: x is not a function/)
})

test('exit codes', (t) => {
  t.is(exitCodeOf(new KafkaToDeltaError('CONFIG_INVALID', '')), 2)
  t.is(exitCodeOf(new KafkaToDeltaError('STORAGE', '')), 3)
  t.is(exitCodeOf(new KafkaToDeltaError('BAD_RECORD', '')), 1)
  t.is(exitCodeOf('text'), 1)
})

test('numbers for people', (t) => {
  t.is(formatCount(1234567), '1,234,567')
  t.deepEqual([0, 1536, 150 * 2 ** 20].map(formatBytes), ['0 B', '1.5 KB', '150 MB'])
  t.deepEqual([12.3, 3400, 125_000].map(formatMs), ['12 ms', '3.4 s', '2 min 5 s'])
  t.deepEqual(
    formatTable(
      [
        ['a', 'bb'],
        ['ccc', '1'],
      ],
      new Set([1]),
    ),
    ['a    bb', 'ccc   1'],
  )
})

test('the SQL that registers a table', (t) => {
  t.is(
    createTableSql({ name: 'shop.or`ders', topic: 'x', uri: "s3://b/it's" }),
    "CREATE TABLE IF NOT EXISTS `shop`.`or``ders` USING DELTA LOCATION 's3://b/it\\'s'",
  )
  t.is(
    createTableSql({ name: null, topic: 'a.b.orders', uri: '/x' }),
    "CREATE TABLE IF NOT EXISTS `orders` USING DELTA LOCATION '/x'",
  )
})
