import test from 'ava'
import { interleave } from '../../src/kafka/interleave.js'
import type { Message } from '../../src/kafka/message.js'
import { Messages } from '../../src/kafka/messages.js'
import type { OffsetRange, RawMessage } from '../../src/kafka/micro-batch.js'
import type { PairMember } from '../../src/kafka/paired-messages.js'
import { generator, ROUNDS, SEED } from '../helpers/random.js'

/**
 * A range of messages `name@time`. `<1` and `>1` are the delete and the row of the key update 1; `~k` is a tombstone, and
 * `<~1` one with the headers of the delete `<1`.
 */
function range(partition: number, ...texts: string[]): OffsetRange {
  const messages = texts.map((text, offset): RawMessage => {
    const [name = '', timestamp = '0'] = text.split('@')
    const isHalf = /^[<>]/.test(name)
    const key = Buffer.from(name.replace(/^<?~?/, ''))
    const value = name.includes('~') ? null : Buffer.from(name)
    return { offset: String(offset), timestamp, key, value, ...(isHalf ? { headers: { name } } : {}) }
  })
  return { partition, firstOffset: 0n, lastOffset: BigInt(messages.length - 1), messages: Messages.of(messages) }
}

const pairMemberOf = (message: Message): PairMember | null => {
  const { value } = message
  const name = message.header('name')?.toString()
  if (name === undefined) return null
  const side = name.startsWith('<') ? 'before' : 'after'
  return { side, isTombstone: value === null, pair: () => name.replace(/^[<>]~?/, '') }
}

function order(...ranges: OffsetRange[]): string {
  const names = ranges.map(({ messages }) =>
    [...messages].map(({ key, value, headers }) => String(headers.name ?? (value === null ? `~${key}` : value))),
  )
  return interleave(ranges, pairMemberOf)
    .flatMap(({ range, from, to }) => (names[range] as string[]).slice(from, to))
    .join(' ')
}

test('messages are placed by their timestamps, each partition in the order of its offsets', (t) => {
  t.is(order(range(0, 'a@1', 'd@4', 'e@2'), range(1, 'b@2', 'c@3', 'f@9')), 'a b c d e f')
  t.is(order(range(0, 'a@5', 'b@5'), range(1, 'c@5')), 'a b c')
  t.is(order(range(0), range(1, 'a@5', 'b@1')), 'a b')
  t.is(order(range(0, 'b@7'), range(1, 'a@-1')), 'a b')
})

test('tombstones with the headers of their deletes do not take the rows of later updates of the same keys', (t) => {
  const before = range(0, '<1@5', '<~1@5', 'a@5', '<~1@5', '<1@5', '<~1@5', 'b@5')
  for (const ranges of [
    [before, range(1, '>1@5', '>1@5')],
    [range(1, '>1@5', '>1@5'), before],
  ]) {
    t.is(order(...ranges), '<1 <~1 >1 a <~1 <1 <~1 >1 b')
  }
  t.is(order(range(1, '>1@5', '>1@5'), range(0, '<~1@5', 'a@5', '<~1@5')), '<~1 >1 a <~1 >1')
})

test('a run is as long as it can be', (t) => {
  t.deepEqual(interleave([range(0, 'a@1', 'b@2'), range(1, 'c@3', 'd@4'), range(2)], pairMemberOf), [
    { range: 0, from: 0, to: 2 },
    { range: 1, from: 0, to: 2 },
  ])
})

test('both messages of a key update come one after the other, the tombstone between them', (t) => {
  const before = range(0, 'a@5', '<1@5', '~1@5', 'b@5')
  const after = range(1, 'c@5', '>1@5', 'd@5')
  for (const ranges of [
    [before, after],
    [after, before],
  ]) {
    const names = order(...ranges).split(' ')
    const at = names.indexOf('<1')
    t.deepEqual(names.slice(at, at + 3), ['<1', '~1', '>1'])
    t.true(names.indexOf('a') < at && names.indexOf('c') < at && names.indexOf('b') > at && names.indexOf('d') > at)
  }
})

test('of several updates between the same keys the first go together', (t) => {
  t.is(order(range(0, '<1@1', 'a@1', '<1@1', 'b@1'), range(1, '>1@1', 'c@1', '>1@1', 'd@1')), '<1 >1 a c <1 >1 b d')
  // The first row's delete came in an earlier batch.
  t.is(order(range(0, 'a@7', '<1@8'), range(1, '>1@3', 'b@7', '>1@8')), '>1 a b <1 >1')
})

test('messages that wait for one another in a circle, or for none, are placed all the same', (t) => {
  t.is(order(range(0, '>1@1', '<2@2'), range(1, '>2@2', '<1@1')).split(' ').length, 4)
  t.is(order(range(0, '<1@1', 'a@2'), range(1, 'b@1')), '<1 b a')
})

test(`random traffic: a source's order comes back from any number of partitions (SEED=${SEED})`, (t) => {
  const random = generator(SEED)
  for (let round = 0; round < 300 * ROUNDS; round++) {
    const partitions = Array.from({ length: 2 + random.below(3) }, (): string[] => [])
    let time = 0
    const send = (partition: number, name: string) => partitions[partition]?.push(`${name}@${time}`)
    for (let i = 0; i < 30; i++) {
      time += random.below(2)
      const key = random.below(2)
      if (random.below(3) > 0) {
        send(random.below(partitions.length), `m${i}`)
        continue
      }
      // Few keys, which change to the same other ones again and again.
      send(key % partitions.length, `<${key}`)
      send((key + 1) % partitions.length, `>${key}`)
    }
    const ranges = partitions.map((texts, partition) => range(partition, ...texts))
    const placed = interleave(ranges, pairMemberOf).flatMap(({ range: partition, from, to }) =>
      (partitions[partition] as string[]).slice(from, to).map((text) => ({ partition, text })),
    )
    for (const [partition, texts] of partitions.entries()) {
      t.deepEqual(
        placed.filter((message) => message.partition === partition).map(({ text }) => text),
        texts,
      )
    }
    const times = placed.map(({ text }) => Number(text.split('@')[1]))
    t.deepEqual(
      times,
      [...times].sort((x, y) => x - y),
    )
    for (const [i, { text }] of placed.entries()) {
      if (text.startsWith('<')) t.is(placed[i + 1]?.text, text.replace('<', '>'))
    }
  }
})
