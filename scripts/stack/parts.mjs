/** The parts of the stack: how each is started. */

import { randomBytes } from 'node:crypto'
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { must, Problem, version } from '../lib/process.mjs'
import { createAzureContainer, createGcsBucket } from './buckets.mjs'
import {
  azurite,
  connectPlugins,
  fakeGcs,
  kafkaJars,
  mariadbPrograms,
  postgresFolder,
  registryJar,
  versitygw,
} from './install.mjs'
import { answersHttp, logFile, portOpen, record, startDetached, untilReady } from './processes.mjs'
import { DATA, ENDPOINTS, FOLDER, HOST, isRoot, PORTS, VERSIONS } from './settings.mjs'

const properties = (values) =>
  `${Object.entries(values)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n')}\n`

/** Kafka 4 logs through log4j2, Kafka 3 through reload4j. */
function logOptions(version) {
  if (version.startsWith('4.')) {
    const file = join(FOLDER, 'log4j2.properties')
    writeFileSync(
      file,
      'rootLogger.level=WARN\nrootLogger.appenderRef.out.ref=out\nappender.out.type=Console\nappender.out.name=out\n' +
        'appender.out.layout.type=PatternLayout\nappender.out.layout.pattern=[%d] %p %m (%c)%n\n' +
        'logger.debezium.name=io.debezium\nlogger.debezium.level=INFO\n',
    )
    const factory = 'org.apache.logging.log4j.core.impl.Log4jContextFactory'
    return [`-Dlog4j2.configurationFile=${file}`, `-Dlog4j2.loggerContextFactory=${factory}`]
  }
  const file = join(FOLDER, 'log4j.properties')
  writeFileSync(
    file,
    'log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n' +
      'log4j.appender.out.layout=org.apache.log4j.PatternLayout\n' +
      'log4j.appender.out.layout.ConversionPattern=[%d] %p %m (%c)%n\nlog4j.logger.io.debezium=INFO\n',
  )
  return [`-Dlog4j.configuration=file:${file}`]
}

const java = (heap, version, classPath, main) => [
  ...['-Xms128m', `-Xmx${heap}`, '-XX:+UseSerialGC', '-Djava.awt.headless=true'],
  ...logOptions(version),
  ...['-cp', join(classPath, '*'), ...main],
]

async function startKafka() {
  const jars = await kafkaJars()
  const data = join(DATA, `kafka-${VERSIONS.kafka}`)
  const file = join(FOLDER, 'kafka.properties')
  writeFileSync(
    file,
    properties({
      'process.roles': 'broker,controller',
      'node.id': 1,
      'controller.quorum.voters': `1@${HOST}:${PORTS.controller}`,
      listeners: `PLAINTEXT://${HOST}:${PORTS.kafka},CONTROLLER://${HOST}:${PORTS.controller}`,
      'advertised.listeners': `PLAINTEXT://${HOST}:${PORTS.kafka}`,
      'controller.listener.names': 'CONTROLLER',
      'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
      'log.dirs': data,
      'num.partitions': 1,
      'offsets.topic.replication.factor': 1,
      'offsets.topic.num.partitions': 1,
      'transaction.state.log.replication.factor': 1,
      'transaction.state.log.min.isr': 1,
      'transaction.state.log.num.partitions': 1,
      'share.coordinator.state.topic.replication.factor': 1,
      'share.coordinator.state.topic.min.isr': 1,
      'group.initial.rebalance.delay.ms': 0,
      // Six seconds by default: what is tested of dead workers would wait for most of the time.
      'group.min.session.timeout.ms': 1000,
      'auto.create.topics.enable': false,
    }),
  )
  if (!existsSync(join(data, 'meta.properties'))) {
    const id = randomBytes(16).toString('base64url').replace(/^-/, 'k')
    await must('java', ['-cp', join(jars, '*'), 'kafka.tools.StorageTool', 'format', '-t', id, '-c', file])
  }
  startDetached('kafka', 'java', java('512m', VERSIONS.kafka, jars, ['kafka.Kafka', file]))
  await untilReady('kafka', () => portOpen(PORTS.kafka))
}

async function startRegistry() {
  const jar = await registryJar()
  const options = [
    ...['-Xms128m', '-Xmx512m', '-XX:+UseSerialGC'],
    `-Dquarkus.http.host=${HOST}`,
    `-Dquarkus.http.port=${PORTS.registry}`,
    '-Dquarkus.oidc.tenant-enabled=false',
    // Kept on disk, as the topics are: without the schemas they could not be read any more.
    `-Dquarkus.datasource.jdbc.url=jdbc:h2:file:${join(DATA, 'registry')};WRITE_DELAY=0`,
    '-DREGISTRY_LOG_LEVEL=WARN',
  ]
  startDetached('registry', 'java', [...options, '-jar', jar])
  await untilReady('registry', () => answersHttp(`${ENDPOINTS.REGISTRY_URL}/subjects`))
}

