/** The stack's S3 server, once more, on a folder and a port of its own, with users that come and go. */

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { versitygw } from '../../../scripts/stack/install.mjs'
import { freePort, untilOpen } from '../../helpers/free-port.js'

const ROOT = { access: 'root', secret: 'rootroot' }

/** Credentials that the server takes until they end. */
export interface Issued {
  id: string
  secret: string
  ends: Date
}

export class S3WithUsers {
  /** Program and arguments: `create-user` and `delete-user` follow. */
  readonly administration: readonly string[]
  readonly end: () => Promise<void>
  /** How many were made. */
  users = 0
  readonly #url: string
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #deletions = new Set<Promise<void>>()

  private constructor(url: string, administration: readonly string[], end: () => Promise<void>) {
    this.#url = url
    this.administration = administration
    this.end = async () => {
      for (const timer of this.#timers) clearTimeout(timer)
      await Promise.all(this.#deletions)
      await end()
    }
  }

  static async start(): Promise<S3WithUsers> {
    const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-s3-'))
    const [data, users, port] = [join(folder, 'data'), join(folder, 'users'), await freePort()]
    mkdirSync(join(data, 'lake'), { recursive: true })
    mkdirSync(users)
    const program = await versitygw()
    const keys = ['--access', ROOT.access, '--secret', ROOT.secret]
    const server = ['--region', 'us-east-1', '--port', `127.0.0.1:${port}`, '--iam-dir', users, '--iam-cache-disable']
    const gateway = spawn(program, [...keys, ...server, '--quiet', 'posix', data], { stdio: 'ignore' })
    await untilOpen(port)
    const url = `http://127.0.0.1:${port}`
    return new S3WithUsers(url, [program, 'admin', ...keys, '--endpoint-url', url], async () => {
      const ended = once(gateway, 'exit')
      gateway.kill()
      await ended
      rmSync(folder, { recursive: true, force: true })
    })
  }

  /** Where the store is, without credentials. */
  get place(): Record<string, string> {
    return { AWS_ENDPOINT_URL: this.#url, AWS_REGION: 'us-east-1', AWS_ALLOW_HTTP: 'true' }
  }

  /** The store's options by the credentials of a user. */
  as(id = ROOT.access, secret = ROOT.secret): Record<string, string> {
    return { ...this.place, AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret }
  }

  /** Makes a user who may do all for so long. */
  async issue(milliseconds: number): Promise<Issued> {
    const [id, secret] = [`user-${++this.users}`, 'a-key']
    await this.#administer('create-user', '--access', id, '--secret', secret, '--role', 'admin')
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      this.#deletions.add(this.#administer('delete-user', '--access', id))
    }, milliseconds)
    this.#timers.add(timer)
    return { id, secret, ends: new Date(Date.now() + milliseconds) }
  }

  async #administer(...args: readonly string[]): Promise<void> {
    const [program = '', ...given] = this.administration
    await promisify(execFile)(program, [...given, ...args])
  }
}
