// biome-ignore-all lint/suspicious/noExplicitAny: options are made wrong on purpose
import test from 'ava'
import { KafkaToDeltaError } from '../../src/errors.js'
import { resolveOptions } from '../../src/options/resolve.js'

const SECRET = 'sw0rdfish'

function given(query: object = {}, table: object = {}): any {
  return {
    queryName: 'shop',
    kafka: { brokers: ['localhost:9092'] },
    schemaRegistry: { url: 'http://localhost:8081' },
    tables: { a: { path: '/a', ...table }, b: { path: '/b' } },
    ...query,
  }
}

function refusal(options: any): string {
  try {
    resolveOptions(options)
  } catch (error) {
    if (error instanceof KafkaToDeltaError && error.code === 'CONFIG_INVALID') return error.message
    throw error
  }
  return 'taken'
}

test('an option that another one leaves without effect is refused, at the table and at the query', (t) => {
  const cases: [query: object, table: object, message: RegExp][] = [
    [{ softDeleteColName: 'gone' }, {}, /^softDeleteColName: has no effect unless deletes is "soft"/],
    [{}, { softDeleteColName: 'gone' }, /^tables\.a\.softDeleteColName: has no effect/],
    [{ scd2Columns: { validFrom: 'x' } }, {}, /^scd2Columns: has no effect unless writeMode is "scd2"/],
    [{}, { scd2Columns: { validFrom: 'x' } }, /^tables\.a\.scd2Columns: has no effect/],
    [{ keyIndex: 'none', indexMemory: '1 GB' }, {}, /^indexMemory: has no effect with keyIndex "none"/],
    [{ keyIndex: 'none' }, { indexMemory: '1 GB' }, /^tables\.a\.indexMemory: has no effect/],
    [{}, { keyIndex: 'none', indexDir: '/i' }, /^tables\.a\.indexDir: has no effect/],
    [{ writeMode: 'append', keyIndex: 'none' }, {}, /^keyIndex: has no effect with writeMode "append"/],
    [{ writeMode: 'append', rememberedKeys: 5 }, {}, /^rememberedKeys: has no effect with writeMode "append"/],
    [
      {},
      { writeMode: 'append', onMissingValue: 'fail' },
      /^tables\.a\.onMissingValue: has no effect with writeMode "append"/,
    ],
    [{ kafka: { brokers: 'a:1', requestTimeout: 1, enforceRequestTimeout: 'false' } }, {}, /^kafka\.requestTimeout/],
    [{ kafka: { brokers: 'a:1', authenticationTimeout: 1 } }, {}, /^kafka\.authenticationTimeout.*without kafka\.sasl/],
    [{ schemaRegistry: { url: 'http://r', tls: { ca: 'x.pem' } } }, {}, /^schemaRegistry\.tls: .*https/],
    [
      { schemaRegistry: { url: `http://u:${SECRET}@r`, auth: { username: 'u', password: SECRET } } },
      {},
      /^schemaRegistry\.auth: is given beside the user in the url/,
    ],
  ]
  for (const [query, table, message] of cases) {
    const found = refusal(given(query, table))
    t.regex(found, message)
    t.false(found.includes(SECRET))
  }
})

test('an option of the query counts where one table has a use for it', (t) => {
  t.is(refusal(given({ softDeleteColName: 'gone' }, { deletes: 'soft' })), 'taken')
  t.is(refusal(given({ keyIndex: 'none', indexMemory: '1 GB' }, { keyIndex: 'auto' })), 'taken')
  t.is(refusal(given({ scd2Columns: { validFrom: 'x' } }, { writeMode: 'scd2' })), 'taken')
})

