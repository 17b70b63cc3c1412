/** Python environments in the cache folder, one for each list of requirements. */

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { CACHE_DIR } from './paths.mjs'
import { run, StatusLine, say, version } from './process.mjs'

const isWindows = process.platform === 'win32'

const interpreter = (folder) => (isWindows ? join(folder, 'Scripts', 'python.exe') : join(folder, 'bin', 'python'))

/** A Python 3 whose minor version is within the bounds, or null. */
export function findPython(from, to = Number.POSITIVE_INFINITY) {
  const versioned = Array.from({ length: Math.max(0, Math.min(to, 14) - from + 1) }, (_, i) => `python3.${from + i}`)
  for (const name of isWindows ? ['python', 'py'] : ['python3', ...versioned.reverse(), 'python']) {
    const [, major, minor] = (/Python (\d+)\.(\d+)/.exec(version(name) ?? '') ?? []).map(Number)
    if (major === 3 && minor >= from && minor <= to) return { name, minor }
  }
  return null
}

function folderOf(prefix, requirements, python) {
  const hash = createHash('sha256').update(readFileSync(requirements)).update(String(python.minor))
  return join(CACHE_DIR, `${prefix}-${hash.digest('hex').slice(0, 12)}`)
}

// An environment cannot be moved once it is made: this file in it, written last, says that it is whole.
const marker = (folder) => join(folder, 'kafka2delta-complete')

/** The environment's Python if it was made before, otherwise null. */
export function installedVenv(prefix, requirements, python) {
  const folder = folderOf(prefix, requirements, python)
  return existsSync(marker(folder)) ? interpreter(folder) : null
}

/**
 * Makes the environment where it is not there yet.
 *
 * @param {{ what: string, note: string, prefix: string, requirements: string, first?: string[], imports: string }} of
 *   `first`: packages that the others need in order to be installed; `imports`: a module that must load then
 * @returns {Promise<{ python: string } | { missing: string }>} the interpreter, or why there is none
 */
export async function ensureVenv(python, { what, note, prefix, requirements, first = [], imports }) {
  const installed = installedVenv(prefix, requirements, python)
  if (installed) return { python: installed }
  const folder = folderOf(prefix, requirements, python)
  say(`${what}: making a Python environment (once; ${note})`)
  const status = new StatusLine(what)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(CACHE_DIR, { recursive: true })
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check']
  const steps = [
    [python.name, ['-m', 'venv', folder]],
    ...(first.length > 0 ? [[interpreter(folder), [...pip, ...first]]] : []),
    [interpreter(folder), [...pip, '-r', requirements]],
    [interpreter(folder), ['-c', `import ${imports}; open(${JSON.stringify(marker(folder))}, 'w').close()`]],
  ]
  try {
    for (const [program, args] of steps) {
      const { code, output } = await run(program, args, { onOutput: () => {} })
      if (code !== 0) return { missing: `${what} cannot be installed: ${output.trim().split('\n').at(-1)}` }
    }
  } finally {
    status.end()
  }
  return { python: interpreter(folder) }
}
