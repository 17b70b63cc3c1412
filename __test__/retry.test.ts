import test from 'ava'
import { ERROR_CODES, type ErrorCode, KafkaToDeltaError } from '../src/errors.js'
import { BOUNDED, retryDelay, UNBOUNDED, withRetries } from '../src/retry.js'

const HEALS = new Set<ErrorCode>([
  'STORAGE',
  'REGISTRY_UNREACHABLE',
  'KAFKA_UNREACHABLE',
  'COMMIT_CONFLICT',
  'CATALOG_UNAVAILABLE',
])
const REFUSED = new Set<ErrorCode>(['STORAGE_DENIED', 'REGISTRY_AUTH', 'KAFKA_AUTH'])

test('what heals is tried again, with delays that have an upper limit; what does not heal is not', (t) => {
  for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
    const error = new KafkaToDeltaError(code, 'down')
    t.is(retryDelay(error, 13, BOUNDED), null)
    for (const attempt of [1, 12, 13, 5_000]) {
      const delay = retryDelay(error, attempt, UNBOUNDED)
      if (!HEALS.has(code) && !REFUSED.has(code)) t.is(delay, null, code)
      else t.true(delay !== null && delay > 0 && delay <= 37_500, `${code} ${attempt}: ${delay}`)
    }
  }
})

test('a caller may try again what the program does not', (t) => {
  const canRetry = (Object.keys(ERROR_CODES) as ErrorCode[]).filter((code) => new KafkaToDeltaError(code, '').canRetry)
  t.deepEqual(canRetry.sort(), [...HEALS, 'KAFKA_CONSUMER_CRASHED', 'SOURCE_UNREACHABLE', 'WORKER_UNREACHABLE'].sort())
})

test('what is refused is tried again only where it was allowed before', async (t) => {
  for (const code of REFUSED) {
    for (const wasAllowed of [undefined, () => false, async () => true]) {
      let tries = 0
      const operation = async () => {
        if (++tries < 3) throw new KafkaToDeltaError(code, 'refused')
        return tries
      }
      const policy = { retries: 5, firstDelay: 1, maxDelay: 1 }
      const policies = { outage: policy, conflict: policy, access: policy }
      const running = withRetries(operation, { policies: () => policies, ...(wasAllowed ? { wasAllowed } : {}) })
      if (await wasAllowed?.()) t.is(await running, 3)
      else t.like(await t.throwsAsync(running), { code })
      t.is(tries, (await wasAllowed?.()) ? 3 : 1)
    }
  }
})
