/** Holds the imports of the code against the table of rooms in docs/architecture.md, and looks for circles. */

import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { circlesOf, rustImports, typeScriptImports } from './helpers/imports.js'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const ENGINE = 'crates/kafka2delta/src'

interface Room {
  name: string
  mayImport: string[]
}

/** Source files below a folder, what each imports of them, and the rooms that the document says they stand in. */
interface House {
  folder: string
  files: string[]
  imports: Map<string, string[]>
  rooms: Room[]
}

function roomsOfDocument(heading: string): Room[] {
  const text = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8')
  const section = text.split(/^## /m).find((part) => part.startsWith(heading)) ?? ''
  const rows = section.split('\n').filter((line) => line.startsWith('| `'))
  return rows.map((row) => {
    const [, name = '', , imports = ''] = row.split('|').map((cell) => cell.trim())
    const names = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, found]) => found as string)
    return { name: names(name)[0] as string, mayImport: names(imports) }
  })
}

function filesBelow(folder: string, ending: string): string[] {
  const entries = readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
}

const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')

function importsOfCrate(folder: string): Map<string, string[]> {
  const files = filesBelow(folder, '.rs')
  return new Map(files.map((file) => [file, rustImports(file, read(file), files, folder)]))
}

function houseOf(folder: string, heading: string, imports: Map<string, string[]>): House {
  return { folder, files: [...imports.keys()], imports, rooms: roomsOfDocument(heading) }
}

const FILES = filesBelow('src', '.ts')
const PROGRAM = new Map(FILES.map((file) => [file, typeScriptImports(file, read(file), FILES)]))
const HOUSES = [
  houseOf('src', 'The rooms of `src/`', PROGRAM),
  houseOf(ENGINE, 'The rooms of the engine', importsOfCrate(ENGINE)),
]

/** The room of a file: the longest name that is the file's own or that of a folder above it. */
function roomOf({ folder, rooms }: House, file: string): Room | undefined {
  const within = file.slice(folder.length + 1)
  const found = rooms.filter(({ name }) => within === name || within.startsWith(`${name}/`))
  return found.sort((a, b) => b.name.length - a.name.length)[0]
}

for (const house of HOUSES) {
  const { folder, files, imports, rooms } = house

  test(`every room of ${folder} has a row in docs/architecture.md, and every row a room`, (t) => {
    t.deepEqual(
      files.filter((file) => roomOf(house, file) === undefined),
      [],
      'files without a room',
    )
    t.deepEqual(
      rooms.filter((room) => !files.some((file) => roomOf(house, file) === room)).map(({ name }) => name),
      [],
      'rooms without files',
    )
  })

  test(`rooms of ${folder} stand in order: each may import only rooms further up`, (t) => {
    const above = (at: number, other: string) => rooms.slice(0, at).some(({ name }) => name === other)
    const wrong = rooms.flatMap(({ name, mayImport }, at) =>
      mayImport.filter((other) => !above(at, other)).map((other) => `${name}: ${other}`),
    )
    t.deepEqual(wrong, [])
  })

  test(`every import of ${folder} is one that docs/architecture.md allows`, (t) => {
    const wrong: string[] = []
    for (const [file, imported] of imports) {
      const room = roomOf(house, file)
      for (const target of imported) {
        const other = roomOf(house, target)
        if (!room || !other || room === other || room.mayImport.includes(other.name)) continue
        wrong.push(`${file} imports ${target}, but ${room.name} may not import ${other.name}`)
      }
    }
    t.deepEqual(wrong, [])
  })
}

test('no files of src import each other in a circle', (t) => {
  t.true(FILES.length > 100)
  t.deepEqual(circlesOf(PROGRAM), [])
})

test('no modules of the crates use each other in a circle', (t) => {
  const crates = readdirSync(join(ROOT, 'crates')).map((crate) => importsOfCrate(`crates/${crate}/src`))
  t.true(crates.reduce((sum, imports) => sum + imports.size, 0) > 100)
  t.deepEqual(crates.flatMap(circlesOf), [])
})

test('data files are opened in one place, which knows how others wrote them', (t) => {
  const opening =
    /\b(ArrowReaderMetadata::(load|try_new)|ParquetRecordBatch(Stream|Reader)Builder::|ParquetObjectReader::)/
  const product = (file: string) => read(file).split(/^#\[cfg\(test\)\]$/m)[0] ?? ''
  const found = filesBelow(ENGINE, '.rs').filter((file) => opening.test(product(file)))
  t.deepEqual(found, [`${ENGINE}/datafile/open.rs`])
})