test('SASL is checked by its mechanism, and no value is shown', (t) => {
  const sasl = (value: unknown) => refusal(given({ kafka: { brokers: 'a:1', sasl: value } }))
  t.is(sasl({ mechanism: 'PLAIN', username: 'u', password: SECRET }), 'taken')
  t.is(sasl({ mechanism: 'oauthbearer', oauthBearerProvider: async () => ({ value: SECRET }) }), 'taken')
  t.is(sasl({ mechanism: 'own', authenticationProvider: () => ({}) }), 'taken')
  t.is(sasl({ mechanism: 'aws', authorizationIdentity: 'a', accessKeyId: 'k', secretAccessKey: SECRET }), 'taken')
  const oauth = { mechanism: 'oauthbearer', tokenUrl: 'https://idp/token', clientId: 'c', clientSecret: SECRET }
  t.is(sasl({ ...oauth, scope: 's', audience: 'a', extensions: { logicalCluster: 'lkc-1' } }), 'taken')
  for (const [value, message] of [
    [{}, /sasl\.mechanism: must be given: one of plain/],
    [{ mechanism: SECRET }, /sasl\.mechanism: is no mechanism/],
    [{ mechanism: 'constructor' }, /sasl\.mechanism: is no mechanism/],
    [{ mechanism: 'SCRAM_SHA512' }, /sasl\.mechanism: is no mechanism, did you mean "scram-sha-512"\?/],
    [{ mechanism: 5 }, /sasl\.mechanism: must be given/],
    [{ mechanism: 'plain', username: 'u' }, /sasl\.password: must be given/],
    [{ mechanism: 'plain', username: 'u', password: { a: SECRET } }, /sasl\.password: expected a text.*\{file: name\}/],
    [{ mechanism: 'plain', username: 'u', password: '' }, /sasl\.password: expected a text that is not empty/],
    [{ mechanism: 'plain', username: '', password: SECRET }, /sasl\.username: must not be empty/],
    [{ mechanism: 'plain', password: SECRET }, /sasl\.username: must be given with this mechanism/],
    [{ mechanism: 'plain', username: [SECRET], password: SECRET }, /sasl\.username: expected a text/],
    [
      { mechanism: 'plain', username: 'u', passwort: SECRET },
      /sasl\.passwort: unknown option of this mechanism, did you mean "password"\?/,
    ],
    [
      { mechanism: 'plain', username: 'u', password: { file: '/no/such/file' } },
      /file \/no\/such\/file cannot be read/,
    ],
    [{ mechanism: 'plain', username: 'u', password: SECRET, user: SECRET }, /sasl\.user: unknown option/],
    [{ mechanism: 'aws', accessKeyId: SECRET }, /sasl\.authorizationIdentity: must be given/],
    [{ mechanism: 'aws_msk_iam' }, /sasl\.region: must be given/],
    [{ mechanism: 'AWS_MSK_IAM', region: 'r', roleArn: 'a', profile: 'p' }, /sasl\.profile: is given beside roleArn/],
    [{ mechanism: 'aws-msk-iam' }, /did you mean "aws_msk_iam"/],
    [{ mechanism: 'oauthbearer' }, /sasl\.tokenUrl: must be given with this mechanism/],
    [{ mechanism: 'oauthbearer', oauthBearerProvider: SECRET }, /sasl\.oauthBearerProvider: must be given.*a function/],
    [{ ...oauth, clientSecret: undefined }, /sasl\.clientSecret: must be given, or clientAssertion/],
    [{ ...oauth, clientAssertion: SECRET }, /sasl\.clientAssertion: is given beside clientSecret/],
    [{ ...oauth, clientAuth: 'form' }, /sasl\.clientAuth: expected "basic" or "post"/],
    [
      { ...oauth, clientSecret: undefined, clientAssertion: SECRET, clientAuth: 'post' },
      /sasl\.clientAuth: has no effect on a clientAssertion/,
    ],
    [{ ...oauth, tokenUrl: `https://u:${SECRET}@idp` }, /sasl\.tokenUrl: expected an http or https URL without a user/],
    [{ ...oauth, extensions: { auth: SECRET } }, /sasl\.extensions: expected names of letters/],
    [{ ...oauth, clientID: 'x' }, /sasl\.clientID: unknown option of this mechanism, did you mean "clientId"\?/],
    [SECRET, /expected an object/],
  ] as const) {
    const found = sasl(value)
    t.regex(found, message)
    t.false(found.includes(SECRET))
  }
})

test('a login to the registry is of one kind, with all that it needs', (t) => {
  const registry = (auth: object) => refusal(given({ schemaRegistry: { url: 'https://r', auth } }))
  const provider = { tokenUrl: 'https://idp/token', clientId: 'c', clientSecret: SECRET }
  for (const auth of [
    { username: 'u', password: SECRET },
    { token: SECRET, logicalCluster: 'lsrc-1' },
    { ...provider, identityPoolId: 'pool-1', clientAuth: 'post' },
  ]) {
    t.is(registry(auth), 'taken')
  }
  for (const [auth, message] of [
    [{}, /^schemaRegistry\.auth: give either/],
    [{ token: SECRET, username: 'u', password: SECRET }, /^schemaRegistry\.auth: give either/],
    [{ password: SECRET }, /auth\.username: must be given/],
    [{ tokenUrl: 'https://idp/token', clientSecret: SECRET }, /auth\.clientId: must be given/],
    [{ tokenUrl: 'https://idp/token', clientId: 'c' }, /auth\.clientSecret: must be given, or clientAssertion/],
    [{ token: SECRET, scope: 's' }, /auth\.scope: has no effect on this login/],
    [{ username: 'u', password: SECRET, logicalCluster: 'x' }, /auth\.logicalCluster: has no effect/],
    [{ ...provider, tokenURL: 'x' }, /auth\.tokenURL: unknown option, did you mean "tokenUrl"/],
  ] as const) {
    const found = registry(auth)
    t.regex(found, message)
    t.false(found.includes(SECRET))
  }
})

