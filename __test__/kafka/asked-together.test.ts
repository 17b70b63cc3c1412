import test from 'ava'
import { AskedTogether } from '../../src/kafka/asked-together.js'

function host(missing: readonly string[] = []) {
  const asked: string[][] = []
  const questions = new AskedTogether<string>({
    many: async (names) => {
      asked.push([...names])
      if (names.some((name) => missing.includes(name))) throw new Error('some are missing')
      return new Map(names.map((name) => [name, `of ${name}`]))
    },
    one: async (name) => {
      asked.push([name])
      if (missing.includes(name)) throw new Error(`${name} is missing`)
      return `of ${name}`
    },
    isOfSome: (error) => /some/.test((error as Error).message),
  })
  return { asked, questions }
}

test('what comes in one turn is one question; so is what comes while an answer is waited for', async (t) => {
  const { asked, questions } = host()
  const names = ['a', 'b', 'a', 'c']
  const first = Promise.all(names.map((name) => questions.of(name)))
  await null
  await null
  const later = Promise.all([questions.of('d'), questions.of('e')])
  t.deepEqual(await first, ['of a', 'of b', 'of a', 'of c'])
  t.deepEqual(await later, ['of d', 'of e'])
  t.deepEqual(asked, [
    ['a', 'b', 'c'],
    ['d', 'e'],
  ])
  t.is(await questions.of('f'), 'of f')
  t.deepEqual(asked.at(-1), ['f'])
})

test('a thousand are asked a hundred at a time', async (t) => {
  const { asked, questions } = host()
  const names = Array.from({ length: 1000 }, (_, i) => `t${i}`)
  t.deepEqual(
    await Promise.all(names.map((name) => questions.of(name))),
    names.map((name) => `of ${name}`),
  )
  t.deepEqual(
    asked.map(({ length }) => length),
    Array.from({ length: 10 }, () => 100),
  )
})

test('one that fails fails alone, and costs the others few questions', async (t) => {
  const { asked, questions } = host(['t37'])
  const names = Array.from({ length: 100 }, (_, i) => `t${i}`)
  const answers = await Promise.allSettled(names.map((name) => questions.of(name)))
  const failed = answers.flatMap((answer, at) =>
    answer.status === 'rejected' ? [`t${at} ${answer.reason.message}`] : [],
  )
  t.deepEqual(failed, ['t37 t37 is missing'])
  t.true(asked.length <= 16, String(asked.length))
})

test('an error that is not of some is that of all; the next question is asked again', async (t) => {
  let isDown = true
  const questions = new AskedTogether<string>({
    many: async (names) => {
      if (isDown) throw new Error('down')
      return new Map(names.map((name) => [name, 'up']))
    },
    one: async () => 'alone',
    isOfSome: () => false,
  })
  const ask = () => Promise.all([questions.of('a'), questions.of('b')])
  await t.throwsAsync(ask(), { message: 'down' })
  isDown = false
  t.deepEqual(await ask(), ['up', 'up'])
})
