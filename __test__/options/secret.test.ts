import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { openLogins } from '../../src/options/open-logins.js'
import { resolveOptions } from '../../src/options/resolve.js'
import { readSecret } from '../../src/options/secret.js'

const NAMED = { schema: 's', tableName: 'o' }
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-secrets-'))
test.before(() => {
  writeFileSync(join(folder, 'password'), 'sw0rd fish \r\n')
  writeFileSync(join(folder, 'empty'), '\n')
})
test.after.always(() => rmSync(folder, { recursive: true }))

const resolved = (kafka: object, schemaRegistry: object = {}) =>
  resolveOptions(
    {
      queryName: 'q',
      kafka: { brokers: ['localhost:9092'], ...kafka },
      schemaRegistry: { url: 'https://registry', ...schemaRegistry },
      tables: { topic: { path: 't' } },
    },
    folder,
  )

test('names of files count from the configuration, and its last line break is no part of a secret', (t) => {
  const password = { file: 'password' }
  const { kafka, schemaRegistry } = resolved(
    { ssl: { passphrase: password }, sasl: { mechanism: 'plain', username: 'u', password } },
    { auth: { token: password }, tls: { passphrase: password, key: '-----BEGIN', cert: '-----BEGIN' } },
  )
  const file = join(folder, 'password')
  t.like(kafka, { ssl: { passphrase: 'sw0rd fish ' }, sasl: { password: { file } } })
  t.like(schemaRegistry, { auth: { token: { file } }, tls: { passphrase: 'sw0rd fish ' } })
  t.is(readSecret({ file }, 'password'), 'sw0rd fish ')
})

test('so do secrets of catalogs, for the query and for a table', (t) => {
  const password = { file: 'password' }
  const file = join(folder, 'password')
  const of = (catalog: object, own: object = {}) => {
    const tables = { topic: { path: 't', schema: 's', tableName: 't', ...own }, other: { path: 'o', ...NAMED } }
    const given = { queryName: 'q', kafka: { brokers: 'localhost:9092' }, schemaRegistry: { url: 'https://r' } }
    return resolveOptions({ ...given, tables, catalog }, folder).tables.map((table) => table.catalog?.options)
  }
  const hive = { type: 'hive', uri: 'thrift://h:1', auth: { username: 'u', password }, tls: { passphrase: password } }
  const unity = { type: 'unity', url: 'https://h', catalog: 'main' }
  const [unityToken, hiveLogin] = of(hive, { catalog: { ...unity, auth: { token: password } } })
  t.like(unityToken, { auth: { token: { file } } })
  t.like(hiveLogin, { auth: { password: { file } }, tls: { passphrase: 'sw0rd fish ' } })
  const [client] = of({ ...unity, auth: { clientId: 'c', clientSecret: password } })
  t.like(client, { auth: { clientSecret: { file } } })
  t.throws(() => of({ ...unity, auth: { token: { file: 'none' } } }), {
    code: 'CONFIG_INVALID',
    message: `catalog.auth.token: the file ${join(folder, 'none')} cannot be read (ENOENT)`,
  })
})

test('a file that is not there or holds nothing is told at the start, by its option', (t) => {
  const sasl = (password: object) => ({ sasl: { mechanism: 'plain', username: 'u', password } })
  t.throws(() => resolved(sasl({ file: 'none' })), {
    code: 'CONFIG_INVALID',
    message: `kafka.sasl.password: the file ${join(folder, 'none')} cannot be read (ENOENT)`,
  })
  t.throws(() => resolved({}, { auth: { username: 'u', password: { file: 'empty' } } }), {
    code: 'CONFIG_INVALID',
    message: `schemaRegistry.auth.password: the file ${join(folder, 'empty')} is empty`,
  })
})

test('logins without TLS are told, but not those on this machine', (t) => {
  const sasl = { mechanism: 'plain', username: 'u', password: 'sw0rdfish' }
  const found = (kafka: object, registry: object = {}) => openLogins(resolved(kafka, registry)).map((of) => of.message)
  t.deepEqual(found({ sasl }), [])
  t.deepEqual(found({ brokers: 'kafka:9092', ssl: true, sasl }), [])
  t.deepEqual(found({ brokers: 'kafka:9092' }, { url: 'http://registry' }), [])
  t.deepEqual(found({ brokers: '127.0.0.1:1,kafka:9092', sasl }, { url: 'http://r:8081', auth: { token: 'x' } }), [
    'the login of kafka.sasl goes to kafka:9092 without TLS, and so do all messages',
    'the login of the schema registry goes to r:8081 without TLS',
  ])
  const oauth = { mechanism: 'oauthbearer', tokenUrl: 'http://idp/token', clientId: 'c', clientSecret: 'sw0rdfish' }
  t.deepEqual(found({ sasl: oauth }), ["the client's secret of kafka.sasl goes to idp without TLS"])
  const inUrl = found({}, { url: 'http://u:sw0rdfish@r' })
  t.is(inUrl.length, 1)
  t.false(inUrl.join().includes('sw0rdfish'))
})