async function startConnect() {
  const version = VERSIONS.connect
  const jars = await kafkaJars(version)
  const plugins = await connectPlugins()
  const topic = (name) => `_connect_cluster_${name}`
  const file = join(FOLDER, 'connect.properties')
  writeFileSync(
    file,
    properties({
      'bootstrap.servers': ENDPOINTS.KAFKA_BOOTSTRAP,
      'group.id': 'connect-cluster',
      listeners: ENDPOINTS.CONNECT_URL,
      'rest.advertised.host.name': HOST,
      'offset.storage.topic': topic('offsets'),
      'config.storage.topic': topic('configs'),
      'status.storage.topic': topic('status'),
      'offset.storage.partitions': 1,
      'status.storage.partitions': 1,
      'offset.storage.replication.factor': 1,
      'config.storage.replication.factor': 1,
      'status.storage.replication.factor': 1,
      // One worker that was killed and started again gets its tasks back at once; by default they wait for it up to 5 minutes.
      'scheduled.rebalance.max.delay.ms': 0,
      'offset.flush.interval.ms': process.env.CONNECT_OFFSET_FLUSH_MS ?? 20_000,
      'plugin.path': plugins.join(','),
      'plugin.discovery': 'service_load',
      'key.converter': 'org.apache.kafka.connect.json.JsonConverter',
      'value.converter': 'org.apache.kafka.connect.json.JsonConverter',
    }),
  )
  startDetached(
    'connect',
    'java',
    java('768m', version, jars, ['org.apache.kafka.connect.cli.ConnectDistributed', file]),
  )
  await untilReady('connect', () => answersHttp(`${ENDPOINTS.CONNECT_URL}/connectors`), 240)
}

/** A worker that runs already may have other connectors than those that are asked for. */
async function connectMustFit() {
  const plugins = await (await fetch(`${ENDPOINTS.CONNECT_URL}/connector-plugins`)).json()
  const { version } = plugins.find((plugin) => plugin.class.endsWith('.PostgresConnector')) ?? {}
  if (version !== VERSIONS.debeziumPostgres) {
    throw new Problem(
      `connect runs with Debezium ${version}, not ${VERSIONS.debeziumPostgres}: npm run stack -- down connect`,
    )
  }
}

/** How databases' programs run: as nobody, where this is root, who may not even look into root's folders. */
function databaseUser() {
  const cwd = '/'
  if (!isRoot) return { cwd }
  const [uid, gid] = ['-u', '-g'].map((flag) => Number(version('id', [flag, 'nobody'])))
  return { cwd, uid, gid }
}

function ownFolder(folder, { uid, gid }) {
  mkdirSync(folder, { recursive: true })
  chmodSync(folder, 0o700)
  if (uid !== undefined) chownSync(folder, uid, gid)
}

