/** When tokens are asked for anew, and what happens where none can be had. */

import test from 'ava'
import { type IssuedToken, TokenError, TokenSource } from '../../src/logins/tokens.js'

const SECONDS = 1_000

/** Issues tokens named by their number, by a clock that the test sets. */
function issuer(lifetime: number | null) {
  const state = { asked: 0, failing: false, now: 0 }
  const issue = async (): Promise<IssuedToken> => {
    state.asked++
    if (state.failing) throw new TokenError('cannot get a token from there: status 503', false)
    return { value: `token ${state.asked}`, lifetime }
  }
  return { state, source: new TokenSource(issue, 'there', 60_000, () => state.now) }
}

for (const [lifetime, renewedAt] of [
  [3600, 2880],
  [60, 45],
  [20, 10],
] as const) {
  test(`a token of ${lifetime} seconds is used for ${renewedAt}`, async (t) => {
    const { state, source } = issuer(lifetime * SECONDS)
    t.is(await source.get(), 'token 1')
    state.now = renewedAt * SECONDS - 1
    t.is(await source.get(), 'token 1')
    state.now = renewedAt * SECONDS
    t.is(await source.get(), 'token 2')
  })
}

test('a token that does not tell its lifetime is used for four minutes', async (t) => {
  const { state, source } = issuer(null)
  t.is(await source.get(), 'token 1')
  state.now = 240 * SECONDS
  t.is(await source.get(), 'token 2')
})

test('where a new one cannot be had, the old one is used until it ends', async (t) => {
  const { state, source } = issuer(20 * SECONDS)
  t.is(await source.get(), 'token 1')
  state.failing = true
  state.now = 12 * SECONDS
  t.is(await source.get(), 'token 1')
  state.now = 18 * SECONDS
  await t.throwsAsync(source.get(), { instanceOf: TokenError })
})

test('a token that was refused is not used again', async (t) => {
  const { source } = issuer(60 * SECONDS)
  const token = await source.get()
  source.refused('another one')
  t.is(await source.get(), 'token 1')
  source.refused(token)
  t.is(await source.get(), 'token 2')
})

test('a failure is told to all who ask at once and right after it, and asked anew later', async (t) => {
  const { state, source } = issuer(60 * SECONDS)
  state.failing = true
  await Promise.all([1, 2, 3].map(() => t.throwsAsync(source.get(), { message: /status 503/ })))
  await t.throwsAsync(source.get(), { message: /status 503/ })
  t.is(state.asked, 1)
  state.failing = false
  state.now = 2 * SECONDS
  t.is(await source.get(), 'token 2')
})

test('an endpoint that never answers ends by the timeout', async (t) => {
  const source = new TokenSource(() => new Promise<never>(() => {}), 'https://there/token', 50)
  await t.throwsAsync(source.get(), {
    message: 'cannot get a token from https://there/token: no answer within 0.05 seconds',
  })
})
