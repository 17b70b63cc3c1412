/** A Hive metastore on a free port of the loopback interface, its database (Derby) in a folder of its own. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { installedHive } from '../../../scripts/stack/install.mjs'
import { freePort } from '../../helpers/free-port.js'

/** The folder of a version's jars, or null where Java or the jars are missing: `npm test` fetches them. */
export const hiveJars = installedHive

export const NO_HIVE = 'needs Java 17 and Maven: run it with `npm test`'

const HOST = '127.0.0.1'
const START_TIMEOUT_MS = 180_000

const PROGRAMS = {
  3: fileURLToPath(new URL('../../../scripts/stack/hive/LoopbackMetastore.java', import.meta.url)),
  4: 'org.apache.hadoop.hive.metastore.HiveMetaStore',
} as const

/** In place of tasks whose classes only Hive's own server has. */
const NO_TASKS = 'org.apache.hadoop.hive.metastore.events.EventCleanerTask'

export interface HiveSettings {
  /** Default: 4. */
  major?: 3 | 4
  /** Default: a free one. */
  port?: number
  /** Beside those by which it starts here, by their names. */
  properties?: Record<string, string>
}

export class RealHive {
  readonly port: number
  readonly uri: string
  readonly #child: ChildProcess
  #output = ''

  private constructor(child: ChildProcess, port: number) {
    this.#child = child
    this.port = port
    this.uri = `thrift://${HOST}:${port}`
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (text) => {
        this.#output = (this.#output + text).slice(-4000)
      })
    }
  }

  /** A folder that had one before has its database: what was entered is there again. */
  static async start(
    jars: string,
    folder: string,
    { major = 4, port, properties = {} }: HiveSettings = {},
  ): Promise<RealHive> {
    const listens = port ?? (await freePort())
    mkdirSync(folder, { recursive: true })
    const settings = {
      'metastore.thrift.bind.host': HOST,
      'javax.jdo.option.ConnectionURL': `jdbc:derby:;databaseName=${join(folder, 'database')};create=true`,
      'javax.jdo.option.ConnectionDriverName': 'org.apache.derby.jdbc.EmbeddedDriver',
      'metastore.warehouse.dir': join(folder, 'warehouse'),
      // Its tables are made when they are first needed, in place of schematool's scripts, which the jars do not have.
      'datanucleus.schema.autoCreateAll': 'true',
      'metastore.schema.verification': 'false',
      // The default is a class of Hive's own server.
      'metastore.expression.proxy': 'org.apache.hadoop.hive.metastore.DefaultPartitionExpressionProxy',
      'metastore.housekeeping.threads.on': 'false',
      ...(major === 3 ? { 'metastore.task.threads.always': NO_TASKS, 'metastore.task.threads.remote': NO_TASKS } : {}),
      ...properties,
    }
    const java = ['-Xmx256m', '-XX:+UseSerialGC', `-Dderby.system.home=${folder}`, `-Djava.io.tmpdir=${folder}`]
    const flags = Object.entries(settings).flatMap(([name, value]) => ['--hiveconf', `${name}=${value}`])
    const args = [...java, '-cp', join(jars, '*'), PROGRAMS[major], '-p', String(listens), ...flags]
    const hive = new RealHive(spawn('java', args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] }), listens)
    await hive.#untilReady()
    return hive
  }

  async #untilReady(): Promise<void> {
    const until = Date.now() + START_TIMEOUT_MS
    for (;;) {
      if (this.#child.exitCode !== null) throw new Error(`the metastore ended: ${this.#output}`)
      const socket = connect(this.port, HOST)
      try {
        await once(socket, 'connect')
        return
      } catch (error) {
        if (Date.now() > until) throw new Error(`the metastore does not answer: ${this.#output}`, { cause: error })
        await sleep(200)
      } finally {
        socket.destroy()
      }
    }
  }

  /** Its database is on disk after each answer: it is ended at once. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }
}
