/** What the parts need, from package managers alone: Maven, apt, Go, npm. Only what is missing is fetched. */

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ensureJars, jarsFolder, javaVersion } from '../lib/jars.mjs'
import { CACHE_DIR, ROOT } from '../lib/paths.mjs'
import { must, Problem, say, version } from '../lib/process.mjs'
import { isRoot, VERSIONS } from './settings.mjs'

const COPY = 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy'

const MINIMUM_JAVA = 17

function needJava() {
  if ((javaVersion() ?? 0) < MINIMUM_JAVA) {
    throw new Problem(`Java ${MINIMUM_JAVA} or newer (a JDK) is needed: apt-get install default-jdk`)
  }
}

/** A pom.xml that asks for these artifacts: group:artifact:version. */
export function pomOf(name, artifacts) {
  const tags = artifacts.map((artifact) => {
    const [group, id, version] = artifact.split(':')
    return `<dependency><groupId>${group}</groupId><artifactId>${id}</artifactId><version>${version}</version></dependency>`
  })
  const pom = join(CACHE_DIR, 'poms', `${name}.xml`)
  mkdirSync(join(CACHE_DIR, 'poms'), { recursive: true })
  writeFileSync(
    pom,
    "<project xmlns='http://maven.apache.org/POM/4.0.0'><modelVersion>4.0.0</modelVersion><groupId>local</groupId>" +
      `<artifactId>${name}</artifactId><version>1</version><dependencies>${tags.join('')}</dependencies></project>\n`,
  )
  return pom
}

/** A folder with the jars of these artifacts and all that they need at run time. */
async function jarsOf(name, artifacts) {
  needJava()
  const result = await ensureJars(name, `stack-${name}`, pomOf(name, artifacts))
  if (result.missing) throw new Problem(result.missing)
  return result.jars
}

/** A folder with the contents of one archive from Maven: group:artifact:version:type:classifier. */
async function archive(artifact) {
  needJava()
  const [, id, version, type, classifier] = artifact.split(':')
  const folder = join(CACHE_DIR, `stack-${id}-${version}`)
  if (existsSync(folder)) return folder
  say(`${id} ${version}: fetching (once)`)
  const partial = `${folder}.partial`
  rmSync(partial, { recursive: true, force: true })
  mkdirSync(partial, { recursive: true })
  await must('mvn', ['-B', '-q', COPY, `-Dartifact=${artifact}`, `-DoutputDirectory=${partial}`])
  const file = join(partial, `${id}-${version}-${classifier}.${type}`)
  await must('tar', ['xzf', file, '-C', partial])
  rmSync(file)
  renameSync(partial, folder)
  return folder
}

function kafkaArtifacts(version) {
  // Neither pom brings a binding for the log.
  const log = version.startsWith('4.')
    ? 'org.apache.logging.log4j:log4j-slf4j-impl:2.25.4'
    : 'org.slf4j:slf4j-reload4j:1.7.36'
  return [`org.apache.kafka:kafka_2.13:${version}`, `org.apache.kafka:connect-runtime:${version}`, log]
}

const kafkaName = (version) => (version === VERSIONS.kafka ? 'kafka' : `kafka-${version}`)

/** The jars of broker and Connect worker. */
export const kafkaJars = (version = VERSIONS.kafka) => jarsOf(kafkaName(version), kafkaArtifacts(version))

/** The same, if they were fetched before and Java is there, otherwise null. */
export function installedKafka(version = VERSIONS.kafka) {
  const name = kafkaName(version)
  const jars = jarsFolder(`stack-${name}`, pomOf(name, kafkaArtifacts(version)))
  return existsSync(jars) && (javaVersion() ?? 0) >= MINIMUM_JAVA ? jars : null
}

const hivePom = (major) => join(ROOT, 'scripts', 'stack', 'hive', `hive-${major}.xml`)

/** The jars of a metastore of Hive 3 or 4. */
export async function hiveJars(major) {
  needJava()
  const result = await ensureJars(`Hive ${major} metastore`, `stack-hive-${major}`, hivePom(major))
  if (result.missing) throw new Problem(result.missing)
  return result.jars
}

/** The same, if they were fetched before and Java is there, otherwise null. */
export function installedHive(major) {
  const jars = jarsFolder(`stack-hive-${major}`, hivePom(major))
  return existsSync(jars) && (javaVersion() ?? 0) >= MINIMUM_JAVA ? jars : null
}

/** The registry's application: a jar to run. */
export async function registryJar() {
  const folder = await archive(`io.apicurio:apicurio-registry-app:${VERSIONS.registry}:tar.gz:all`)
  const jar = readdirSync(folder).find((name) => name === 'quarkus-run.jar' || name.endsWith('-runner.jar'))
  if (jar === undefined) throw new Problem(`no runnable jar in ${folder}`)
  return join(folder, jar)
}

/** Connect brings these itself; a second copy beside them breaks its class loading. */
const PROVIDED = /^(kafka-clients|connect-api|connect-json|slf4j-api|lz4-java|snappy-java|zstd-jni)-/
const CONVERTER_CLASS = 'io.apicurio.registry.utils.converter.AvroConverter'

