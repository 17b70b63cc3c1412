import test from 'ava'
import { ERROR_CODES, type ErrorCode, KafkaToDeltaError } from '../src/errors.js'
import { BOUNDED, retryDelay, UNBOUNDED } from '../src/retry.js'

const HEALS = new Set<ErrorCode>(['STORAGE', 'REGISTRY_UNREACHABLE', 'KAFKA_UNREACHABLE', 'COMMIT_CONFLICT'])

test('what heals is tried again, with delays that have an upper limit; what does not heal is not', (t) => {
  for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
    const error = new KafkaToDeltaError(code, 'down')
    t.is(retryDelay(error, 13, BOUNDED), null)
    for (const attempt of [1, 12, 13, 5_000]) {
      const delay = retryDelay(error, attempt, UNBOUNDED)
      if (!HEALS.has(code)) t.is(delay, null, code)
      else t.true(delay !== null && delay > 0 && delay <= 37_500, `${code} ${attempt}: ${delay}`)
    }
  }
})

test('a caller may try again what the program does not', (t) => {
  const canRetry = (Object.keys(ERROR_CODES) as ErrorCode[]).filter((code) => new KafkaToDeltaError(code, '').canRetry)
  t.deepEqual(canRetry.sort(), [...HEALS, 'KAFKA_CONSUMER_CRASHED', 'SOURCE_UNREACHABLE', 'WORKER_UNREACHABLE'].sort())
})
