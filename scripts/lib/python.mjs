/** The Python environment of the oracle: independent readers of Delta tables. */

import { join } from 'node:path'
import { ROOT } from './paths.mjs'
import { ensureVenv, findPython, installedVenv } from './venv.mjs'

const REQUIREMENTS = join(ROOT, '__test__', 'oracle', 'requirements.txt')
const MINIMUM = 10
const CATALOGS = join(ROOT, '__test__', 'catalog', 'requirements.txt')
const READERS = join(ROOT, 'benchmark', 'readers', 'requirements.txt')

/** The environment's Python if it was made before, otherwise null. */
export function installedPython() {
  const python = findPython(MINIMUM)
  return python && installedVenv('venv', REQUIREMENTS, python)
}

/**
 * Makes the environment where it is not there yet.
 * @returns {Promise<{ python: string } | { missing: string }>} the interpreter, or why there is none
 */
export async function ensurePython() {
  const python = findPython(MINIMUM)
  if (!python) return { missing: `Python 3.${MINIMUM} or newer is not installed` }
  const [prefix, requirements] = ['venv', REQUIREMENTS]
  return ensureVenv(python, { what: 'the test oracle', note: '150 MB', prefix, requirements, imports: 'deltalake' })
}

/** The Python of the catalogs' servers if it was made before, otherwise null. */
export function installedCatalogs() {
  const python = findPython(MINIMUM)
  return python && installedVenv('venv-catalogs', CATALOGS, python)
}

/**
 * Makes the environment of the catalogs' servers where it is not there yet.
 * @returns {Promise<{ python: string } | { missing: string }>} the interpreter, or why there is none
 */
export async function ensureCatalogs() {
  const python = findPython(MINIMUM)
  if (!python) return { missing: `Python 3.${MINIMUM} or newer is not installed` }
  const [prefix, requirements] = ['venv-catalogs', CATALOGS]
  return ensureVenv(python, {
    what: "the catalogs' servers",
    note: '250 MB',
    prefix,
    requirements,
    imports: 'moto.server',
  })
}

/**
 * Makes the environment of the readers that are tried on our tables, where it is not there yet.
 * @returns {Promise<{ python: string } | { missing: string }>} the interpreter, or why there is none
 */
export async function ensureReaders() {
  const python = findPython(MINIMUM)
  if (!python) return { missing: `Python 3.${MINIMUM} or newer is not installed` }
  const [prefix, requirements] = ['venv-readers', READERS]
  return ensureVenv(python, { what: 'the readers', note: '900 MB', prefix, requirements, imports: 'polars' })
}