/** Connect's plugin path: converter and connectors. */
export async function connectPlugins() {
  const jars = await jarsOf('converter', [`io.apicurio:apicurio-registry-utils-converter:${VERSIONS.registry}`])
  const manifest = join(jars, 'service-manifest.jar')
  if (!existsSync(manifest)) {
    for (const name of readdirSync(jars)) if (PROVIDED.test(name)) rmSync(join(jars, name))
    // With it, Connect starts in 10 s instead of 44: plugin.discovery=service_load.
    const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-manifest-'))
    const services = join(folder, 'META-INF', 'services')
    mkdirSync(services, { recursive: true })
    writeFileSync(join(services, 'org.apache.kafka.connect.storage.Converter'), `${CONVERTER_CLASS}\n`)
    await must('jar', ['--create', '--file', manifest, '-C', folder, 'META-INF'])
    rmSync(folder, { recursive: true })
  }
  // A plugin is a folder in one of the path's folders.
  const path = join(CACHE_DIR, `stack-converter-plugin-${createHash('sha256').update(jars).digest('hex').slice(0, 8)}`)
  if (!existsSync(join(path, 'apicurio-converter'))) {
    mkdirSync(path, { recursive: true })
    await must('cp', ['-R', jars, join(path, 'apicurio-converter')])
  }
  const connector = (database, version) =>
    archive(`io.debezium:debezium-connector-${database}:${version}:tar.gz:plugin`)
  return [
    path,
    await connector('postgres', VERSIONS.debeziumPostgres),
    await connector('mariadb', VERSIONS.debeziumMariadb),
    ...(VERSIONS.debeziumMysql ? [await connector('mysql', VERSIONS.debeziumMysql)] : []),
  ]
}

async function aptInstall(what, packages) {
  if (!isRoot || version('apt-get') === null)
    throw new Problem(`${what} is not installed: install ${packages.join(' ')}`)
  say(`${what}: installing ${packages.join(' ')}`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  await must('apt-get', ['update', '-q'], { env })
  await must('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages], { env })
}

function findPostgres() {
  const folders = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql') : []
  const newest = folders.map(Number).sort((a, b) => b - a)
  const places = [...newest.map((n) => `/usr/lib/postgresql/${n}/bin/`), '']
  return places.find((folder) => version(`${folder}pg_ctl`) !== null && version(`${folder}initdb`) !== null) ?? null
}

/** The folder of PostgreSQL's programs with a slash behind, or '' where they are on the path. */
export async function postgresFolder() {
  if (findPostgres() === null) await aptInstall('PostgreSQL', ['postgresql'])
  const folder = findPostgres()
  if (folder === null) throw new Problem("PostgreSQL's programs (initdb, pg_ctl) are not found")
  return folder
}

/** The paths of MariaDB's server and its installer. */
export async function mariadbPrograms() {
  const find = () => ['/usr/sbin/mariadbd', 'mariadbd'].find((program) => version(program) !== null)
  if (find() === undefined) await aptInstall('MariaDB', ['mariadb-server-core', 'mariadb-client-core'])
  return { server: find() ?? 'mariadbd', installer: 'mariadb-install-db' }
}

/** A program that `go install` builds. */
async function goProgram(name, module, release) {
  const folder = join(CACHE_DIR, `stack-${name}-${release}`)
  const program = join(folder, name)
  if (existsSync(program)) return program
  if (version('go', ['version']) === null) throw new Problem(`Go is needed for ${name}: install golang`)
  say(`${name} ${release}: building (once)`)
  await must('go', ['install', `${module}@${release}`], { env: { ...process.env, GOBIN: folder } })
  return program
}

/** versitygw: S3 on a folder. Its conditional put lets one writer win; that of other local servers does not. */
export const versitygw = () => goProgram('versitygw', 'github.com/versity/versitygw/cmd/versitygw', VERSIONS.versitygw)

/** fake-gcs-server: the JSON interface of Google Cloud Storage. */
export const fakeGcs = () => goProgram('fake-gcs-server', 'github.com/fsouza/fake-gcs-server', VERSIONS.fakeGcs)

/** Azurite's script of the blob service. Not a dependency of the package: it brings hundreds of others. */
export async function azurite() {
  const folder = join(CACHE_DIR, `stack-azurite-${VERSIONS.azurite}`)
  const script = join(folder, 'node_modules', 'azurite', 'dist', 'src', 'blob', 'main.js')
  if (existsSync(script)) return script
  say(`azurite ${VERSIONS.azurite}: fetching (once)`)
  const partial = `${folder}.partial`
  rmSync(partial, { recursive: true, force: true })
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(partial, { recursive: true })
  const quietly = ['--no-audit', '--no-fund', '--ignore-scripts']
  await must('npm', ['install', '--prefix', partial, ...quietly, `azurite@${VERSIONS.azurite}`])
  renameSync(partial, folder)
  return script
}
