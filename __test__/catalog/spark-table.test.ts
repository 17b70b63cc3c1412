import test from 'ava'
import type { CatalogTable } from '../../src/catalog/catalog.js'
import { locationOf } from '../../src/catalog/location.js'
import { isDelta, isSchemaParameter, serdeParameters, sparkParameters } from '../../src/catalog/spark-table.js'
import { hiveTypeName, sparkTypeName } from '../../src/catalog/type-names.js'

const orders = (numColumns: number): CatalogTable => ({
  schema: 'shop',
  name: 'orders',
  location: 's3a://lake/orders',
  columns: Array.from({ length: numColumns }, (_, i) => ({
    name: `c${i}`,
    type: 'long',
    nullable: true,
    ...(i === 0 ? { comment: 'the “key”' } : {}),
  })),
  partitionColumns: [],
  properties: { 'delta.enableDeletionVectors': 'true' },
})

test('types have the names of Hive and of Spark', (t) => {
  const nested = {
    type: 'struct',
    fields: [
      { name: 'at', type: 'timestamp_ntz' },
      { name: 'sums', type: { type: 'map', keyType: 'string', valueType: 'decimal(10, 2)' } },
      { name: 'ids', type: { type: 'array', elementType: 'long' } },
    ],
  }
  t.is(hiveTypeName(nested), 'struct<at:timestamp,sums:map<string,decimal(10,2)>,ids:array<bigint>>')
  t.is(sparkTypeName(nested), 'struct<at:timestamp_ntz,sums:map<string,decimal(10,2)>,ids:array<bigint>>')
  const names = [
    'byte',
    'short',
    'integer',
    'long',
    'float',
    'double',
    'boolean',
    'string',
    'binary',
    'date',
    'timestamp',
  ]
  t.deepEqual(names.map(hiveTypeName), [
    ...['tinyint', 'smallint', 'int', 'bigint', 'float', 'double', 'boolean', 'string', 'binary', 'date', 'timestamp'],
  ])
})

test('Spark reads the schema from one parameter, or from parts of it', (t) => {
  const short = sparkParameters(orders(2))
  t.is(short['spark.sql.sources.provider'], 'delta')
  t.is(short['delta.enableDeletionVectors'], 'true')
  t.deepEqual(JSON.parse(short['spark.sql.sources.schema'] ?? ''), {
    type: 'struct',
    fields: [
      { name: 'c0', type: 'long', nullable: true, metadata: { comment: 'the “key”' } },
      { name: 'c1', type: 'long', nullable: true, metadata: {} },
    ],
  })
  const long = sparkParameters(orders(200))
  t.false('spark.sql.sources.schema' in long)
  const parts = Array.from(
    { length: Number(long['spark.sql.sources.schema.numParts']) },
    (_, i) => long[`spark.sql.sources.schema.part.${i}`] ?? '',
  )
  t.true(parts.length > 2 && parts.every((part) => part.length > 0 && part.length <= 4_000))
  t.is(JSON.parse(parts.join('')).fields.length, 200)
  t.deepEqual(
    Object.keys(long).filter((name) => !isSchemaParameter(name)),
    ['delta.enableDeletionVectors', 'EXTERNAL', 'spark.sql.sources.provider'],
  )
  t.is(serdeParameters(orders(1)).path, 's3a://lake/orders')
})

test('a table of Delta is told by what Spark, Trino and Athena write', (t) => {
  t.true(isDelta({ 'spark.sql.sources.provider': 'DELTA' }))
  t.true(isDelta({ table_type: 'DELTA' }))
  t.false(isDelta({ table_type: 'ICEBERG' }))
})

test('locations are URLs that the readers of the catalog take', (t) => {
  t.is(locationOf('/lake/my orders', 'hive', {}), 'file:///lake/my orders')
  t.is(locationOf('C:\\lake\\orders', 'hive', {}), 'file:///C:/lake/orders')
  t.is(locationOf('s3://lake/orders', 'hive', {}), 's3a://lake/orders')
  t.is(locationOf('s3a://lake/orders', 'glue', {}), 's3://lake/orders')
  t.is(locationOf('s3://lake/orders', 'unity', {}), 's3://lake/orders')
  t.is(locationOf('gs://lake/orders', 'hive', {}), 'gs://lake/orders')
  const azure = 'abfss://lake@shop.dfs.core.windows.net/a/orders'
  t.is(locationOf('az://lake/a/orders', 'hive', { AZURE_STORAGE_ACCOUNT_NAME: 'shop' }), azure)
  t.is(locationOf('az://lake/a/orders', 'unity', { account_name: 'shop' }), azure)
  t.is(locationOf('az://lake/a/orders', 'hive', {}, { AZURE_STORAGE_ACCOUNT_NAME: 'shop' }), azure)
  t.is(locationOf('az://lake/orders', 'hive', {}, {}), 'az://lake/orders')
})
