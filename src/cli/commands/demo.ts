/** `kafka2delta demo`: see src/demo/run.ts. */

import { fileURLToPath } from 'node:url'
import { isEqual } from '../../demo/compare.js'
import { resultLines, stageLines } from '../../demo/report.js'
import { runDemo } from '../../demo/run.js'
import type { ShopProgress } from '../../demo/shop.js'
import { createLogger } from '../../log.js'
import { type LiveView, showLive } from '../../terminal/live-view.js'
import type { Output } from '../../terminal/output.js'
import { SIGNAL_EXIT, watchSignals } from '../../terminal/signals.js'
import type { Register } from '../command.js'
import { number, verboseOption } from '../flags.js'

export interface DemoFlags {
  orders: number
  changes: number
  seed: number
  rate?: number
  dir?: string
  keep?: boolean
  /** True: the set that comes with the package. */
  fixtures?: string | true
  live?: boolean
}

/** Returns the exit code: 0 where every table is equal to its source. */
export async function demo(flags: DemoFlags, output: Output): Promise<number> {
  const isLive = output.stdout.isTTY === true && flags.live !== false
  const write = (lines: readonly string[]) => output.stdout.write(`${lines.join('\n')}\n`)
  const logger = createLogger(isLive ? 'silent' : 'warn', output.stderr as unknown as { write(text: string): void })
  let view: LiveView | null = null
  let progress: ShopProgress | null = null
  const signals = watchSignals((name) => {
    output.stderr.write(`${name}: finishing the batches in hand; once more to end at once\n`)
  })
  try {
    const packaged = fileURLToPath(new URL('../../../resources/fixtures/shop', import.meta.url))
    const result = await runDemo(
      {
        orders: flags.orders,
        changes: flags.changes,
        seed: flags.seed,
        dir: flags.dir ?? null,
        keep: flags.keep === true,
        fixtures: flags.fixtures === true ? packaged : (flags.fixtures ?? null),
        logger,
        signal: signals.signal,
        ...(flags.rate === undefined ? {} : { rate: flags.rate }),
      },
      {
        started(query, dir, resumed) {
          const again = resumed > 0 ? `, which was started ${resumed === 1 ? 'once' : `${resumed} times`} before` : ''
          write([`Kafka and the schema registry run in this process; everything lies in ${dir}${again}.`, ''])
          if (isLive) view = showLive(query, output, () => stageLines(progress))
        },
        produced(next) {
          const isNew = next.stage !== progress?.stage
          progress = next
          if (!isLive && isNew) write([`${next.stage}: ${next.total}`])
        },
      },
    )
    ;(view as LiveView | null)?.end()
    view = null
    write(resultLines(result))
    if (!flags.fixtures) write(['', 'Captured Debezium topics are replayed by: npm run demo -- --fixtures'])
    if (signals.received) return SIGNAL_EXIT[signals.received]
    return result.tables.every(({ comparison }) => comparison === null || isEqual(comparison)) ? 0 : 1
  } catch (error) {
    if (signals.received) return SIGNAL_EXIT[signals.received]
    throw error
  } finally {
    ;(view as LiveView | null)?.end()
    signals.end()
  }
}

export const register: Register = (program, act) =>
  void program
    .command('demo')
    .description('a shop from its snapshot on, with Kafka and the schema registry inside of this process')
    .option('--orders <n>', 'orders in the snapshot', number('--orders', 1), 100_000)
    .option('--changes <n>', 'changes after it', number('--changes', 0), 50_000)
    .option('--seed <n>', 'the same seed gives the same shop', number('--seed', 0), 42)
    .option('--rate <n>', 'messages per second after the snapshot, at most', number('--rate', 1))
    .option('--dir <folder>', 'where everything lies; a demo that was ended there goes on (default: a new folder)')
    .option('--keep', 'keep the folder also where it was not named')
    .option(
      '--fixtures [folder]',
      'replay a captured set of topics instead of the shop (default: the set in the package)',
    )
    .option('--no-live', 'no live view')
    .addOption(verboseOption())
    .action(act(demo))
