import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import type { KafkaConfig } from 'kafkajs'
import { resolveOptions } from '../../src/options/resolve.js'

const PEM = '-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n'
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-certificates-'))
writeFileSync(join(folder, 'ca.crt'), PEM)
writeFileSync(join(folder, 'empty'), '')

test.after.always(() => rmSync(folder, { recursive: true, force: true }))

const resolved = (ssl: object, tls: object) =>
  resolveOptions(
    {
      queryName: 'q',
      kafka: { brokers: 'localhost:9092', ssl },
      schemaRegistry: { url: 'https://registry', tls },
      tables: { topic: { path: 't' } },
    },
    folder,
  )

test('names of files stand for what they hold, PEM texts for themselves', (t) => {
  const { kafka, schemaRegistry } = resolved(
    { ca: [PEM, 'ca.crt'], servername: 'kafka' },
    { ca: join(folder, 'ca.crt'), cert: PEM, key: PEM, passphrase: 'ca.crt' },
  )
  t.deepEqual((kafka as KafkaConfig).ssl, { ca: [PEM, PEM], servername: 'kafka' })
  t.deepEqual(schemaRegistry.tls, { ca: PEM, cert: PEM, key: PEM, passphrase: 'ca.crt' })
})

test('a file that is not there, or holds something else', (t) => {
  t.throws(() => resolved({ cert: 'none.crt' }, {}), {
    code: 'CONFIG_INVALID',
    message: 'kafka.ssl.cert: none.crt is neither PEM text nor a file (ENOENT)',
  })
  t.throws(() => resolved({}, { ca: 'empty' }), {
    code: 'CONFIG_INVALID',
    message: 'schemaRegistry.tls.ca: empty holds no PEM',
  })
})

test('a key that lost its first line is not repeated', (t) => {
  const key = `${'MIIEvgIBADANBgkqhkiG9w0BAQEFAASC\n'.repeat(8)}-----END PRIVATE KEY-----`
  const error = t.throws(() => resolved({ key }, {}), { code: 'CONFIG_INVALID' })
  t.regex(error?.message ?? '', /kafka\.ssl\.key: this text is neither/)
  t.false(error?.message.includes('MIIE'))
})
