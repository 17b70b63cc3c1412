// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the texts are configurations with variables in them
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import test from 'ava'
import { type Environment, loadConfig, type Override, substitute } from '../../src/cli/config.js'
import { KafkaToDeltaError } from '../../src/errors.js'

const dir = mkdtempSync(join(tmpdir(), 'kafka2delta-config-'))
test.after.always(() => rmSync(dir, { recursive: true }))

let count = 0
function load(text: string, env: Environment = {}, flags: Override[] = []) {
  const file = join(dir, `c${count++}.yaml`)
  writeFileSync(file, text)
  return loadConfig(file, flags, env)
}

function refusal(text: string, env: Environment = {}, flags: Override[] = []): string {
  try {
    load(text, env, flags)
  } catch (error) {
    if (error instanceof KafkaToDeltaError) return `${error.code} ${error.message.replaceAll(`${dir}/`, '')}`
    throw error
  }
  throw new Error('was not refused')
}

const MINIMAL = `queryName: shop
kafka:
  brokers: [localhost:9092]
schemaRegistry:
  url: http://localhost:8081
tables:
  orders:
    path: ./lake/orders
`

test('a file gives the options of the API; paths count from its folder', (t) => {
  const options = load(MINIMAL)
  t.is(options.queryName, 'shop')
  t.is(options.tables[0]?.uri, resolve(dir, 'lake/orders'))
})

test('variables, defaults, and what is no variable', (t) => {
  const fail = (message: string): never => {
    throw new Error(message)
  }
  const env = { A: 'a', EMPTY: '', DIGITS: '0123' }
  t.is(substitute('x-${A}-${B:-b}', env, fail), 'x-a-b')
  t.is(substitute('${EMPTY}', env, fail), '')
  t.is(substitute('${EMPTY:-d}', env, fail), 'd')
  t.is(substitute('${B:-}', env, fail), '')
  t.is(substitute('$${A} $A', env, fail), '${A} $A')
  t.throws(() => substitute('${B}', env, fail), { message: /the environment variable B is not set/ })
  t.throws(() => substitute('${1}', env, fail), { message: /is no variable/ })
})

test('a value from the environment cannot change the structure of the file, and stays text', (t) => {
  const text = `${MINIMAL.replace('url: http://localhost:8081', 'url: http://localhost:8081\n  auth:\n    username: u\n    password: ${PW}')}
limits:
  maxBatchMessages: \${N:-10}
`
  const options = load(text, { PW: '0123\nkafka: {}' })
  t.deepEqual(options.schemaRegistry.auth, { username: 'u', password: '0123\nkafka: {}' })
  t.is(options.limits.maxBatchMessages, 10)
  t.deepEqual(load(text, { PW: '0123' }).schemaRegistry.auth, { username: 'u', password: '0123' })
})

test('flags override the file, which overrides the environment', (t) => {
  const env = { KAFKA2DELTA_BROKERS: 'env:1', KAFKA2DELTA_CLIENT_ID: 'env' }
  const flag = { path: ['kafka', 'brokers'], value: 'flag:1', origin: '--brokers' }
  const brokers = (options: { kafka: unknown }) => (options.kafka as { brokers: string[] }).brokers
  t.deepEqual(brokers(load(MINIMAL, env)), ['localhost:9092'])
  t.is((load(MINIMAL, env).kafka as { clientId: string }).clientId, 'env')
  t.deepEqual(brokers(load(MINIMAL, env, [flag])), ['flag:1'])
  const without = MINIMAL.replace('kafka:\n  brokers: [localhost:9092]\n', '')
  t.deepEqual(brokers(load(without, env)), ['env:1'])
})

test('a flag replaces a trigger of the file', (t) => {
  const flag = { path: ['trigger', 'availableNow'], value: true, origin: '--available-now' }
  t.deepEqual(load(`${MINIMAL}trigger: { processingTime: 5 s }\n`, {}, [flag]).trigger, { availableNow: true })
  const env = { KAFKA2DELTA_TRIGGER: '5 s' }
  t.deepEqual(load(`${MINIMAL}trigger: { availableNow: true }\n`, env).trigger, { availableNow: true })
  t.deepEqual(load(MINIMAL, env).trigger, { processingTime: 5000, maxDelay: 0 })
})

test('problems say file, line and column', (t) => {
  t.is(
    refusal(`${MINIMAL}mergeMod: auto\n`),
    `CONFIG_INVALID c${count - 1}.yaml:9:1: mergeMod: unknown option, did you mean "mergeMode"?`,
  )
  t.regex(refusal(`${MINIMAL}mergeMode: fast\n`), /yaml:9:12: mergeMode: expected "auto"/)
  t.regex(
    refusal(MINIMAL.replace('path:', 'pth:')),
    /yaml:8:5: tables\.orders\.pth: unknown option, did you mean "path"\?/,
  )
  t.regex(
    refusal(MINIMAL.replace('path:', 'pth:')),
    /yaml:7:3: tables\.orders\.path: must be given|yaml:8:5: tables\.orders\.path: must be given/,
  )
  t.regex(refusal(MINIMAL.replace('[localhost:9092]', '["${B}"]')), /yaml:3:13: the environment variable B is not set/)
  t.regex(refusal(MINIMAL.replace('[localhost:9092]', '[${B}]')), /yaml:3:14: .*put quotes around/)
  t.regex(refusal('a: b: c\n'), /^CONFIG_INVALID .*yaml:1:\d+: /)
  t.regex(refusal('a: [1\nb: 2\n'), /^CONFIG_INVALID .*yaml:\d+:\d+: /)
  t.regex(refusal('a: 1\na: 2\n'), /yaml:2:1: .*unique/)
  t.regex(refusal(''), /is empty/)
  t.regex(refusal('- a\n'), /expected options/)
})

test('problems of flags and variables say which', (t) => {
  const flag = { path: ['kafka', 'brokers'], value: 'nothing', origin: '--brokers' }
  t.regex(refusal(MINIMAL, {}, [flag]), /^CONFIG_INVALID --brokers: kafka\.brokers: expected a list of host:port/)
  t.regex(
    refusal(MINIMAL, { KAFKA2DELTA_TRIGGER: 'often' }),
    /^CONFIG_INVALID KAFKA2DELTA_TRIGGER: trigger.processingTime: /,
  )
})

test('a file that is not there', (t) => {
  const error = t.throws(() => loadConfig(join(dir, 'no.yaml')), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'CONFIG_UNREADABLE')
  t.is(error?.exitCode, 2)
})

test('what the YAML parser says of a file does not repeat its texts, which may be passwords', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'k2d-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const password of [
    '*sw0rdfish',
    '"\\sw0rdfish"',
    '@sw0rdfish',
    '!sw0rdfish x',
    '"a" sw0rdfish',
    "'sw0rdfish",
    '${sw0rd fish}',
  ]) {
    const file = join(folder, 'c.yaml')
    writeFileSync(file, `queryName: q\nkafka:\n  sasl:\n    password: ${password}\n`)
    const error = t.throws(() => loadConfig(file, [], {}), { code: 'CONFIG_INVALID' })
    t.notRegex(`${error?.message} ${String(error?.cause ?? '')}`, /sw0rd/, password)
  }
})
