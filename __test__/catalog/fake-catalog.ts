/** A catalog in memory, for tests of what uses one. */

import type { Catalog, CatalogTable, FoundTable } from '../../src/catalog/catalog.js'

export interface FakeCatalog extends Catalog {
  readonly tables: Map<string, CatalogTable>
  readonly schemas: Set<string>
  /** Each call by its name, with what it was for. */
  readonly calls: string[]
  /** What the next calls fail with; null: they do not. */
  failure: Error | null
  isClosed: boolean
}

const typeText = (type: unknown) => (typeof type === 'string' ? type : JSON.stringify(type))

const foundOf = ({ location, columns, properties }: CatalogTable): FoundTable => ({
  location,
  columns: columns.map(({ name, type }) => ({ name, type: typeText(type) })),
  properties,
})

export function fakeCatalog(): FakeCatalog {
  const keyOf = (schema: string, name: string) => `${schema}.${name}`
  const called = async (name: string, what: string) => {
    catalog.calls.push(`${name} ${what}`)
    if (catalog.failure) throw catalog.failure
  }
  const put = (table: CatalogTable) => {
    if (!catalog.schemas.has(table.schema)) throw new Error(`there is no schema ${table.schema}`)
    catalog.tables.set(keyOf(table.schema, table.name), table)
  }
  const catalog: FakeCatalog = {
    ...{ tables: new Map(), schemas: new Set(), calls: [], failure: null, isClosed: false },
    async find(schema, name) {
      await called('find', keyOf(schema, name))
      const table = catalog.tables.get(keyOf(schema, name))
      return table ? foundOf(table) : null
    },
    async ensureSchema(schema) {
      await called('ensureSchema', schema)
      catalog.schemas.add(schema)
    },
    async create(table) {
      await called('create', keyOf(table.schema, table.name))
      put(table)
    },
    async update(table) {
      await called('update', keyOf(table.schema, table.name))
      put(table)
    },
    matches: (table, found) => JSON.stringify(foundOf(table).columns) === JSON.stringify(found.columns),
    async close() {
      catalog.isClosed = true
    },
  }
  return catalog
}
