/**
 * Spark for the comparison: Java, a Python environment with PySpark, the jars of Delta and Avro. What is fetched lies
 * in the cache folder of the other scripts and outlives a clone.
 */

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CACHE_DIR } from '../../scripts/lib/paths.mjs'
import { run, StatusLine, say, version } from '../../scripts/lib/process.mjs'

const HERE = dirname(fileURLToPath(import.meta.url))
const POM = join(HERE, 'pom.xml')
const REQUIREMENTS = join(HERE, 'requirements.txt')
const COPY = 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies'

/** Spark 3.5 runs on Java 8, 11 and 17; what it writes is tried here with 17. */
const JAVA = 17
/** PySpark 3.5 knows Python 3.8 to 3.12; 3.12 took `distutils` away, which setuptools brings back. */
const PYTHON = { from: 10, to: 12 }

const isWindows = process.platform === 'win32'

/** Java as PySpark finds it: JAVA_HOME before the PATH. */
function javaProgram() {
  const home = process.env.JAVA_HOME
  return home ? join(home, 'bin', isWindows ? 'java.exe' : 'java') : 'java'
}

function missingJava() {
  const program = javaProgram()
  const remedy = `Install a JDK ${JAVA} (Debian, Ubuntu: apt install openjdk-${JAVA}-jre-headless; macOS: brew install openjdk@${JAVA}) and let JAVA_HOME name its folder`
  const found = version(program, ['-version'])
  if (found === null) return `Spark needs Java ${JAVA}, and ${program} cannot be run. ${remedy}.`
  const major = Number(/version "(\d+)/.exec(found)?.[1] ?? 0)
  return major === JAVA ? null : `Spark 3.5 needs Java ${JAVA}, and ${program} is ${found}. ${remedy}.`
}

function findPython() {
  const versioned = [12, 11, 10].map((minor) => `python3.${minor}`)
  for (const name of isWindows ? ['python', 'py'] : ['python3', ...versioned, 'python']) {
    const [, major, minor] = (/Python (\d+)\.(\d+)/.exec(version(name) ?? '') ?? []).map(Number)
    if (major === 3 && minor >= PYTHON.from && minor <= PYTHON.to) return { name, minor }
  }
  return null
}

const hashOf = (file, ...more) => {
  const hash = createHash('sha256').update(readFileSync(file))
  for (const text of more) hash.update(String(text))
  return hash.digest('hex').slice(0, 12)
}

const interpreter = (folder) => (isWindows ? join(folder, 'Scripts', 'python.exe') : join(folder, 'bin', 'python'))

const lastLine = (output) => output.trim().split('\n').at(-1)

/** A virtual environment cannot be moved once it is made: a file in it, written last, says that it is whole. */
async function ensureVenv(python) {
  const folder = join(CACHE_DIR, `spark-venv-${hashOf(REQUIREMENTS, python.minor)}`)
  const marker = join(folder, 'kafka2delta-complete')
  if (existsSync(marker)) return { python: interpreter(folder) }
  say('Spark: making a Python environment with PySpark (once; a download of 320 MB)')
  const status = new StatusLine('PySpark')
  const quiet = { onOutput: () => {} }
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(CACHE_DIR, { recursive: true })
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check']
  const steps = [
    [python.name, ['-m', 'venv', folder]],
    [interpreter(folder), [...pip, 'setuptools', 'wheel']],
    [interpreter(folder), [...pip, '-r', REQUIREMENTS]],
    [interpreter(folder), ['-c', `import pyspark.sql; open(${JSON.stringify(marker)}, 'w').close()`]],
  ]
  try {
    for (const [program, args] of steps) {
      const { code, output } = await run(program, args, quiet)
      if (code !== 0) return { missing: `PySpark cannot be installed: ${lastLine(output)}` }
    }
  } finally {
    status.end()
  }
  return { python: interpreter(folder) }
}

async function ensureJars() {
  const folder = join(CACHE_DIR, `spark-jars-${hashOf(POM)}`)
  if (existsSync(folder)) return { jars: folder }
  if (version('mvn') === null) return { missing: 'Maven is not installed: it fetches the jars of Delta and Avro.' }
  say("Spark: fetching Delta's and Avro's jars (once)")
  const status = new StatusLine('jars')
  const partial = `${folder}.partial`
  rmSync(partial, { recursive: true, force: true })
  mkdirSync(CACHE_DIR, { recursive: true })
  const args = ['-B', '-q', '-f', POM, COPY, '-DincludeScope=runtime', `-DoutputDirectory=${partial}`]
  const { code, output } = await run('mvn', args, { onOutput: () => {} })
  status.end()
  if (code !== 0) return { missing: `Maven cannot fetch the jars of Delta and Avro: ${lastLine(output)}` }
  renameSync(partial, folder)
  return { jars: folder }
}

/**
 * Makes what is not there yet.
 * @returns {Promise<{ python: string, jars: string } | { missing: string }>} the interpreter and the folder of the
 *   jars, or what is missing and how to get it
 */
export async function ensureSpark() {
  const missing = missingJava()
  if (missing) return { missing }
  const python = findPython()
  if (!python) return { missing: `PySpark 3.5 needs Python 3.${PYTHON.from} to 3.${PYTHON.to}; none was found.` }
  const venv = await ensureVenv(python)
  if ('missing' in venv) return venv
  const jars = await ensureJars()
  return 'missing' in jars ? jars : { ...venv, ...jars }
}
