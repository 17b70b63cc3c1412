/** Versions, ports and places of the local stack. Each can be set from the environment, e.g. KAFKA_VERSION=3.9.2. */

import { join } from 'node:path'
import { CACHE_DIR } from '../lib/paths.mjs'

const { env } = process
const number = (name, fallback) => Number(env[name] ?? fallback)

export const HOST = '127.0.0.1'

const KAFKA = env.KAFKA_VERSION ?? '4.3.1'
/** The last one of Kafka 3. */
const KAFKA_3 = env.KAFKA_3_VERSION ?? '3.9.2'

const DEBEZIUM = env.DEBEZIUM_VERSION ?? '3.6.1.Final'
const isDebezium2 = DEBEZIUM.startsWith('2.')

export const VERSIONS = {
  kafka: KAFKA,
  // The tests' other broker.
  kafka3: KAFKA_3,
  // Debezium 2.7 calls what Kafka 4 has no more: a connector with a schema history would not start a second time.
  connect: env.CONNECT_VERSION ?? (isDebezium2 ? KAFKA_3 : KAFKA),
  registry: env.APICURIO_VERSION ?? '2.6.13.Final',
  debeziumPostgres: DEBEZIUM,
  // Only where it is named: no test needs it.
  debeziumMysql: env.DEBEZIUM_MYSQL_VERSION ?? null,
  // Maven has not got every release of this connector: these are the last ones of 2.7 and of 3 that it has.
  debeziumMariadb: env.DEBEZIUM_MARIADB_VERSION ?? (isDebezium2 ? '2.7.0.Final' : '3.5.0.Final'),
  versitygw: env.VERSITYGW_VERSION ?? 'v1.8.0',
  // The last one for Node.js 20.
  azurite: env.AZURITE_VERSION ?? '3.35.0',
  fakeGcs: env.FAKE_GCS_VERSION ?? 'v1.56.1',
}

export const PORTS = {
  kafka: number('STACK_KAFKA_PORT', 19092),
  controller: number('STACK_CONTROLLER_PORT', 19093),
  registry: number('STACK_REGISTRY_PORT', 18081),
  connect: number('STACK_CONNECT_PORT', 18083),
  postgres: number('STACK_POSTGRES_PORT', 15432),
  mariadb: number('STACK_MARIADB_PORT', 13306),
  s3: number('STACK_S3_PORT', 19000),
  // Azurite's own: clients look for it there.
  azure: number('STACK_AZURE_PORT', 10000),
  gcs: number('STACK_GCS_PORT', 14443),
  'gcs-json': number('STACK_GCS_JSON_PORT', 14444),
}

/** PostgreSQL and MariaDB refuse to run as root; the user that they run as then cannot look into root's home. */
export const isRoot = process.getuid?.() === 0

/** Data, logs and process ids. What was downloaded lies in the cache folder. */
export const FOLDER = env.STACK_DIR ?? (isRoot ? '/var/tmp/kafka2delta-stack' : join(CACHE_DIR, 'stack'))
export const LOGS = join(FOLDER, 'logs')
export const PIDS = join(FOLDER, 'pids')
export const DATA = join(FOLDER, 'data')

/** How to reach everything; also what connectors' placeholders are filled with. */
export const ENDPOINTS = {
  KAFKA_BOOTSTRAP: `${HOST}:${PORTS.kafka}`,
  REGISTRY_URL: `http://${HOST}:${PORTS.registry}/apis/ccompat/v7`,
  REGISTRY_API_URL: `http://${HOST}:${PORTS.registry}/apis/registry/v2`,
  CONNECT_URL: `http://${HOST}:${PORTS.connect}`,
  POSTGRES_HOST: HOST,
  POSTGRES_PORT: String(PORTS.postgres),
  POSTGRES_USER: 'postgres',
  POSTGRES_PASSWORD: 'postgres',
  POSTGRES_DB: 'postgres',
  MARIADB_HOST: HOST,
  MARIADB_PORT: String(PORTS.mariadb),
  MARIADB_USER: 'cdc',
  MARIADB_PASSWORD: 'cdc',
  MARIADB_DB: 'shop',
  // The connector passes the word to its driver, which is another one since Debezium 3.
  MARIADB_SSL_MODE: isDebezium2 ? 'disabled' : 'disable',
  S3_ENDPOINT: `http://${HOST}:${PORTS.s3}`,
  S3_ACCESS_KEY: 'test',
  S3_SECRET_KEY: 'testtest',
  S3_BUCKET: 'lake',
  AZURE_ENDPOINT: `http://${HOST}:${PORTS.azure}`,
  AZURE_ACCOUNT: 'test',
  AZURE_KEY: Buffer.from('testtest').toString('base64'),
  AZURE_CONTAINER: 'lake',
  GCS_ENDPOINT: `http://${HOST}:${PORTS.gcs}`,
  GCS_JSON_ENDPOINT: `http://${HOST}:${PORTS['gcs-json']}`,
  GCS_BUCKET: 'lake',
}
