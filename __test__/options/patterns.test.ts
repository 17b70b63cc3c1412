import test from 'ava'
import { tableByPattern } from '../../src/options/patterns.js'
import { resolveOptions } from '../../src/options/resolve.js'
import type { TableOptions } from '../../src/options/types.js'

const resolve = (tables: Record<string, TableOptions>, more: object = {}) =>
  resolveOptions({
    queryName: 'q',
    kafka: { brokers: ['h:1'] },
    schemaRegistry: { url: 'http://h:1' },
    tables,
    ...more,
  })

const taken = (tables: Record<string, TableOptions>, topic: string) => tableByPattern(resolve(tables).patterns, topic)

test('a pattern stands for whole names; its groups fill path and names', (t) => {
  const tables = {
    '/shop\\.(?<schema>\\w+)\\.(\\w+)/': {
      path: 's3://lake/$<schema>/x_$2',
      schema: '$1',
      tableName: '$2',
      description: 'of $0, $$5',
      exclude: ['/.*_tmp/', 'shop.a.b'],
    },
  }
  t.like(taken(tables, 'shop.public.users'), {
    topic: 'shop.public.users',
    pattern: '/shop\\.(?<schema>\\w+)\\.(\\w+)/',
    uri: 's3://lake/public/x_users',
    name: 'public.users',
    description: 'of shop.public.users, $5',
  })
  for (const topic of ['my.shop.public.users', 'shop.public.users.x', 'shop.a.b', 'shop.public.x_tmp']) {
    t.is(taken(tables, topic), null, topic)
  }
  // The dot of an excluded name is a dot.
  t.truthy(taken({ '/.*/': { path: '/lake/$0', exclude: 'a.b' } }, 'axb'))
})

test('the first pattern counts, and a name is no pattern', (t) => {
  const tables = { '/a.*/': { path: '/lake/a/$0' }, 'ab.c': { path: '/lake/abc' }, '/(.*)/': { path: '/lake/$1' } }
  t.is(taken(tables, 'ab')?.uri, '/lake/a/ab')
  t.is(taken(tables, 'b')?.uri, '/lake/b')
  t.deepEqual(
    resolve(tables).tables.map(({ topic }) => topic),
    ['ab.c'],
  )
})

test('patterns may make their paths in one way', (t) => {
  const tables = {
    '/s\\.(audit_.*)/': { path: '/lake/$1', writeMode: 'append' },
    '/s\\.(.*)/': { path: '/lake/$1' },
  } as const
  t.like(taken(tables, 's.audit_a'), { uri: '/lake/audit_a', writeMode: 'append' })
  t.like(taken(tables, 's.b'), { uri: '/lake/b', writeMode: 'upsert' })
})

test('a name cannot lead out of the folder', (t) => {
  for (const [topic, path] of [
    ['..', '/lake/$0'],
    ['.', 's3://lake/$0'],
    ['x..', '/lake/$1'],
    ['x', '/lake/$1'],
  ] as const) {
    t.throws(() => taken({ '/x?(.*)/': { path } }, topic), { code: 'CONFIG_INVALID' }, topic)
  }
  t.is(taken({ '/x?(.*)/': { path: '/lake/t_$1' } }, 'x..')?.uri, '/lake/t_..')
})

test('what cannot work is said', (t) => {
  const refuses = (tables: Record<string, TableOptions>, message: RegExp) =>
    t.throws(() => resolve(tables), { code: 'CONFIG_INVALID', message })
  refuses({ '/(/': { path: '/lake/$0' } }, /is no regular expression/)
  refuses({ '/a(.*)/': { path: '/lake/$2' } }, /path: names \$2, and the pattern has no such group/)
  refuses({ '/a(.*)/': { path: '/lake/$1', tableName: '$<t>' } }, /tableName: names \$<t>/)
  refuses({ '/a.*/': { path: '/lake/all' } }, /path: is one for all topics of the pattern: use \$1/)
  refuses({ a: { path: '/lake/a', exclude: 'b' } }, /exclude: has no effect on one topic/)
  refuses({ '/a.*/': { path: '/lake/$0', exclude: '/(/' } }, /exclude.*is no regular expression/)
  refuses({ 'a*': { path: '/lake/a' } }, /is no topic name/)
  t.notThrows(() => resolve({ '/a.*/': { path: '/lake/all', shared: true } }))
  refuses(
    { '/a.*/': { path: '/lake/all', shared: true }, b: { path: '/lake/all' } },
    /give each topic a path of its own/,
  )
})

test('a pattern has what the query gives its tables', (t) => {
  const { patterns } = resolveOptions({
    queryName: 'q',
    kafka: { brokers: ['h:1'] },
    schemaRegistry: { url: 'http://h:1' },
    compression: 'zstd',
    tables: { '/(.*)/': { path: '/lake/$1', targetFileSize: '64 MB' } },
  })
  t.like(patterns[0]?.table, { compression: 'zstd', targetFileSize: 64 * 1024 ** 2 })
})
