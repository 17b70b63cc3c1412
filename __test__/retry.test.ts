import test from 'ava'
import { KafkaToDeltaError } from '../src/errors.js'
import { BOUNDED, retryDelay, UNBOUNDED } from '../src/retry.js'

test('what heals is tried again, with delays that have an upper limit; what does not heal is not', (t) => {
  for (const code of ['STORAGE', 'REGISTRY_UNREACHABLE', 'KAFKA_UNREACHABLE', 'COMMIT_CONFLICT'] as const) {
    const error = new KafkaToDeltaError(code, 'down')
    t.is(retryDelay(error, 13, BOUNDED), null)
    for (const attempt of [1, 12, 13, 5_000]) {
      const delay = retryDelay(error, attempt, UNBOUNDED)
      t.true(delay !== null && delay > 0 && delay <= 37_500, `${code} ${attempt}: ${delay}`)
    }
  }
  for (const code of [
    'STORAGE_DENIED',
    'REGISTRY_AUTH',
    'KAFKA_AUTH',
    'CONFIG_INVALID',
    'BAD_RECORD',
    'FENCED',
  ] as const) {
    t.is(retryDelay(new KafkaToDeltaError(code, 'no'), 1, UNBOUNDED), null)
  }
})