test('numbers and truth values of every option may be texts, and what is expected is said', (t) => {
  const options = resolveOptions(
    given({
      maintenance: { deletedShare: '0.5', minFiles: '3' },
      kafka: { brokers: 'a:1', ssl: 'true', retry: { factor: '0.1', multiplier: '1.5', retries: '3' } },
    }),
  )
  t.is(options.tables[0]?.maintenance?.deletedShare, 0.5)
  t.like(options.kafka, { ssl: true, retry: { factor: 0.1, multiplier: 1.5, retries: 3 } })
  for (const query of [
    { maintenance: { deletedShare: 'half' } },
    { maintenance: 'half' },
    { kafka: { brokers: 'a:1', ssl: 'yes' } },
    { kafka: { brokers: 'a:1', retry: { factor: 'x' } } },
    { kafka: { brokers: 'a:1', retry: { multiplier: [] } } },
    { additionalCols: 1, tables: { a: { path: 1 } } },
  ]) {
    const found = refusal(given(query))
    t.notRegex(found, /: Invalid input$/m)
    t.regex(found, /expected|unknown option/)
  }
})

test('what may hold a secret is never part of a message', (t) => {
  const text = `AWS_SECRET_ACCESS_KEY=${SECRET}`
  for (const options of [
    given({ storageOptions: text }),
    given({}, { storageOptions: text }),
    given({ onBadRecord: 'dead-letter', deadLetter: { path: '/d', storageOptions: text } }),
    given({ storageOptions: { key: [SECRET] } }),
    given({ kafka: { brokers: [`user:${SECRET}@host`] } }),
    given({ kafka: { brokers: `user:${SECRET}@host` } }),
    given({ kafka: { brokers: 'a:1', ssl: SECRET } }),
    given({ kafka: { brokers: 'a:1', sasl: SECRET } }),
    given({ kafka: SECRET }),
    given({ schemaRegistry: `http://u:${SECRET}@host` }),
    given({ schemaRegistry: { url: `ftp://u:${SECRET}@host` } }),
    given({ schemaRegistry: { url: 'http://r', auth: SECRET } }),
    given({ schemaRegistry: { url: 'http://r', auth: { username: 'u', password: [SECRET] } } }),
    given({ schemaRegistry: { url: 'https://r', tls: SECRET } }),
    given({ schemaRegistry: { url: 'https://r', tls: { key: [SECRET], rejectUnauthorized: SECRET } } }),
  ]) {
    const found = refusal(options)
    t.not(found, 'taken')
    t.false(found.includes(SECRET), found)
  }
})

test('names that every object has are taken as plain names, or refused', (t) => {
  for (const name of ['constructor', 'toString', 'valueOf', 'hasOwnProperty', '__proto__']) {
    t.regex(refusal(given({ trigger: { processingTime: `5 ${name}` } })), /expected/)
    t.regex(refusal(given({ targetFileSize: `5 ${name}` })), /expected/)
    const asKey = JSON.parse(`{${JSON.stringify(name)}: {"path": "/x"}}`)
    t.regex(refusal(given({ tables: asKey })), /cannot be used as a name|no topic name|every JavaScript object/)
    const renamed = JSON.parse(`{${JSON.stringify(name)}: "x"}`)
    const found = refusal(given({}, { renameColumns: renamed, columns: JSON.parse(`{${JSON.stringify(name)}: {}}`) }))
    if (name === '__proto__') t.regex(found, /cannot be used as a name/)
    else t.is(found, 'taken')
    const unknown = refusal(given(JSON.parse(`{${JSON.stringify(name)}: 1}`)))
    t.regex(unknown, /unknown option|cannot be used as a name/)
    t.notRegex(unknown, /function|undefined/)
  }
})
