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
  return found === JAVA ? null : `Spark 3.5 needs Java ${JAVA}, and ${program} is Java ${found}. ${remedy}.`
}

/**
 * Makes what is not there yet.
 * @returns {Promise<{ python: string, jars: string } | { missing: string }>} the interpreter and the folder of the
 *   jars, or what is missing and how to get it
 */
export async function ensureSpark() {
  const missing = missingJava()
  if (missing) return { missing }
  const python = findPython(PYTHON.from, PYTHON.to)
  if (!python) return { missing: `PySpark 3.5 needs Python 3.${PYTHON.from} to 3.${PYTHON.to}; none was found.` }
  const venv = await ensureVenv(python, {
    what: 'PySpark',
    note: 'a download of 320 MB',
    prefix: 'spark-venv',
    requirements: join(HERE, 'requirements.txt'),
    first: ['setuptools', 'wheel'],
    imports: 'pyspark.sql',
  })
  if ('missing' in venv) return venv
  const jars = await ensureJars('Spark', 'spark-jars', join(HERE, 'pom.xml'))
  return 'missing' in jars ? jars : { ...venv, ...jars }
}
