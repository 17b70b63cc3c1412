/**
 * Spark for the comparison: Java, a Python environment with PySpark, the jars of Delta and Avro. What is fetched lies
 * in the cache folder of the other scripts and outlives a clone.
 */

import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureJars, javaVersion } from '../../scripts/lib/jars.mjs'
import { ensureVenv, findPython } from '../../scripts/lib/venv.mjs'

const HERE = dirname(fileURLToPath(import.meta.url))

/** Spark 3.5 runs on Java 8, 11 and 17; what it writes is tried here with 17. */
const JAVA = 17
/** PySpark 3.5 knows Python 3.8 to 3.12; 3.12 took `distutils` away, which setuptools brings back. */
const PYTHON = { from: 10, to: 12 }

function missingJava() {
  // As PySpark finds it: JAVA_HOME before the PATH.
  const home = process.env.JAVA_HOME
  const program = home ? join(home, 'bin', process.platform === 'win32' ? 'java.exe' : 'java') : 'java'
  const remedy = `Install a JDK ${JAVA} (Debian, Ubuntu: apt install openjdk-${JAVA}-jre-headless; macOS: brew install openjdk@${JAVA}) and let JAVA_HOME name its folder`
  const found = javaVersion(program)
  if (found === null) return `Spark needs Java ${JAVA}, and ${program} cannot be run. ${remedy}.`
  return found === JAVA ? null : `Spark needs Java ${JAVA}, and ${program} is Java ${found}. ${remedy}.`
}

/**
 * Makes what is not there yet of a PySpark with its jars.
 * @param {{ name: string, note: string, prefix: string, folder: string }} spark its name, the size of its download, what
 *   its folders in the cache begin with, and the folder of its requirements.txt and pom.xml
 * @returns {Promise<{ python: string, jars: string } | { missing: string }>} the interpreter and the folder of the
 *   jars, or what is missing and how to get it
 */
export async function ensurePySpark({ name, note, prefix, folder }) {
  const missing = missingJava()
  if (missing) return { missing }
  const python = findPython(PYTHON.from, PYTHON.to)
  if (!python) return { missing: `Py${name} needs Python 3.${PYTHON.from} to 3.${PYTHON.to}; none was found.` }
  const venv = await ensureVenv(python, {
    what: `Py${name}`,
    note,
    prefix: `${prefix}-venv`,
    requirements: join(folder, 'requirements.txt'),
    first: ['setuptools', 'wheel'],
    imports: 'pyspark.sql',
  })
  if ('missing' in venv) return venv
  const jars = await ensureJars(name, `${prefix}-jars`, join(folder, 'pom.xml'))
  return 'missing' in jars ? jars : { ...venv, ...jars }
}

/** Spark 3.5, as {@link ensurePySpark} makes it. */
export const ensureSpark = () =>
  ensurePySpark({ name: 'Spark 3.5', note: 'a download of 320 MB', prefix: 'spark', folder: HERE })
