/** The shop's tables and their Avro schemas, as Debezium was seen to register them for PostgreSQL (flattened values). */

export type ShopTableName = 'users' | 'products' | 'orders'

/** How a column's values stand in the truth: see `ShopLife.truth`. */
export type ShopColumnType = 'int' | 'long' | 'string' | 'date' | 'timestamp' | 'decimal(10,2)'

export interface ShopColumn {
  name: string
  type: ShopColumnType
}

/** One table of the shop, with what a stream needs to know of it. */
export interface ShopTable {
  name: ShopTableName
  topic: string
  /** Names of the key columns. */
  key: readonly string[]
  /** All columns that the table has during its life, in order. */
  columns: readonly ShopColumn[]
  additionalCols: readonly string[]
  partitionCols: readonly string[]
}

type Field = { name: string; type: unknown; default?: unknown }

const ID: Field = { name: 'id', type: { type: 'int', 'connect.default': 0 }, default: 0 }

export const DATE = {
  type: 'int',
  'connect.version': 1,
  'connect.name': 'org.apache.kafka.connect.data.Date',
  logicalType: 'date',
}

export const MONEY = {
  type: 'bytes',
  scale: 2,
  precision: 10,
  'connect.version': 1,
  'connect.parameters': { scale: '2', 'connect.decimal.precision': '10' },
  'connect.name': 'org.apache.kafka.connect.data.Decimal',
  logicalType: 'decimal',
}

// A nullable column with a default: its own type comes first in the union.
const TIMESTAMP_WITH_DEFAULT = [
  {
    type: 'long',
    'connect.version': 1,
    'connect.default': 0,
    'connect.name': 'org.apache.kafka.connect.data.Timestamp',
    logicalType: 'timestamp-millis',
  },
  'null',
]

const nullable = (name: string, type: string): Field => ({ name, type: ['null', type], default: null })

const METADATA: readonly Field[] = [
  nullable('__deleted', 'string'),
  nullable('__timestamp', 'long'),
  nullable('__log_sequence_number', 'long'),
]

const FIELDS: Record<ShopTableName, readonly Field[]> = {
  users: [ID, { name: 'name', type: 'string' }, { name: 'email', type: 'string' }, { name: 'created_at', type: DATE }],
  products: [ID, { name: 'name', type: 'string' }, { name: 'price', type: MONEY }, { name: 'created_at', type: DATE }],
  orders: [
    ID,
    { name: 'order_date', type: TIMESTAMP_WITH_DEFAULT, default: 0 },
    { name: 'total_amount', type: MONEY },
    { name: 'created_at', type: DATE },
  ],
}

/** Columns that the users get during their life. */
export const ADDED_COLUMNS = {
  phone_number: nullable('phone_number', 'string'),
  points: nullable('points', 'int'),
} as const

export type AddedColumn = keyof typeof ADDED_COLUMNS

const topicOf = (table: ShopTableName) => `postgres.public.${table}`

/** The Avro schema of a table's keys. */
export function keySchema(table: ShopTableName): object {
  const namespace = topicOf(table)
  return { type: 'record', name: 'Key', namespace, fields: [ID], 'connect.name': `${namespace}.Key` }
}

/** The Avro schema of a table's values, with one of the added columns where it is there at the time. */
export function valueSchema(table: ShopTableName, added?: AddedColumn): object {
  const namespace = topicOf(table)
  const fields = [...FIELDS[table], ...(added ? [ADDED_COLUMNS[added]] : []), ...METADATA]
  return { type: 'record', name: 'Value', namespace, fields, 'connect.name': `${namespace}.Value` }
}

const METADATA_COLUMNS: readonly ShopColumn[] = [
  { name: '__timestamp', type: 'long' },
  { name: '__log_sequence_number', type: 'long' },
]

/** The three tables. `__deleted` says what a change is, so it is no column. */
export const SHOP_TABLES: readonly ShopTable[] = [
  {
    name: 'users',
    topic: topicOf('users'),
    key: ['id'],
    columns: [
      { name: 'id', type: 'int' },
      { name: 'name', type: 'string' },
      { name: 'email', type: 'string' },
      { name: 'created_at', type: 'date' },
      ...METADATA_COLUMNS,
      { name: 'phone_number', type: 'string' },
      { name: 'points', type: 'int' },
    ],
    additionalCols: [],
    partitionCols: [],
  },
  {
    name: 'products',
    topic: topicOf('products'),
    key: ['id'],
    columns: [
      { name: 'id', type: 'int' },
      { name: 'name', type: 'string' },
      { name: 'price', type: 'decimal(10,2)' },
      { name: 'created_at', type: 'date' },
      ...METADATA_COLUMNS,
    ],
    additionalCols: [],
    partitionCols: [],
  },
  {
    name: 'orders',
    topic: topicOf('orders'),
    key: ['id'],
    columns: [
      { name: 'id', type: 'int' },
      { name: 'order_date', type: 'timestamp' },
      { name: 'total_amount', type: 'decimal(10,2)' },
      { name: 'created_at', type: 'date' },
      ...METADATA_COLUMNS,
    ],
    additionalCols: ['YEAR(created_at) AS year', 'MONTH(created_at) AS month'],
    partitionCols: ['year', 'month'],
  },
]
