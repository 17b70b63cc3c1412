import test from 'ava'
import { resolveOptions } from '../../src/options/resolve.js'

const withTable = (table: object, query: object = {}) =>
  resolveOptions({
    queryName: 'shop',
    kafka: { brokers: ['localhost:9092'] },
    schemaRegistry: { url: 'http://localhost:8081' },
    tables: { orders: { path: '/lake/orders', ...table } },
    ...query,
  })

test('column names that Delta’s own writers refuse are refused at the start, in every option that makes a column', (t) => {
  for (const character of ' ,;{}()\n\t=') {
    const name = `a${character}b`
    const said = { code: 'CONFIG_INVALID', message: /use _ instead/ }
    t.throws(() => withTable({ renameColumns: { a: name } }), { ...said, message: /renameColumns.*use _ instead/s })
    t.throws(() => withTable({ additionalCols: [`a AS \`${name}\``] }), said, character)
    t.throws(() => withTable({ metadataColumns: [`kafka.offset:${name}`, 'operation'] }), said, character)
    t.throws(() => withTable({ deletes: 'soft', softDeleteColName: name }), said, character)
    t.throws(() => withTable({}, { deletes: 'soft', softDeleteColName: name }), said, character)
    t.throws(() => withTable({ writeMode: 'scd2', scd2Columns: { validTo: name } }), said, character)
  }
  t.throws(() => withTable({ renameColumns: { a: '' } }), { code: 'CONFIG_INVALID', message: /empty name/ })
})

test('other names are taken, and names that are only read', (t) => {
  t.notThrows(() =>
    withTable({
      renameColumns: { a: 'é-%$#.b', 'odd name': 'good' },
      excludeColumns: ['odd (name)'],
      additionalCols: ['upper(a) AS A_1'],
      metadataColumns: ['kafka.offset: position'],
    }),
  )
})
