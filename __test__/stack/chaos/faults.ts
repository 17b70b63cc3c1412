/** The faults of a chaos run: which, when and for how long, by the seed alone; and what each of them does. */

import { generator, type Random } from '../../helpers/random.js'
import { SESSION_MS } from './settings.js'

/** What the faults are done to. Each resolves when it is over; false where there was nothing to do it to. */
export interface Field {
  kill(which: number, awayMs: number): Promise<boolean>
  freeze(which: number, ms: number): Promise<boolean>
  remove(which: number): Promise<boolean>
  add(): Promise<boolean>
  restart(system: 'kafka' | 'registry' | 's3' | 'connect', kill: boolean, awayMs: number): Promise<boolean>
  slow(system: 'kafka' | 'registry' | 's3', delayMs: number, ms: number): Promise<boolean>
  silence(system: 'kafka' | 'registry' | 's3', drop: boolean, ms: number): Promise<boolean>
  cut(system: 'kafka' | 'registry' | 's3', ms: number): Promise<boolean>
  addPartition(which: number): Promise<boolean>
  addTable(): Promise<boolean>
  compact(which: number): Promise<boolean>
  vacuum(which: number): Promise<boolean>
  otherWriter(ms: number): Promise<boolean>
  deltaRs(which: number): Promise<boolean>
  emptyCommit(which: number): Promise<boolean>
}

/** One fault as the seed has it. Milliseconds since the beginning. */
export interface Planned {
  at: number
  kind: string
  lasts: number
  /** From 0 to below 1: whom it meets, and how. */
  which: number
  how: number
}

interface Kind {
  weight: number
  /** Of a system: its faults do not overlap. */
  system?: 'kafka' | 'registry' | 's3' | 'connect'
  /** Shortest and longest time in milliseconds. */
  lasts: readonly [number, number]
  /** What it needs of a seed beyond the rest. */
  only?: 'store' | 'long'
  run(field: Field, planned: Planned): Promise<boolean>
}

const PROXIED = ['kafka', 'registry', 's3'] as const

const NAMES = { kafka: 'Kafka', registry: 'the registry', s3: 'the store', connect: 'Connect' } as const

const ofSystem = (name: keyof typeof NAMES) => (name === 's3' ? { only: 'store' as const } : {})

export const KINDS: Readonly<Record<string, Kind>> = {
  'a worker is killed': { weight: 3, lasts: [0, 2500], run: (field, { which, lasts }) => field.kill(which, lasts) },
  'a worker stands still beyond its session': {
    weight: 5,
    lasts: [SESSION_MS + 500, SESSION_MS + 5000],
    run: (field, { which, lasts }) => field.freeze(which, lasts),
  },
  'a worker stands still within its session': {
    weight: 1,
    lasts: [200, SESSION_MS - 1000],
    run: (field, { which, lasts }) => field.freeze(which, lasts),
  },
  'a worker is removed': { weight: 3, lasts: [0, 0], run: (field, { which }) => field.remove(which) },
  'a worker is added': { weight: 4, lasts: [0, 0], run: (field) => field.add() },
  ...Object.fromEntries(
    PROXIED.flatMap((system): [string, Kind][] => [
      [
        `${NAMES[system]} is slow`,
        {
          ...ofSystem(system),
          system,
          weight: 1.5,
          lasts: [1000, 6000],
          run: (field, { how, lasts }) => field.slow(system, 20 + Math.round(how * 400), lasts),
        },
      ],
      [
        `${NAMES[system]} does not answer`,
        {
          ...ofSystem(system),
          system,
          weight: 1.5,
          lasts: [1000, 7000],
          run: (field, { how, lasts }) => field.silence(system, how < 0.5, lasts),
        },
      ],
      [
        `${NAMES[system]} is cut off`,
        {
          ...ofSystem(system),
          system,
          weight: 1.5,
          lasts: [0, 5000],
          run: (field, { lasts }) => field.cut(system, lasts),
        },
      ],
      [
        `${NAMES[system]} ends and starts again`,
        {
          ...ofSystem(system),
          system,
          // A program in Java takes long to start.
          weight: system === 's3' ? 0.7 : 0.4,
          lasts: [0, 3000],
          run: (field, { how, lasts }) => field.restart(system, how < 0.5, lasts),
        },
      ],
    ]),
  ),
  'Connect is killed and starts again': {
    only: 'long',
    system: 'connect',
    weight: 0.3,
    lasts: [0, 2000],
    run: (field, { lasts }) => field.restart('connect', true, lasts),
  },
  'a topic gets a partition more': {
    weight: 1,
    lasts: [0, 0],
    run: (field, { which }) => field.addPartition(which),
  },
  'a table is added': { weight: 1, lasts: [0, 0], run: (field) => field.addTable() },
  'a table is compacted by the command': { weight: 2, lasts: [0, 0], run: (field, { which }) => field.compact(which) },
  'a table is vacuumed by the command': { weight: 1, lasts: [0, 0], run: (field, { which }) => field.vacuum(which) },
  'another process compacts and commits': {
    weight: 1,
    lasts: [1000, 5000],
    run: (field, { lasts }) => field.otherWriter(lasts),
  },
  'delta-rs compacts a table': { weight: 1.5, lasts: [0, 0], run: (field, { which }) => field.deltaRs(which) },
  'a commit of others that changes no data': {
    weight: 2,
    lasts: [0, 0],
    run: (field, { which }) => field.emptyCommit(which),
  },
}

export interface PlanOptions {
  seed: number
  /** Milliseconds. */
  lasts: number
  /** Mean of the milliseconds between two faults. */
  every: number
  /** Whether tables lie in the stack's object store. */
  hasStore: boolean
}

function weighted(random: Random, kinds: readonly [string, Kind][]): [string, Kind] {
  let rest = random.next() * kinds.reduce((sum, [, { weight }]) => sum + weight, 0)
  for (const kind of kinds) {
    rest -= kind[1].weight
    if (rest < 0) return kind
  }
  return kinds.at(-1) as [string, Kind]
}

/** From when on a run is long enough for what takes long. */
const LONG_MS = 300_000

/** The faults of a seed in the order of their beginning. */
export function plan({ seed, lasts, every, hasStore }: PlanOptions): Planned[] {
  const random = generator(seed * 7 + 3)
  const kinds = Object.entries(KINDS).filter(
    ([, { only }]) => only === undefined || (only === 'store' ? hasStore : lasts >= LONG_MS),
  )
  const planned: Planned[] = []
  for (let at = every * random.next(); at < lasts; at += every * 2 * random.next()) {
    const [kind, { lasts: range }] = weighted(random, kinds)
    const time = range[0] + Math.round(random.next() * (range[1] - range[0]))
    planned.push({ at: Math.round(at), kind, lasts: time, which: random.next(), how: random.next() })
  }
  return planned
}
