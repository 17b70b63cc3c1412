/**
 * `npm run stack -- COMMAND`: the real systems on this machine, without containers.
 *
 *     up [PART...]           starts (and installs) what does not run: kafka registry postgres mariadb s3 connect;
 *                            azure and gcs only where they are named
 *     down [PART...]         ends it
 *     status                 what runs where
 *     reset                  ends it all and throws the data away
 *     connector create FILE [name=value...]   a file of resources/connect by name; values fill its placeholders and,
 *                            where they have a dot in the name, its settings
 *     connector list | status NAME | restart NAME | delete NAME
 *     psql [ARGUMENTS]       PostgreSQL's client on the stack's database; mysql likewise
 */

import { spawnSync } from 'node:child_process'
import { main, Problem } from './lib/process.mjs'
import {
  connectorOf,
  connectorStatus,
  deleteConnector,
  listConnectors,
  putConnector,
  restartConnector,
} from './stack/connectors.mjs'
import { PARTS } from './stack/parts.mjs'
import { residentMiB, runningPid } from './stack/processes.mjs'
import { ENDPOINTS, FOLDER, HOST, PORTS } from './stack/settings.mjs'
import { down, reset, up } from './stack/stack.mjs'

const USAGE = 'npm run stack -- up|down|status|reset|connector|psql|mysql; see the head of scripts/stack.mjs'

function status() {
  for (const [name, { where }] of Object.entries(PARTS)) {
    const pid = runningPid(name)
    const state = pid === null ? 'not running' : `pid ${pid}, ${residentMiB(pid)} MiB`
    console.log(`${name.padEnd(9)} ${state.padEnd(24)} ${where}`)
  }
  console.log(`data and logs: ${FOLDER}`)
}

async function connector([action, name, ...rest]) {
  if (action === 'list') {
    for (const known of await listConnectors()) console.log(known)
    return
  }
  if (name === undefined) throw new Problem(USAGE)
  if (action === 'create') {
    const given = Object.fromEntries(
      rest.map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)]),
    )
    const settings = Object.entries(given).filter(([key]) => key.includes('.'))
    const made = connectorOf(name, given, {
      config: Object.fromEntries(settings),
      ...(given.name ? { name: given.name } : {}),
    })
    await putConnector(made)
    console.log(`${made.name} runs`)
  } else if (action === 'status') console.log(JSON.stringify(await connectorStatus(name), null, 2))
  else if (action === 'restart') await restartConnector(name)
  else if (action === 'delete') await deleteConnector(name)
  else throw new Problem(USAGE)
}

function client(program, args, env = {}) {
  const { status: code, error } = spawnSync(program, args, { stdio: 'inherit', env: { ...process.env, ...env } })
  if (error) throw new Problem(`${program} cannot be run: ${error.message}`)
  process.exitCode = code ?? 1
}

const [command, ...args] = process.argv.slice(2)

await main(async () => {
  switch (command) {
    case 'up':
      await up(args.length > 0 ? args : undefined)
      return status()
    case 'down': {
      const stopped = await down(args.length > 0 ? args : undefined)
      return console.log(stopped.length > 0 ? `ended: ${stopped.join(', ')}` : 'nothing ran')
    }
    case 'status':
      return status()
    case 'reset':
      return reset()
    case 'connector':
      return connector(args)
    case 'psql': {
      const where = [
        '-h',
        HOST,
        '-p',
        String(PORTS.postgres),
        '-U',
        ENDPOINTS.POSTGRES_USER,
        '-d',
        ENDPOINTS.POSTGRES_DB,
      ]
      return client('psql', [...where, ...args], { PGPASSWORD: ENDPOINTS.POSTGRES_PASSWORD })
    }
    case 'mysql': {
      const { MARIADB_USER: user, MARIADB_PASSWORD: password, MARIADB_DB: database } = ENDPOINTS
      const where = ['-h', HOST, '-P', String(PORTS.mariadb), '-u', user, `-p${password}`, database]
      return client('mariadb', ['--no-defaults', '--default-character-set=utf8mb4', ...where, ...args])
    }
    default:
      throw new Problem(USAGE)
  }
})
