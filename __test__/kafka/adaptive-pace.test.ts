import test from 'ava'
import { AdaptivePace } from '../../src/kafka/adaptive-pace.js'

test('the pause grows with the tables that change, and shrinks as they fall quiet', (t) => {
  let now = 0
  const pace = new AdaptivePace(() => now)
  const tables = Array.from({ length: 40 }, () => ({}))
  t.is(pace.pauseMs, 150)
  const pauses = tables.map((table) => {
    pace.noteBatch(table, false)
    pace.noteBatch(table, false)
    return pace.pauseMs
  })
  t.deepEqual(pauses.slice(0, 8), [150, 300, 450, 600, 750, 900, 1000, 1000])
  t.is(pauses.at(-1), 1000)
  now = 1_999
  for (const table of tables.slice(0, 3)) pace.noteBatch(table, false)
  t.is(pace.pauseMs, 1000)
  now = 2_000
  t.is(pace.pauseMs, 450)
  now = 4_000
  t.is(pace.pauseMs, 150)
})

const STEP_MS = 50

interface Table {
  /** When its last batch was made. */
  cutAt: number
  isCommitting: boolean
  isLate: boolean
}

/** A process in which changes come to all tables all the time, and which can do so many commits a second, one after the other. */
class Process {
  now = 0
  changing = 1_000
  #busyMs = 0
  #doneMs = 0
  readonly #line: Table[] = []
  readonly #tables = Array.from({ length: 1_000 }, (): Table => ({ cutAt: 0, isCommitting: false, isLate: false }))
  readonly pace = new AdaptivePace(
    () => this.now,
    () => ({ thread: this.#busyMs, cpus: 0 }),
  )
  readonly pauses: number[] = []

  /** @param otherWork its share of the time */
  constructor(
    public commitsPerSecond: number,
    readonly otherWork: number,
  ) {}

  /** Goes on for so many seconds. Gives the share of the time in which it was busy. */
  run(seconds: number): number {
    const before = this.#busyMs
    for (const end = this.now + seconds * 1_000; this.now < end; this.now += STEP_MS) this.#step()
    return (this.#busyMs - before) / (seconds * 1_000)
  }

  /** Seconds until the pause is no longer than that. */
  secondsTo(pauseMs: number): number {
    const began = this.now
    do this.run(1)
    while (this.pace.pauseMs > pauseMs && this.now < began + 1_000_000)
    return (this.now - began) / 1_000
  }

  #step(): void {
    const pause = this.pace.pauseMs
    if (this.now % 1_000 === 0) this.pauses.push(pause)
    for (const table of this.#tables.slice(0, this.changing)) {
      if (table.isCommitting || this.now < table.cutAt + pause) continue
      Object.assign(table, { cutAt: this.now, isCommitting: true })
      this.pace.noteBatch(table, table.isLate)
      this.#line.push(table)
    }
    const costMs = 1_000 / this.commitsPerSecond
    const workMs = Math.min(STEP_MS * (1 - this.otherWork), this.#line.length * costMs - this.#doneMs)
    this.#busyMs += STEP_MS * this.otherWork + workMs
    this.#doneMs += workMs
    for (; this.#line.length > 0 && this.#doneMs >= costMs - 1e-6; this.#doneMs -= costMs) {
      const table = this.#line.shift()
      if (table) Object.assign(table, { isCommitting: false, isLate: this.now >= table.cutAt + Math.max(1_000, pause) })
    }
  }
}

for (const { commitsPerSecond, settled } of [
  { commitsPerSecond: 474, settled: 30 },
  { commitsPerSecond: 200, settled: 120 },
  { commitsPerSecond: 100, settled: 150 },
  { commitsPerSecond: 60, settled: 400 },
])
  test(`a thousand tables of which a process can commit ${commitsPerSecond} a second get a pause that it can do, and keep it`, (t) => {
    const overloaded = new Process(commitsPerSecond, 0.1)
    overloaded.run(1)
    t.true(overloaded.run(2) > 0.99)
    overloaded.run(settled - 3)
    const pause = overloaded.pace.pauseMs
    // What commits take of a pause, and a little more.
    const round = 1_000_000 / commitsPerSecond / 0.9
    t.true(pause > round * 1.1 && pause < round * 1.5, `${overloaded.pauses.map(Math.round)}`)
    const busy = overloaded.run(600)
    t.true(busy > 0.75 && busy < 0.9, `${busy}`)
    t.deepEqual(new Set(overloaded.pauses.slice(-599)), new Set([pause]))
    // The load falls, or ends: so does the pause, when it has gone by.
    overloaded.changing = 5
    t.true(overloaded.secondsTo(750) < 2 + (2 * pause) / 1_000, `${overloaded.pauses.slice(-60).map(Math.round)}`)
  })

test('a pause falls where commits get cheaper, and where none are made any more', (t) => {
  const cheaper = new Process(100, 0.1)
  cheaper.run(100)
  const pause = cheaper.pace.pauseMs
  cheaper.commitsPerSecond = 2_000
  t.true(cheaper.secondsTo(1_000) < 2 + (2 * pause) / 1_000)
  cheaper.run(20)
  t.deepEqual(new Set(cheaper.pauses.slice(-19)), new Set([1_000]))
  const quiet = new Process(100, 0.1)
  quiet.run(100)
  quiet.changing = 0
  // Whatever keeps it busy: it has no commits.
  quiet.run((2 * pause) / 1_000 + 20)
  t.is(quiet.pace.pauseMs, 150)
})

/** Forty tables, all of which come for a batch once a second, late or not, in a process that is busy for a share of the time. */
function steadily(count = 40) {
  let [now, busyMs] = [0, 0]
  const pace = new AdaptivePace(
    () => now,
    () => ({ thread: busyMs, cpus: 0 }),
  )
  const tables = Array.from({ length: count }, () => ({}))
  return {
    pause: (isLate: boolean | ((index: number) => boolean | null), busy: number) => {
      for (const [i, table] of tables.entries())
        pace.noteBatch(table, typeof isLate === 'function' ? isLate(i) : isLate)
      now += 1_000
      busyMs += 1_000 * busy
      return pace.pauseMs
    },
  }
}

/** The pause after so many seconds. */
function after(seconds: number, pause: () => number): number {
  for (let second = 1; second < seconds; second++) pause()
  return pause()
}

test('a process that is not overloaded has the pauses that it had', (t) => {
  const calm = new Process(1_500, 0.1)
  calm.run(30)
  t.deepEqual(new Set(calm.pauses.slice(3)), new Set([1_000]))
  // One table is slow, or all wait for a store, or other work keeps the process busy.
  const { pause } = steadily()
  t.is(
    after(30, () => pause((i) => i === 0, 1)),
    1_000,
  )
  t.is(
    after(30, () => pause(true, 0.5)),
    1_000,
  )
  t.is(
    after(30, () => pause(false, 1)),
    1_000,
  )
  // Nor has one table alone a longer one, where no batch of it takes a second.
  const alone = steadily(1)
  t.is(
    after(30, () => alone.pause(false, 0.9)),
    150,
  )
})

test('the pause grows while most tables are late by it, up to half a minute, and not much where they are in time', (t) => {
  const { pause } = steadily()
  t.is(pause(true, 1), 1_250)
  t.is(
    after(400, () => pause(true, 1)),
    30_000,
  )
  // Tables with an interval of their own, or with full batches, have no say.
  const few = steadily()
  t.is(
    few.pause((i) => (i < 10 ? true : null), 1),
    1_250,
  )
  // A pause that was too short by far, and a process that other work keeps busy.
  const other = steadily()
  other.pause(true, 1)
  const late = after(2, () => other.pause(true, 1))
  t.is(late, 1_562.5)
  const most = 1_250 * 1.5
  t.is(
    after(100, () => other.pause(false, 1)),
    most,
  )
  // It stays as long as the process is that busy, and then falls: what was too short once does not count any more.
  t.is(
    after(100, () => other.pause(false, 0.8)),
    most,
  )
  t.is(
    after(2, () => other.pause(false, 0.79)),
    most * 0.9,
  )
  t.is(
    after(100, () => other.pause(false, 1)),
    most * 0.9,
  )
  t.is(
    after(20, () => other.pause(false, 0.79)),
    1_000,
  )
})

test('a long pause falls in minutes where the process is just less busy than it may be, and at once where it has little to do', (t) => {
  const secondsToFall = (busy: number) => {
    const { pause } = steadily()
    while (pause(true, 1) < 20_000);
    for (let seconds = 1; seconds < 10_000; seconds++) if (pause(false, busy) <= 1_000) return seconds
    return Number.POSITIVE_INFINITY
  }
  t.true(secondsToFall(0.79) <= 240, `${secondsToFall(0.79)}`)
  t.true(secondsToFall(0.5) <= 65, `${secondsToFall(0.5)}`)
  t.true(secondsToFall(0) <= 25, `${secondsToFall(0)}`)
})
