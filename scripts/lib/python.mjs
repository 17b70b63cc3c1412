/** The Python environment of the oracle: independent readers of Delta tables. */

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { CACHE_DIR, ROOT } from './paths.mjs'
import { run, StatusLine, say, version } from './process.mjs'

const REQUIREMENTS = join(ROOT, '__test__', 'oracle', 'requirements.txt')
const MINIMUM = [3, 10]

function findPython() {
  for (const name of process.platform === 'win32' ? ['python', 'py'] : ['python3', 'python']) {
    const found = /Python (\d+)\.(\d+)/.exec(version(name) ?? '')
    if (!found) continue
    const [major, minor] = [Number(found[1]), Number(found[2])]
    if (major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1])) return { name, major, minor }
  }
  return null
}

const interpreter = (folder) =>
  process.platform === 'win32' ? join(folder, 'Scripts', 'python.exe') : join(folder, 'bin', 'python')

/** Where the environment for these requirements lies, whether it is there or not. */
function venvFolder(python) {
  const hash = createHash('sha256').update(readFileSync(REQUIREMENTS)).update(`${python.major}.${python.minor}`)
  return join(CACHE_DIR, `venv-${hash.digest('hex').slice(0, 12)}`)
}

/** The environment's Python if it was made before, otherwise null. */
export function installedPython() {
  const python = findPython()
  if (!python) return null
  const path = interpreter(venvFolder(python))
  return existsSync(path) ? path : null
}

/**
 * Makes the environment where it is not there yet.
 * @returns {Promise<{ python: string } | { missing: string }>} the interpreter, or why there is none
 */
export async function ensurePython() {
  const python = findPython()
  if (!python) return { missing: `Python ${MINIMUM.join('.')} or newer is not installed` }
  const folder = venvFolder(python)
  if (existsSync(interpreter(folder))) return { python: interpreter(folder) }
  say('Python: making the environment of the test oracle (once)')
  mkdirSync(CACHE_DIR, { recursive: true })
  // A half-made one must not be taken for a whole one: a marker is worth less than the interpreter's absence.
  const broken = `${folder}.broken`
  rmSync(broken, { recursive: true, force: true })
  const status = new StatusLine('Python packages')
  const quiet = { onOutput: () => {} }
  const made = await run(python.name, ['-m', 'venv', folder], quiet)
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', REQUIREMENTS]
  const installed = made.code === 0 ? await run(interpreter(folder), pip, quiet) : made
  status.end()
  if (installed.code === 0) return { python: interpreter(folder) }
  if (existsSync(folder)) {
    renameSync(folder, broken)
    rmSync(broken, { recursive: true, force: true })
  }
  const last = installed.output.trim().split('\n').at(-1)
  return { missing: `the Python environment cannot be made (is the venv module installed?): ${last}` }
}
