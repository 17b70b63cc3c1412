// biome-ignore-all lint/suspicious/noExplicitAny: options are made wrong on purpose
import test from 'ava'
import { OptionsError } from '../../src/options/errors.js'
import { tableByPattern } from '../../src/options/patterns.js'
import { resolveOptions } from '../../src/options/resolve.js'

const SECRET = 'sw0rdfish'
const HIVE = { type: 'hive', uri: 'thrift://metastore:9083' }
const NAMED = { schema: 'shop', tableName: 'orders' }

function given(query: object = {}, table: object = NAMED, others: Record<string, object> = {}): any {
  return {
    queryName: 'shop',
    kafka: { brokers: ['localhost:9092'] },
    schemaRegistry: { url: 'http://localhost:8081' },
    tables: { a: { path: '/a', ...table }, ...others },
    ...query,
  }
}

function refusal(options: any): string {
  try {
    resolveOptions(options)
  } catch (error) {
    if (error instanceof OptionsError) return error.message
    throw error
  }
  return 'taken'
}

test('a table has the catalog of its query, or its own, or none', (t) => {
  const own = { type: 'glue', region: 'eu-central-1' }
  const { tables } = resolveOptions(
    given({ catalog: HIVE }, NAMED, {
      b: { path: '/b', schema: 'shop', tableName: 'b', catalog: own },
      c: { path: '/c', catalog: { type: 'none' } },
    }),
  )
  t.deepEqual(
    tables.map(({ catalog }) => catalog),
    [{ options: HIVE as any, ...NAMED }, { options: own as any, schema: 'shop', tableName: 'b' }, null],
  )
  t.is(resolveOptions(given()).tables[0]?.catalog, null)
})

test('the names of a pattern are filled in for each topic', (t) => {
  const pattern = { path: '/lake/$2', schema: '$1', tableName: '$2' }
  const { patterns } = resolveOptions(given({ catalog: HIVE, tables: { '/db\\.(\\w+)\\.(\\w+)/': pattern } }))
  const { schema, tableName } = tableByPattern(patterns, 'db.shop.orders')?.catalog ?? {}
  t.deepEqual([schema, tableName], ['shop', 'orders'])
})

test('mistakes are named, with what was probably meant', (t) => {
  const cases: [catalog: object, message: RegExp][] = [
    [{}, /^catalog\.type: .*"hive", "unity", "glue", "none"/],
    [{ type: 'hiv', uri: 'x' }, /^catalog\.type: expected one of .*, got "hiv", did you mean "hive"\?$/],
    [{ type: 'hive' }, /^catalog\.uri: must be given: expected thrift:\/\/host:port/],
    [{ type: 'hive', uri: `http://u:${SECRET}@h:9083` }, /^catalog\.uri: expected thrift:\/\/host:port.*got a text$/],
    [{ ...HIVE, urii: 1 }, /^catalog\.urii: unknown option, did you mean "uri"\?$/],
    [{ ...HIVE, auth: { usrname: 'x' } }, /catalog\.auth\.usrname: unknown option, did you mean "username"\?/],
    [{ ...HIVE, region: 'x' }, /^catalog\.region: unknown option; known are type, uri, auth, tls$/],
    [{ type: 'unity', url: 'host', catalog: 'main' }, /^catalog\.url: expected an http or https URL$/],
    [{ type: 'unity', url: 'http://h', catalog: 'main', auth: {} }, /^catalog\.auth\.token: give either token, or/],
    [
      { type: 'unity', url: 'http://h', catalog: 'main', auth: { clientId: SECRET } },
      /^catalog\.auth\.clientSecret: must be given with clientId$/,
    ],
    [
      { type: 'unity', url: 'http://h', catalog: 'main', auth: { token: SECRET, scope: 'x' } },
      /^catalog\.auth\.scope: has no effect beside token$/,
    ],
    [{ type: 'glue', regoin: 'x' }, /^catalog\.regoin: unknown option, did you mean "region"\?$/],
    [{ type: 'none' }, /^catalog\.type: "none" is for tables/],
  ]
  for (const [catalog, message] of cases) {
    const found = refusal(given({ catalog }))
    t.regex(found, message)
    t.false(found.includes(SECRET))
    if ((catalog as any).type !== 'none') t.regex(refusal(given({}, { ...NAMED, catalog })), /tables\.a\.catalog/)
  }
})

test('a catalog needs names that it can have, each for one path', (t) => {
  const catalog = HIVE
  t.regex(
    refusal(given({ catalog }, {})),
    /tables\.a\.schema: must be given: .*\n.*tables\.a\.tableName: must be given/,
  )
  t.regex(refusal(given({ catalog }, { schema: 'my-shop', tableName: 'a' })), /^tables\.a\.schema: is no name of the/)
  const unity = { type: 'unity', url: 'http://h', catalog: 'main' }
  t.is(refusal(given({ catalog: unity }, { schema: 'my-shop', tableName: 'a' })), 'taken')
  t.regex(refusal(given({ catalog: unity }, { schema: 'my.shop', tableName: 'a' })), /^tables\.a\.schema/)
  const second = { b: { path: '/b', schema: 'Shop', tableName: 'ORDERS' } }
  t.regex(refusal(given({ catalog }, NAMED, second)), /^tables\.b\.tableName: names the same table .* topic "a"/)
  const shared = { b: { path: '/a', shared: true, ...NAMED } }
  t.is(refusal(given({ catalog }, { ...NAMED, shared: true }, shared)), 'taken')
  t.regex(
    refusal(given({ catalog }, { catalog: { type: 'none' } })),
    /^catalog: has no effect: every table says its own$/,
  )
})