async function startPostgres() {
  const bin = await postgresFolder()
  const user = databaseUser()
  const data = join(DATA, 'postgres')
  if (!existsSync(join(data, 'PG_VERSION'))) {
    ownFolder(data, user)
    const password = join(FOLDER, 'postgres-password')
    writeFileSync(password, `${ENDPOINTS.POSTGRES_PASSWORD}\n`)
    const auth = ['-U', ENDPOINTS.POSTGRES_USER, '-A', 'scram-sha-256', `--pwfile=${password}`]
    await must(`${bin}initdb`, ['-D', data, ...auth, '-E', 'UTF8', '--locale=C'], user)
  }
  const log = logFile('postgres')
  writeFileSync(log, '')
  if (user.uid !== undefined) chownSync(log, user.uid, user.gid)
  const settings = {
    listen_addresses: HOST,
    port: PORTS.postgres,
    unix_socket_directories: data,
    wal_level: 'logical',
    max_wal_senders: 20,
    max_replication_slots: 20,
    timezone: 'UTC',
    // The data is for trying things out.
    fsync: 'off',
  }
  const options = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`)
  await must(`${bin}pg_ctl`, ['-D', data, '-w', '-t', '120', '-l', log, '-o', options.join(' '), 'start'], user)
  record('postgres', Number(readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')[0]))
}

async function startMariadb() {
  const { server, installer } = await mariadbPrograms()
  const user = databaseUser()
  const data = join(DATA, 'mariadb')
  const socket = join(data, 's.sock')
  if (!existsSync(join(data, 'mysql'))) {
    ownFolder(data, user)
    const auth = ['--auth-root-authentication-method=normal', '--skip-test-db']
    await must(installer, ['--no-defaults', `--datadir=${data}`, ...auth], user)
  }
  const { MARIADB_USER: name, MARIADB_PASSWORD: password, MARIADB_DB: database } = ENDPOINTS
  const init = join(FOLDER, 'mariadb-init.sql')
  writeFileSync(
    init,
    `CREATE USER IF NOT EXISTS '${name}'@'%' IDENTIFIED BY '${password}';\nGRANT ALL ON *.* TO '${name}'@'%';\n` +
      `CREATE DATABASE IF NOT EXISTS ${database};\n`,
  )
  const args = [
    ...['--no-defaults', `--datadir=${data}`, `--socket=${socket}`, `--init-file=${init}`],
    ...[`--bind-address=${HOST}`, `--port=${PORTS.mariadb}`, '--default-time-zone=+00:00'],
    ...['--server-id=223344', '--log-bin=binlog', '--binlog-format=ROW', '--binlog-row-image=FULL'],
    ...['--binlog-row-metadata=FULL', '--gtid-strict-mode=ON', '--character-set-server=utf8mb4'],
    ...['--innodb-buffer-pool-size=32M', '--innodb-flush-log-at-trx-commit=0'],
  ]
  startDetached('mariadb', server, args, user)
  await untilReady('mariadb', () => portOpen(PORTS.mariadb), 90)
}

async function startS3() {
  const program = await versitygw()
  const data = join(DATA, 's3')
  mkdirSync(join(data, ENDPOINTS.S3_BUCKET), { recursive: true })
  const keys = ['--access', ENDPOINTS.S3_ACCESS_KEY, '--secret', ENDPOINTS.S3_SECRET_KEY, '--region', 'us-east-1']
  startDetached('s3', program, [...keys, '--port', `${HOST}:${PORTS.s3}`, '--quiet', 'posix', data])
  await untilReady('s3', () => portOpen(PORTS.s3), 60)
}

async function startAzure() {
  const script = await azurite()
  const where = ['--blobHost', HOST, '--blobPort', String(PORTS.azure), '--location', join(DATA, 'azure')]
  // Clients are newer than Azurite, and it would tell its maker that it runs.
  const options = ['--silent', '--skipApiVersionCheck', '--disableTelemetry']
  const env = { ...process.env, AZURITE_ACCOUNTS: `${ENDPOINTS.AZURE_ACCOUNT}:${ENDPOINTS.AZURE_KEY}` }
  startDetached('azure', process.execPath, [script, ...where, ...options], { env })
  await untilReady('azure', () => portOpen(PORTS.azure), 60)
  await createAzureContainer(ENDPOINTS.AZURE_CONTAINER)
}

async function startGcsJson() {
  const program = await fakeGcs()
  const where = ['-scheme', 'http', '-host', HOST, '-port', String(PORTS['gcs-json']), '-public-host', HOST]
  // In memory: on disk it wants extended attributes, which not every file system has.
  startDetached('gcs-json', program, [...where, '-backend', 'memory', '-data', '', '-log-level', 'warn'])
  await untilReady('gcs-json', () => answersHttp(`${ENDPOINTS.GCS_JSON_ENDPOINT}/_internal/healthcheck`), 60)
  await createGcsBucket(ENDPOINTS.GCS_BUCKET)
}

async function startGcs() {
  startDetached('gcs', process.execPath, [fileURLToPath(new URL('gcs-xml.mjs', import.meta.url))])
  await untilReady('gcs', () => answersHttp(`${ENDPOINTS.GCS_ENDPOINT}/${ENDPOINTS.GCS_BUCKET}`), 30)
}

/** In the order of starting. `onlyNamed`: not started where no part is named. `mustFit` throws where a running one is another. */
export const PARTS = {
  kafka: { start: startKafka, port: PORTS.kafka, where: ENDPOINTS.KAFKA_BOOTSTRAP },
  registry: { start: startRegistry, port: PORTS.registry, where: ENDPOINTS.REGISTRY_URL },
  postgres: {
    start: startPostgres,
    port: PORTS.postgres,
    where: `postgres://postgres:postgres@${HOST}:${PORTS.postgres}/postgres`,
  },
  mariadb: { start: startMariadb, port: PORTS.mariadb, where: `mysql://cdc:cdc@${HOST}:${PORTS.mariadb}/shop` },
  s3: { start: startS3, port: PORTS.s3, where: `${ENDPOINTS.S3_ENDPOINT}, bucket ${ENDPOINTS.S3_BUCKET}` },
  azure: {
    start: startAzure,
    port: PORTS.azure,
    where: `${ENDPOINTS.AZURE_ENDPOINT}, account ${ENDPOINTS.AZURE_ACCOUNT}, container ${ENDPOINTS.AZURE_CONTAINER}`,
    onlyNamed: true,
  },
  'gcs-json': {
    start: startGcsJson,
    port: PORTS['gcs-json'],
    where: `${ENDPOINTS.GCS_JSON_ENDPOINT}, what gcs writes to`,
    onlyNamed: true,
  },
  gcs: {
    start: startGcs,
    port: PORTS.gcs,
    where: `${ENDPOINTS.GCS_ENDPOINT}, bucket ${ENDPOINTS.GCS_BUCKET}`,
    onlyNamed: true,
  },
  connect: { start: startConnect, port: PORTS.connect, where: ENDPOINTS.CONNECT_URL, mustFit: connectMustFit },
}
